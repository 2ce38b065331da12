// What: the bytes between the pool and one worker: two rings in one sealed memfd (tasks: parent -> worker, results: worker ->
// parent), the chunk words, and the sleep protocol. ParentChannel is used by src/pool under the pool's mutex; WorkerChannel by
// the one task-loop thread of src/worker. Every shared word is described in layout.hpp; the frames in frame.hpp; the sleeping
// in wait.hpp; large payloads in buffer.hpp.
//
// Invariants:
//   1. Nothing is visible before commit(): one release store of the ring's tail publishes all frames pushed since the last one.
//   2. The parent trusts no word the worker can write: every length, offset and count is checked against the parent's own
//      private copies (P8). Nonsense is ErrorCode::protocol_error, never a crash, a hang or a wild read.
//   3. No lock is shared: either side may be SIGKILLed between any two instructions and the other goes on.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "base/result.hpp"
#include "base/types.hpp"
#include "sys/fd.hpp"

namespace holdfast::sys {
class Mapping;
}

namespace holdfast::ring {

/// Payloads up to this size travel inside the ring; larger ones in a shared buffer (buffer.hpp).
inline constexpr std::size_t kInlineLimit = 32 * 1024;
inline constexpr std::uint32_t kChunkSlots = 64;    // chunks in flight at one worker
inline constexpr std::uint32_t kMaxWorkers = 4096;  // bits in the bell page's ready map

struct Geometry {
  std::uint32_t task_ring_bytes = 256 * 1024;  // powers of two, >= 4 * kInlineLimit, <= 16 MiB
  std::uint32_t result_ring_bytes = 256 * 1024;
};

// ---------------------------------------------------------------------------------------------------------------------------
// The bell page: one per pool, mapped by all workers and not trusted. It holds the bell (futex word), two sleeping flags
// (drainer, supervisor) and a ready map: one bit per worker index, a hint which result rings to look at.
class BellPage {
 public:
  static Result<BellPage> create();        // parent: new sealed memfd, mapped
  static Result<BellPage> attach(int fd);  // worker
  int fd() const;                          // -1 after close_fd()
  void close_fd();                         // once no worker is born any more; the page stays mapped

  // Parent, drainer: flag up, look again, sleep. `timeout` bounds the sleep. Returns at a ring, at EINTR, at the time-out.
  void drainer_announce();  // sets the flag (seq_cst); then the caller looks at the rings again
  void drainer_withdraw();
  bool drainer_announced() const;  // the flag is up: no worker has taken it
  std::uint32_t bell() const;      // read before announce + look; pass to sleep
  /// For a drainer that spins, its flag down: whether a worker of the first `words` words of ready bits has committed, or a ring came since
  /// `seen_bell` was read.
  bool anything_new(std::uint32_t words, std::uint32_t seen_bell) const;
  enum class Woke : std::uint8_t { rung, interrupted, timed_out };
  Woke drainer_sleep(std::uint32_t seen_bell, Nanos timeout);
  /// Parent thread -> drainer (hand-over, terminate): as if a worker had rung.
  void ring_from_parent();
  // Parent, supervisor: sets its flag before epoll_wait (when nobody drains), clears it after.
  void supervisor_announce();
  void supervisor_withdraw();
  /// Takes (exchange 0) the ready bits of word `i` (workers 64*i .. 64*i+63). A hint: full scans happen at bounded intervals.
  std::uint64_t take_ready(std::uint32_t word);
  // Worker: after committing results. Sets the ready bit; wakes the drainer if it sleeps; else returns true if the supervisor
  // sleeps (flag taken): then the caller writes one byte to its own socket, non-blocking.
  bool ring_from_worker(std::uint32_t worker_index);

  BellPage(BellPage&&) noexcept;
  BellPage& operator=(BellPage&&) noexcept;
  ~BellPage();

