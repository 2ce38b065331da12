// What: every scheduling decision of a pool, PURE: events and the time come in, actions go out. No clock, syscall, thread or
// Python. Not thread-safe: the pool calls it under its one mutex. All policy lives in src/core and nowhere else.
//
// Invariants (checked by the simulation after each step):
//   1. P1: every item of every job is settled exactly once (Verdict::settle or a settle action, never both).
//   2. P2: a death costs at most the one item that was running; unbegun items are queued again and have used no attempt.
//   3. P12: an item is run at most 1 + max_retries times; failed starts in a row <= max_restarts, then the pool is broken. Deaths of
//      ready workers that had been given items and had begun none are counted likewise: they cost no attempt, so nothing else ends them.
//   4. Items of one job are first sent in order; a chunk is a run of consecutive items of one job.
//   5. A worker never holds more than config.max_chunks_in_flight chunks, and no action names a worker that is gone.
// Protocol with the pool: after each event the pool executes take_actions() in order. `take_back` is answered at once, in the
// same mutex hold, by taken_back(), which may produce more actions: loop until none is left. An action may name a chunk that has
// finished, or a worker that has died, since it was produced: the pool drops it (a take_back of a gone chunk needs no answer).
// Before a worker is killed for an item (time-out, cancel with kill) all its chunks are asked back, and the kill follows the last
// answer, and only if that item is still what it runs: so a kill never hits an item that began after it. A soft interrupt needs no such
// care: the worker itself knows which item it runs, and lets one that comes late pass.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "base/types.hpp"
#include "holdfast/exit_report.hpp"
#include "holdfast/outcome.hpp"
#include "holdfast/policy.hpp"

namespace holdfast::core {

struct SchedulerConfig {
  std::uint32_t workers = 1;                              // wanted number of live workers, >= 1
  std::uint32_t max_restarts = 10;                        // the max_restarts-th failed start in a row breaks the pool (0 counts as 1)
  std::uint64_t max_deaths = 0;                           // the max_deaths-th death under an item aborts the pool; 0 = no limit
  std::uint64_t max_chunks_per_worker = 0;                // maxtasksperchild: chunks, then the worker is retired; 0 = no limit
  std::uint32_t max_chunks_in_flight = 64;                // = number of chunk slots in the ring
  Nanos target_in_flight = std::chrono::milliseconds(2);  // how much work to have lying at a worker (prefetch)
  Nanos restart_backoff_initial = std::chrono::milliseconds(10);  // after a failed start; doubles, cap 1 s
  bool memory_gate = false;  // after a death by Cause::oom_killed fewer workers have work at once (memory_gate.hpp)
  std::uint64_t seed = 1;    // jitter
};

struct JobSpec {
  std::uint64_t items = 0;       // known now
  bool open = false;             // lazy: extend() brings more, close_input() ends it
  std::uint64_t chunk_size = 1;  // items per chunk, >= 1
  Policies policies;
};

/// What a settled item needs to know about its failure: a value. The item that fires an abort (policy or max_deaths) is settled as
/// what it was (died, timed_out, or raised by its Verdict); all others that are pending are aborted, and pool_aborted follows.
struct Settle {
  JobId job = 0;
  ItemIndex first = 0;
  std::uint64_t count = 1;  // a run of items with the same fate (cancel, abort, terminate)
  OutcomeKind kind = OutcomeKind::pending;
  OutcomeKind failure = OutcomeKind::pending;  // for kind == skipped: died, raised or timed_out
  WorkerId worker = 0;                         // for died/timed_out/skipped after those: whose ExitReport applies; else 0
  std::uint32_t attempts = 0;                  // runs used, the failed one included; 0 with cancelled, aborted, terminated
};

struct Action {
  enum class Kind : std::uint8_t {
    start_worker,    // worker (a new id)
    send,            // worker, chunk, job, first, count
    take_back,       // worker, chunk: lower `end` to what has begun; answer with taken_back()
    settle,          // settle
    retire_worker,   // worker: close its task ring; it leaves by itself when it has finished what it holds
    kill_worker,     // worker, cause: SIGKILL now (time_limit, stopped_by_pool, protocol_error, failed_start)
    soft_interrupt,  // worker, chunk, first = the item's index in it, limit: over its soft_timeout; raise in it, if it still runs
    pool_broken,     // workers cannot start: the pool is broken; every pending item has been settled by settle actions (aborted)
    pool_aborted,    // a policy "abort" or max_deaths fired; pending items have been settled (aborted); the pool terminates
  };
  Kind kind = Kind::send;
  Cause cause = Cause::none;
  WorkerId worker = 0;
  ChunkId chunk = 0;
  JobId job = 0;
  ItemIndex first = 0;
  std::uint64_t count = 0;
  Nanos limit{0};
  Settle settle;
};

/// The scheduler's answer to a result that a worker committed.
enum class Verdict : std::uint8_t {
  settle,          // store this result as the item's outcome (done or raised)
  settle_skipped,  // raised under on_error=skip (or retry ... then=skip): the item's outcome is skipped; keep the error for the list
  retry,           // raised under on_error=retry: drop the payload, it runs again
  ignore,          // the item was already settled (cancelled, terminated): drop the payload
  not_owned,       // the worker does not own this item, or it was not begun: drop; the pool treats it as a protocol_error
};

/// How far the worker is in a chunk: items [0, item) have begun.
struct Running {
  ChunkId chunk = 0;
  std::uint32_t item = 0;
};

class Scheduler {
 public:
  explicit Scheduler(const SchedulerConfig& config);
  ~Scheduler();
  Scheduler(Scheduler&&) noexcept;
  Scheduler& operator=(Scheduler&&) noexcept;

