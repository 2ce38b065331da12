// What: one job as the scheduler keeps it, the table of jobs by id, and the line of jobs that have items ready to be sent.
// PURE data; owned by the scheduler; not thread-safe.
//
// Where an item is, is never written down per item: each unsettled item is in exactly one of
//   ready      job.fresh (never sent, or taken back and merged again) or rare->again (queued again), to be sent lowest first;
//   waiting    rare->notes[item].waiting: its retry's backoff is running;
//   in flight  in a chunk that some worker holds.
// Whatever is in none of these is settled: so a job of a million items costs what a job of one item costs.
//
// And a million jobs of one item: those that wait for their first turn behind others are not even a Job, but a QueuedSingle.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <vector>

#include "base/types.hpp"
#include "core/run_set.hpp"
#include "holdfast/policy.hpp"

namespace holdfast::core {

/// Of an item that has failed before, while it is not settled.
struct ItemNote {
  std::uint32_t runs = 0;  // runs used
  bool waiting = false;    // in the backoff of its retry
  Time first_failure{0};
};

/// What only unusual jobs need; made when first needed.
struct RareJob {
  RunSet again;                         // ready a second time; all lower than job.fresh
  std::map<ItemIndex, ItemNote> notes;  // failed before, unsettled
  RunSet cancelled;                     // cancel() met them in flight: never sent again
  RunSet cancelled_kill;                // ... and their worker is to be killed if they are what it runs
};

struct Job {
  JobId id = 0;
  std::uint64_t ticket = 0;  // place in the line of ready jobs: submit order; an open job draws a new one each turn
  std::uint64_t items = 0;   // known so far
  std::uint64_t settled = 0;
  std::uint64_t in_flight = 0;  // items in chunks
  Run fresh;                    // the highest ready run; usually the only one
  ItemIndex turn_end = 0;       // open jobs: fresh items from here on wait for the next turn
  std::unique_ptr<RareJob> rare;
  Job* before = nullptr;  // the line of ready jobs
  Job* after = nullptr;
  std::uint64_t chunk_size = 1;
  std::uint32_t policy = 0;       // index into PolicyTable
  std::uint32_t estimate_ns = 0;  // moving average of run time per item; 0 = nothing measured
  bool open = false;
  bool forgotten = false;
  bool split = false;  // something was stolen from it: its chunks get smaller towards the end
  bool in_line = false;

  RareJob& need_rare() {
    if (!rare) rare = std::make_unique<RareJob>();
    return *rare;
  }
  std::uint64_t unsettled() const { return items - settled; }
  std::uint64_t ready() const { return fresh.count() + (rare ? rare->again.count() : 0); }
  bool has_ready() const { return !fresh.empty() || (rare && !rare->again.empty()); }
  bool cancelled(ItemIndex item) const { return rare && rare->cancelled.contains(item); }
  std::uint32_t runs(ItemIndex item) const;  // used by this item before its present run

  void make_ready(Run run);         // queue it again (or for the first time)
  void append(std::uint64_t more);  // extend(): new items, ready
  /// Takes the next run to send: lowest first, at most `most` items, an item that has failed before alone.
  Run take_ready(std::uint64_t most);
};

/// A job of one item, which is closed, has never been sent and has met nothing unusual: all that is to be known of it.
struct QueuedSingle {
  static constexpr std::uint64_t kMostPolicy = (1U << 15) - 1;
  static constexpr std::uint64_t kMostTicket = (std::uint64_t{1} << 48) - 1;
  JobId id = 0;
  std::uint64_t ticket : 48 = 0;  // 3 years at 3 million a second
  std::uint64_t policy : 15 = 0;
  std::uint64_t gone : 1 = 0;  // a Job by now; the entry goes when it is the first one
};

/// Jobs by id. Ids are given out in order, so the table is a row of pages, and a page without a job is given back: an old job
/// that lives on costs its page (64 jobs), not the row since. Job addresses are stable.
class JobTable {
 public:
  Job& add();  // the next id, from 1
  Job* find(JobId id);
  const Job* find(JobId id) const { return const_cast<JobTable*>(this)->find(id); }
  void remove(Job& job);
  std::uint64_t size() const { return size_ + queued_; }

  // Queued singles, in order of ids and of tickets (each is queued with the newest). find() and for_each() do not see them.
  JobId queue_single(std::uint64_t ticket, std::uint32_t policy);  // the next id
  bool any_queued() const { return queued_ != 0; }
  bool is_queued(JobId id) const { return find_queued(id) != nullptr; }
  const QueuedSingle& first_queued() const { return singles_.front(); }  // not when there is none
  /// Makes it a Job, with its item ready; not in the line yet. Only of one that is queued.
  Job& unqueue(JobId id);
  /// Takes them all out; they are nobody's after this.
  std::deque<QueuedSingle> take_queued();
  template <class Each>
  void for_each(Each&& each);  // in order of ids; `each` may remove the job it is given

 private:
  static constexpr std::uint64_t kPerPage = 64;
  struct Page {
    Job jobs[kPerPage];  // id 0 = free
    std::uint32_t used = 0;
  };
  JobId next_id();
  Job& place(JobId id);
  const QueuedSingle* find_queued(JobId id) const;
  void drop_empty_front();

  std::deque<std::unique_ptr<Page>> pages_;  // also of queued singles: they may become jobs. A page without a job is nullptr
  std::uint64_t first_page_ = 0;             // number of pages_.front(); page n holds the ids [n * 64, n * 64 + 64)
  std::deque<QueuedSingle> singles_;         // the first one is not gone
  std::uint64_t queued_ = 0;                 // of them that are not gone
  JobId next_id_ = 1;
  std::uint64_t size_ = 0;
};

template <class Each>
void JobTable::for_each(Each&& each) {
  // By numbers and not by iterators: remove() may give the front pages back meanwhile.
  for (std::uint64_t page = first_page_; page < first_page_ + pages_.size(); ++page) {
    for (std::uint64_t i = 0; i < kPerPage; ++i) {
      Job* job = find(page * kPerPage + i);
      if (job != nullptr) each(*job);
    }
  }
}

/// The line of jobs with ready items, by ticket. New jobs join at the back in O(1); one that comes back (retry, taken back) has
/// an old ticket and finds its place near the front.
class ReadyLine {
 public:
  bool empty() const { return first_ == nullptr; }
  Job& front() const { return *first_; }
  void join(Job& job);   // nothing if it is in the line
  void leave(Job& job);  // nothing if it is not

 private:
  Job* first_ = nullptr;
  Job* last_ = nullptr;
};

inline bool has_time_limit(const Policies& policies) { return policies.task_timeout > Nanos{0} || policies.soft_timeout > Nanos{0}; }

/// The policies of the living jobs, shared: most jobs of a pool have the same ones, and a Policies is as large as a Job.
class PolicyTable {
 public:
  std::uint32_t acquire(const Policies& policies);
  void release(std::uint32_t index);
  const Policies& operator[](std::uint32_t index) const { return entries_[index].policies; }

 private:
  struct Entry {
    Policies policies;
    std::uint64_t users = 0;
  };
  std::vector<Entry> entries_;
  std::vector<std::uint32_t> free_;
  std::uint32_t last_ = 0;
};

}  // namespace holdfast::core