 private:
  struct Impl;
  explicit BellPage(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// ---------------------------------------------------------------------------------------------------------------------------
// Frames

/// A payload in a frame: inline bytes, or a reference to a large buffer.
struct PayloadRef {
  ByteSpan inline_bytes;   // when buffer == 0
  BufferId buffer = 0;     // else: bytes [0, size) of that buffer
  std::uint64_t size = 0;  // of the payload, either way
};

enum class TaskFrameType : std::uint16_t { function = 1, forget_function, chunk, item, buffer_gone };

/// TaskFrame::flags.
inline constexpr std::uint16_t kSoftLimited = 1;  // the chunk's items have a soft time limit

/// One decoded frame of the task ring (worker's side).
struct TaskFrame {
  TaskFrameType type = TaskFrameType::item;
  FunctionId function = 0;      // function, forget_function, chunk
  ChunkId chunk = 0;            // chunk, item
  JobId job = 0;                // chunk
  std::uint32_t slot = 0;       // chunk, item: index of the chunk's word
  std::uint32_t count = 0;      // chunk: number of items; `count` item frames follow
  std::uint32_t item = 0;       // item: index within the chunk
  std::uint16_t call_mode = 0;  // chunk: how to call; meaning belongs to the task loop's runner
  std::uint16_t flags = 0;
  PayloadRef payload;   // function, item
  BufferId buffer = 0;  // buffer_gone: unmap it
};

enum class ResultKind : std::uint16_t { done = 1, raised = 2, note = 3 };  // note: a warning that belongs to no task

struct ResultFrame {
  ResultKind kind = ResultKind::done;
  ChunkId chunk = 0;
  std::uint32_t item = 0;      // index within the chunk
  Nanos run_time{0};           // of the call; in steps of 10 ns where it is short
  PayloadRef payload;          // inline bytes point into the ring: valid until pop_result()
  bool argument_kept = false;  // the task holds on to its argument: the worker has no mapping of that buffer for later items any more
};

struct ChunkWord {
  std::uint32_t next = 0;
  std::uint32_t end = 0;
};  // next = items begun; end = items the worker may begin

// ---------------------------------------------------------------------------------------------------------------------------
// Parent's side
class ParentChannel {
 public:
  /// `worker_index` < kMaxWorkers: the worker's bit in the bell page.
  static Result<std::unique_ptr<ParentChannel>> create(const Geometry& geometry, std::uint32_t worker_index);
  ~ParentChannel();

  int fd() const;   // -1 after close_fd()
  void close_fd();  // once the worker has it

  // Tasks. push_* answer false when the ring has no room for the frame now (nothing is written). Items may be pushed as room comes,
  // in order, also after later chunks' frames; inline payloads must be <= kInlineLimit (checked). Bytes free are not all usable: a
  // frame that does not fit before the ring's end starts at its beginning.
  std::size_t task_room() const;                                // bytes free, private copy of head refreshed
  static std::size_t function_cost(const PayloadRef& payload);  // most bytes that such a frame takes in the ring
  static std::size_t chunk_cost();
  static std::size_t item_cost(const PayloadRef& payload);
  bool push_function(FunctionId function, const PayloadRef& payload);
  bool push_forget_function(FunctionId function);
  bool push_buffer_gone(BufferId buffer);
  /// Sets chunk word `slot` to {0, count}. The slot must be free (release_slot or never used).
  bool push_chunk(ChunkId chunk, JobId job, FunctionId function, std::uint32_t slot, std::uint32_t count, std::uint16_t call_mode,
                  std::uint16_t flags);
  bool push_item(ChunkId chunk, std::uint32_t item, const PayloadRef& payload);
  /// The same for `count` consecutive items whose payloads are the records of a pack (pack.hpp) of at most kInlineLimit bytes: one copy.
  bool push_items(ChunkId chunk, std::uint32_t first, std::uint32_t count, ByteSpan records);
  /// Publishes what was pushed and wakes the worker if it sleeps. Cost: one store, one exchange; a futex call only for a sleeper.
  void commit_tasks();
  void abandon_pushed();  // forgets what was pushed since the last commit

  // Chunk words. `count` as pushed is kept privately; a word that makes no sense is a protocol_error.
  Result<ChunkWord> load_chunk(std::uint32_t slot) const;
  /// Lowers `end` to max(next, keep) by compare-exchange; returns the new end.
  Result<std::uint32_t> take_back(std::uint32_t slot, std::uint32_t keep);
  void release_slot(std::uint32_t slot);

  // Results. next_result: nullopt = none committed; an error = protocol_error (the worker must be killed; nothing further is read).
  Result<std::optional<ResultFrame>> next_result();
  /// Results that were done, inline, and follow the one popped last, item by item, of the same chunk.
  struct DoneRun {
    std::uint32_t count = 0;     // 0: the next result is no such one, or there is none: next_result() tells
    std::size_t pack_bytes = 0;  // of `into`
    Nanos run_time{0};           // their sum
  };
  /// Takes at most `limit` of them, and pops them; their payloads are copied into `into` as a pack (pack.hpp). Not between next_result()
  /// and pop_result().
  DoneRun take_done_run(std::uint32_t limit, MutableByteSpan into);
  void pop_result();             // frees the frame's bytes for the worker (its store is batched until release_results)
  void release_results();        // makes the freed room visible; wakes the worker if it waits for room
  bool results_waiting() const;  // tail differs from what has been read

  // The end
  void set_closed();     // commits what was pushed; the worker finishes that, then leaves. Wakes it.
  void set_leaving();    // the worker begins nothing more, delivers what is done and leaves after the running item. Wakes it.
  void set_cancelled();  // the same, but results are no longer wanted (terminate): it does not wait for room. Wakes it.

  // Large result buffers: the parent has read buffer `index` (index of this worker's table, see buffer.hpp): free for reuse.
  // Any thread.
  void release_buffer(std::uint32_t index);

  // Readings of words the worker writes (hints, for stats and limits; never trusted).
  struct Progress {
    std::uint64_t items_done;
    ChunkId chunk;
    std::uint32_t item;
    Time started;
    std::uint32_t phase;
  };
  Progress progress() const;  // what it says it is running; started = 0 when idle; consistent in itself. Any thread.
  /// The item has used up its soft time limit. Returns the signal that the worker wants for this, 0 = none: it will look by itself.
  int set_overdue(ChunkId chunk, std::uint32_t item, Nanos limit);
  /// The signal by which the worker is asked for its stacks, 0 = it cannot be asked; `number` (below 2^31) says which request the next one is. `last`: it
  /// is to go no step further then, for it will be killed.
  int stacks_signal() const;
  void want_stacks(std::uint32_t number, bool last);
  std::uint32_t stacks_taken() const;  // number of the last request that it says it has answered
  /// It says that the stacks are those of its crash.
  bool says_crashed() const;
  /// A copy of the stacks' text; without control characters, which a terminal would obey.
  std::string stacks_text() const;

  ParentChannel(const ParentChannel&) = delete;
  ParentChannel& operator=(const ParentChannel&) = delete;

 private:
  friend class WorkerChannel;  // attach_in_process
  struct Impl;
  explicit ParentChannel(std::unique_ptr<Impl> impl);
  std::shared_ptr<sys::Mapping> mapping() const;
  std::unique_ptr<Impl> impl_;
};

// ---------------------------------------------------------------------------------------------------------------------------
// Worker's side
class WorkerChannel {
 public:
  static Result<std::unique_ptr<WorkerChannel>> attach(int fd);
  /// A worker in a thread of the parent, on the parent's own mapping: for tests under TSan, which sees no race between two mappings.
  static Result<std::unique_ptr<WorkerChannel>> attach_in_process(const ParentChannel& parent);
  ~WorkerChannel();

  std::uint32_t worker_index() const;
  /// False in a forked child of the process that attached. There claim, push_*, commit and release do nothing and answer false,
  /// next_task is an error, and cancelled() is true: a child that returns into the task loop cannot answer in the worker's name.
  bool still_owner() const;

  // Tasks. next_task: nullptr = nothing committed (see wait_for_tasks). The frame (an item each, also where they came in a pack) and its
  // inline bytes, which point into the ring, stay valid until release_task().
  Result<const TaskFrame*> next_task();
  void release_task();  // frees its bytes for the parent
  /// Claims item `item` of the chunk in `slot` ("running item"): next: item -> item + 1. False = it was taken back: skip it.
  bool claim(std::uint32_t slot, std::uint32_t item);

  enum class Wake : std::uint8_t { tasks, closed, cancelled, interrupted, timed_out, room };
  /// Sleeps until a task is committed, the channel is closed or cancelled, a signal handler ran (EINTR), or `timeout`.
  Wake wait_for_tasks(Nanos timeout);
  bool closed() const;     // set_closed: leave when no task is left
  bool leaving() const;    // set_leaving or set_cancelled: begin nothing more, leave
  bool cancelled() const;  // set_cancelled: leave now

  // Results. False = no room now: wait_for_room, try again (or an inline payload above kInlineLimit, which never fits).
  bool push_result(const ResultFrame& frame);
  /// Publishes: one release store. The caller then rings the bell page.
  void commit_result();
  /// Until an inline payload of `bytes` fits: room; or cancelled, interrupted, timed_out. Publishes what was pushed (ring the bell
  /// page before, or the parent may sleep on). Closed or leaving does not end it: results are still wanted.
  Wake wait_for_room(std::size_t bytes, Nanos timeout);

  /// What set_progress() said last: `version` is another one after each call. Any thread of the worker.
  struct Doing {
    std::uint64_t version = 0;
    bool running = false;
  };
  Doing doing() const;
  void set_progress(ChunkId chunk, std::uint32_t item, Time started, std::uint32_t phase);
  void count_item_done();
  /// The signal that the pool is to send when an item has used up its soft time limit; its handler is in place.
  void set_soft_signal(int signal);
  /// The item's soft time limit, if it is the one that has used it up; nullopt else.
  std::optional<Nanos> overdue(ChunkId chunk, std::uint32_t item) const;
  /// The stacks (worker/stack_report.hpp), all async-signal-safe. stacks_text(): mapped, with zeros behind it; in the segment's file it begins at
  /// stacks_offset().
  std::span<const char> stacks_text() const;
  std::size_t stacks_offset() const;
  void set_stacks_signal(int signal);
  struct StacksWanted {
    std::uint32_t number = 0;
    bool last = false;
  };
  StacksWanted stacks_wanted() const;
  std::uint32_t stacks_taken() const;
  void set_stacks_taken(std::uint32_t number);
  void set_crash_signal(int signal);

  /// Index of a large result buffer that the parent has released (bit taken), of at least `size` bytes as told by
  /// `sizes` (the worker's own table); nullopt = none: ask the parent for one over the socket.
  std::uint64_t free_buffers() const;     // bit i = buffer i of this worker is free for writing
  void take_buffer(std::uint32_t index);  // clears the bit

  WorkerChannel(const WorkerChannel&) = delete;
  WorkerChannel& operator=(const WorkerChannel&) = delete;

 private:
  struct Impl;
  explicit WorkerChannel(std::unique_ptr<Impl> impl);
  static Result<std::unique_ptr<WorkerChannel>> attach(std::shared_ptr<sys::Mapping> mapping);
  std::unique_ptr<Impl> impl_;
};

}  // namespace holdfast::ring
