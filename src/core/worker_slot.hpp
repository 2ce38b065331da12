// What: one worker as the scheduler sees it: its state (a state x event table, every cell filled) and the chunks it holds.
// PURE; owned by the scheduler.
//
// Invariants:
//   1. Chunks are held in the order of sending; the worker runs them in that order, so only the front one can have results
//      outstanding while a later one has none.
//   2. Within a chunk: done <= end <= count. Items [0, done) have been handed in, [done, end) are the worker's, [end, count)
//      were taken back.
//   3. No chunk in the line is finished (done == end): it leaves the line at that moment.
#pragma once

#include <cstdint>
#include <vector>

#include "base/types.hpp"

namespace holdfast::core {

struct Job;

enum class WorkerState : std::uint8_t {
  starting,  // asked for, not ready
  unwanted,  // retired before it was ready: it will leave by itself
  idle,      // ready, holds no chunk
  busy,      // ready, holds chunks
  retiring,  // its task ring is closed: gets nothing more, finishes what it holds
  killed,    // kill_worker was asked for; its death has not been reported yet
  gone,
};
inline constexpr int kWorkerStates = 7;

enum class WorkerEvent : std::uint8_t { ready, start_failed, died, sent, emptied, retire, kill };
inline constexpr int kWorkerEvents = 7;

/// What an event means in the state it met.
enum class WorkerMeaning : std::uint8_t {
  moved,         // as it should be: go on
  nothing,       // allowed, and changes nothing (retired twice; ready although it is being killed)
  failed_start,  // it ended before it was of use
  quiet_end,     // it ended, and nobody had wanted it any more before it was ready
  death,         // it ended after it was ready
  impossible,    // no right caller does this: refused, the state stays, the event is dropped
};

struct WorkerStep {
  WorkerState next;
  WorkerMeaning meaning;
};

WorkerStep worker_step(WorkerState state, WorkerEvent event);

/// One sending of items [first, first + count) of a job.
struct Chunk {
  ChunkId id = 0;
  Job* job = nullptr;  // nullptr: its items were settled from outside (terminate, abort); results are ignored
  ItemIndex first = 0;
  std::uint32_t count = 0;
  std::uint32_t done = 0;
  std::uint32_t end = 0;
  std::uint32_t estimate_ns = 0;  // per item, as believed when sent: what the worker's load was raised by
  bool asked_back = false;        // take_back has been asked for and not been answered
};

struct WorkerSlot {
  WorkerId id = 0;
  WorkerState state = WorkerState::starting;

  // The line of chunks: a circle that grows with use up to max_chunks_in_flight.
  std::vector<Chunk> circle;
  std::uint32_t head = 0;
  std::uint32_t chunks = 0;

  std::uint64_t items_held = 0;    // sum of end - done
  std::uint64_t load_ns = 0;       // estimate of the work in [done, end) of all chunks
  std::uint64_t chunks_given = 0;  // for maxtasksperchild; a chunk that came back whole does not count
  std::uint64_t items_finished = 0;
  Time last_progress{0};           // when it last got its first chunk or finished an item
  std::uint32_t false_starts = 0;  // times that its front item was taken back before it began; each item that it finishes takes one off

  // Time limits of the item that runs (item_started).
  ChunkId timed_chunk = 0;
  std::uint32_t timed_item = 0;
  Time deadline = kNever;
  Time soft_deadline = kNever;
  bool soft_over = false;  // the timed item was interrupted: once is all

  std::uint32_t answers_due = 0;  // take_back actions not answered yet
  bool stealing = false;          // those were asked for on behalf of idle workers
  bool check_timeout = false;     // when they are answered: kill it if the timed item is still what runs
  bool check_cancel = false;      // ... if an item of a killing cancel() is what runs
  bool nothing_to_take = false;   // the last stealing brought nothing; set until it makes progress
  bool crowded = false;           // got more in its turn while others were idle
  bool stalled = false;           // sits in one item for long: gets nothing more until it makes progress

  // Positions in the scheduler's sets (WorkerSet); kNowhere = not a member.
  static constexpr std::uint32_t kNowhere = ~std::uint32_t{0};
  std::uint32_t idle_at = kNowhere;
  std::uint32_t hungry_at = kNowhere;
  std::uint32_t stealable_at = kNowhere;

  Chunk& at(std::uint32_t position) { return circle[(head + position) & (static_cast<std::uint32_t>(circle.size()) - 1)]; }
  const Chunk& at(std::uint32_t position) const { return circle[(head + position) & (static_cast<std::uint32_t>(circle.size()) - 1)]; }
  Chunk* find(ChunkId id);  // nullptr = not in the line
  void push(const Chunk& chunk);
  void pop_front();
  void erase(const Chunk* chunk);  // one in the middle (taken back whole)
  bool at_work() const { return state == WorkerState::busy || state == WorkerState::retiring; }
};

/// A set of workers with O(1) insert, remove and membership: a vector, and each worker knows its place in it.
class WorkerSet {
 public:
  explicit WorkerSet(std::uint32_t WorkerSlot::*place) : place_(place) {}
  bool empty() const { return members_.empty(); }
  std::size_t size() const { return members_.size(); }
  WorkerSlot& operator[](std::size_t i) const { return *members_[i]; }
  WorkerSlot& back() const { return *members_.back(); }
  void set(WorkerSlot& worker, bool member) {
    if ((worker.*place_ != WorkerSlot::kNowhere) != member) member ? insert(worker) : remove(worker);
  }

 private:
  void insert(WorkerSlot& worker) {
    worker.*place_ = static_cast<std::uint32_t>(members_.size());
    members_.push_back(&worker);
  }
  void remove(WorkerSlot& worker) {
    const std::uint32_t place = worker.*place_;
    members_[place] = members_.back();
    members_[place]->*place_ = place;
    members_.pop_back();
    worker.*place_ = WorkerSlot::kNowhere;
  }
  std::uint32_t WorkerSlot::*place_;
  std::vector<WorkerSlot*> members_;
};

}  // namespace holdfast::core