  // --- events of the user's side ---
  void open(Time now);                                         // asks for the first workers
  JobId submit(const JobSpec& spec, Time now);                 // the pool has checked that it is open for work
  void extend(JobId job, std::uint64_t more_items, Time now);  // a lazy job's feeder read more
  void close_input(JobId job, Time now);                       // a lazy job's input is over
  /// Cancels items [first, first+count) that have not begun (also by take_back). Begun ones go on unless `kill`: then their
  /// workers are killed and the outcome is cancelled.
  void cancel(JobId job, ItemIndex first, std::uint64_t count, bool kill, Time now);
  /// The user dropped the handle. A job is freed by itself once its input is closed and all is settled; an open one is, after this,
  /// also when the pool has ended, for then there is nobody left who could be told of further items.
  void forget(JobId job);
  void close(Time now);      // no more submits; run what is queued; then retire all workers
  void terminate(Time now);  // settle all that is pending as terminated; nothing is sent any more
  void resize(std::uint32_t workers, Time now);

  // --- events of the workers' side ---
  void worker_ready(WorkerId worker, Time now);         // enrolled and initializer done
  void worker_start_failed(WorkerId worker, Time now);  // ended (or was killed) before worker_ready
  /// Item `item` of `chunk` is running since `started` (only needed for jobs with a time limit).
  void item_started(WorkerId worker, ChunkId chunk, std::uint32_t item, Time started);
  Verdict item_finished(WorkerId worker, ChunkId chunk, std::uint32_t item, bool raised, Nanos run_time, Time now);
  /// The same for `count` >= 1 consecutive items of one chunk that are all done (none raised): one call for a batch. `run_time` is their sum.
  /// settle: each is to be stored, unless it was settled before; ignore: all were; not_owned as above, and nothing has changed.
  Verdict items_done(WorkerId worker, ChunkId chunk, std::uint32_t first, std::uint32_t count, Nanos run_time, Time now);
  /// Whether that is what the worker may answer next: what the two above would not call not_owned. Before a result is stored.
  bool is_next(WorkerId worker, ChunkId chunk, std::uint32_t item) const;
  /// Answer to take_back: items [0, end) of the chunk stay with the worker, [end, count) are taken back.
  void taken_back(WorkerId worker, ChunkId chunk, std::uint32_t end, Time now);
  /// The process is gone (after worker_ready) and all it committed has been handed in by item_finished(). `begun` = for each
  /// chunk still in flight how many items had begun ({next} of the chunk word); what is begun and not finished is the lost item.
  /// A clean exit after retire_worker with nothing in flight is reported the same way. Cause::time_limit is believed: the lost
  /// item is timed_out. (worker_start_failed and worker_died may be mixed up: the worker's state decides what it was.)
  void worker_died(WorkerId worker, Cause cause, const std::vector<Running>& begun, Time now);

  void tick(Time now);  // run what is due (deadlines, backoff)
  /// kNever when nothing is due. May be earlier than anything is due (a tick then does nothing and the next deadline is exact):
  /// this makes timers free for each item. An idle pool has kNever after at most one such tick.
  Time next_deadline() const;

  // --- actions out ---
  /// Moves the pending actions out, in order; `out` is cleared first (its memory is used for the next ones). Cheap when empty.
  void take_actions(std::vector<Action>& out);
  bool has_actions() const;

  // --- questions (for the pool, stats and the simulation) ---
  enum class PoolState : std::uint8_t { running, closed, terminated, aborted, broken };
  PoolState state() const;                   // an end keeps its reason: aborted stays aborted after terminate()
  std::uint64_t unsettled(JobId job) const;  // 0 also for an unknown job
  std::uint64_t unsettled_in_all() const;    // 0 = nothing in flight
  std::uint32_t live_workers() const;        // starting, idle, busy or retiring: processes that exist
  bool has_time_limits() const;              // some unsettled job has a task_timeout or a soft_timeout
  bool has_idle() const;                     // a worker that has nothing to do
  Nanos stall_of(WorkerId worker) const;     // how long it may make no progress before others get what it has not begun
  bool has_ready() const;                    // items that could run now, and no worker has room for them
  struct Counters {
    std::uint64_t deaths_under_items, failed_starts, retries, restarts, taken_back;
  };
  Counters counters() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace holdfast::core
