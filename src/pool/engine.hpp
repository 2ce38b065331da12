// What: the pool itself, without a language: jobs in, settled items out. Owns the pool's one mutex, the scheduler, the workers and
// the supervisor thread. Called by the C++ API (include/holdfast/pool.hpp) and by python/bindings.
//
// Threads: every public method may be called from any thread, WITHOUT the GIL for those named wait_* (they sleep; at most
// `max_sleep`), with or without it for the others (they hold the mutex for microseconds; the supervisor never needs the GIL).
// Nothing here calls back into user code or touches a Python object. A wait_* returns Waited::interrupted at EINTR so that the
// caller can run its signal handlers and call again: no state is held between two calls (the drainer's role neither).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/result.hpp"
#include "base/types.hpp"
#include "holdfast/exit_report.hpp"
#include "holdfast/outcome.hpp"
#include "holdfast/policy.hpp"
#include "holdfast/stats.hpp"
#include "pool/counted_ref.hpp"
#include "pool/harvest.hpp"
#include "pool/payload.hpp"
#include "sys/fd.hpp"

namespace holdfast::pool {

struct EngineOptions {
  std::uint32_t workers = 1;
  std::uint64_t max_chunks_per_worker = 0;  // maxtasksperchild; 0 = none
  std::uint32_t max_restarts = 10;
  std::uint64_t max_deaths = 0;
  Nanos grace = std::chrono::seconds(5);
  Nanos start_deadline = std::chrono::seconds(60);  // from `start` to hello
  // From the last item of a closed or recycled worker to its end (atexit functions, finalizers); then it is killed.
  Nanos leave_limit = std::chrono::seconds(60);
  bool kill_children_on_recycle = false;
  // Of one worker's own memory, bytes (0 = none): beyond the first it is killed in the middle of an item, beyond the second it leaves after it.
  std::int64_t memory_limit = 0;
  std::int64_t max_memory_per_worker = 0;
  std::size_t keep_buffer_bytes = std::size_t{1} << 30;  // argument buffers kept for reuse
};

/// What the zygote must be born with. The launcher (C++: fork; Python: os.fork or exec) gives these descriptors to the zygote
/// process, which sends zygote_hello on `socket`.
struct ZygoteSeed {
  UniqueFd socket;        // the zygote's end; closed in the parent once the zygote runs
  int bell_fd = -1;       // owned by the engine
  int parent_pidfd = -1;  // owned by the engine: a pidfd of this process
};

struct JobRequest {
  FunctionRef function;
  std::uint16_t call_mode = 0;  // opaque here; for the worker's runner
  ItemBatch items;
  bool open = false;       // lazy: extend() brings more items
  bool unordered = false;  // read with wait_any(), in completion order
  bool whole = false;      // read with take_results() alone, once it is finished
  std::uint64_t chunk_size = 1;
  std::uint64_t window = 0;  // open jobs: items taken and not yet consumed, at most; 0 = no limit
  std::uint64_t widest = 0;  // the window may grow up to this where it is what everybody waits for; 0 = it stays as it is
  Policies policies;
  bool dispatch = false;  // its completion is handed to wait_dispatch() (callbacks)
};

class Job;  // opaque; a JobRef keeps the results

enum class Waited : std::uint8_t { ready, interrupted, timed_out, ended };  // ended: the engine is over, nothing will come

struct WorkerInfo {
  WorkerId worker = 0;
  std::int64_t identity = 0;  // 1, 2, ...: for names
  int pid = 0;                // 0 = not started yet
  bool alive = false;
  bool ready = false;              // initializer done
  std::int64_t memory_bytes = -1;  // its own memory at the last reading; -1: none was made
  ExitReport report;               // when not alive
};

/// Something for the Python dispatcher thread, in completion order.
struct DispatchEvent {
  enum class Kind : std::uint8_t { job_done, note, stalled } kind = Kind::job_done;
  JobRef job;    // job_done
  Payload note;  // note: a warning from a worker that belongs to no task (encoded by the runner)
  WorkerId worker = 0;
  int pid = 0;  // stalled: so long in one item without using the processor, and the stacks of its threads, if they could be had
  Nanos stalled_for{0};
  std::string stacks;
};

struct KilledItem {
  FunctionRef function;
  std::uint16_t call_mode = 0;
  Payload item;  // the encoded arguments (a private copy), unless they are large:
  std::shared_ptr<ring::SharedBuffer> large_item;
  std::size_t large_size = 0;
  ExitReport report;
  OutcomeKind outcome = OutcomeKind::died;  // what was settled: died, timed_out or skipped
};

/// A request to all workers to show where they are.
struct StacksRequest {
  struct Asked {
    WorkerId worker = 0;
    int pid = 0;
    std::uint32_t number = 0;
    std::string text;  // empty: not answered yet; at last the stacks of its threads, or "no stack: why"
  };
  std::vector<Asked> workers;
};

enum class EngineState : std::uint8_t { running, closed, terminated, aborted, broken };

class Engine : public std::enable_shared_from_this<Engine> {
 public:
  static Result<std::shared_ptr<Engine>> create(const EngineOptions& options);
  ~Engine();  // kills what is left, joins the supervisor; never blocks longer than a kill takes

  // --- birth ---
  Result<ZygoteSeed> prepare_zygote();  // call again to replace a dead one
  /// The zygote runs. `on_exit_reap`: the zygote is a child of this process (fork) and must be waited for at the end.
  Status zygote_running(int pid, bool is_our_child);
  /// Starts the supervisor and the first workers.
  Status start();
  /// Until each of the first workers has a pid (or has failed to start).
  Waited wait_started(Nanos max_sleep);
  /// Until the zygote has died and must be forked again by the caller (the restarter thread).
  Waited wait_zygote_needed(Nanos max_sleep);

  // --- work ---
  Result<FunctionRef> intern_function(ByteSpan pickled);
  static ByteSpan function_bytes(const Function& function);  // valid while a FunctionRef is held
  std::shared_ptr<ring::BufferPool> buffers();  // for large arguments: get(), fill, seal_future_write(), ItemBatch::add_large()
  Result<JobRef> submit(JobRequest&& request);  // closed, broken: an error with the reason
  Status extend(const JobRef& job, ItemBatch&& items);
  Status close_input(const JobRef& job);
  void cancel(const JobRef& job, ItemIndex first, std::uint64_t count, bool kill);
  /// The user dropped the handle: unread results are freed, items not begun still run (as in the standard pool).
  void forget(const JobRef& job);

  // --- results ---
  static JobId job_id(const Job& job);
  std::uint64_t unsettled(const Job& job);              // 0 = all settled and the input closed
  std::uint64_t job_size(const Job& job);               // items so far
  Waited wait_job(const JobRef& job, Nanos max_sleep);  // until nothing is unsettled and the input is closed
  /// Until item `item` is settled (ordered reading); then moves it out. `ended`: the job has fewer items. With Take::run a lazy job with long
  /// chunks may give a run that begins with it: its other items count as consumed when the reader waits again.
  Waited wait_item(const JobRef& job, ItemIndex item, Nanos max_sleep, Settled& out, Take what = Take::item);
  /// Until any unread item is settled; in completion order. `ended`: all items were read.
  Waited wait_any(const JobRef& job, Nanos max_sleep, Settled& out, Take what = Take::item);
  /// Behind a wait_item() or wait_any() that was ready, without another wait: some of the settled items that would be read next (of an ordered
  /// job those from `next` on, without a gap), appended to `out`. They count as consumed when the reader waits again: the window holds.
  void take_more(const JobRef& job, ItemIndex next, std::vector<Settled>& out);
  /// All settled items not read yet, in item order (after wait_job). One short mutex hold, whatever their number.
  Harvest take_results(const JobRef& job);
  /// A settled item that was not read yet, moved out at once. False: there is none such.
  bool take_item(const JobRef& job, ItemIndex item, Settled& out);
  /// First failure in completion order (died, timed_out, raised...; not skipped), for map's exception. nullopt = none.
  std::optional<ItemIndex> first_failure(const Job& job);
  /// Feeder: until the open job may take `room` > 0 more items; `ended`: the job or the pool is over (stop reading input).
  Waited wait_window(const JobRef& job, Nanos max_sleep, std::uint64_t& room);

  // --- events for the host's threads ---
  Waited wait_dispatch(Nanos max_sleep, DispatchEvent& out);
  /// The host has delivered the callbacks of a `dispatch` job.
  void dispatched(const JobRef& job);

  // --- the end ---
  void close();
  /// Settles all that is pending as terminated and starts the stop ladder (core/stop_ladder.hpp); returns at once, wait_ended() follows.
  /// `interrupted`: under a KeyboardInterrupt, so busy workers get SIGINT first.
  void terminate(Nanos grace, bool interrupted = false);
  void kill();  // SIGKILL to all now
  /// One SIGINT to each worker that is busy with `job` (null: with anything).
  void interrupt_workers(const JobRef& job);
  Waited wait_ended(Nanos max_sleep);  // until no worker and no zygote is left
  EngineState state();
  bool takes_work() const;      // state() is `running`, as far as can be seen without the mutex
  std::string broken_reason();  // for state broken: what the initializer said, the last report
  std::optional<ExitReport> broken_report();

  // --- questions ---
  /// Where the workers are now (Python pools): ask, wait_stacks() until all have answered, and then, or when enough time has passed, end_stacks(), which
  /// gives a reason to those that have not. It disturbs nobody but for a signal.
  StacksRequest ask_for_stacks();
  Waited wait_stacks(StacksRequest& request, Nanos max_sleep);
  void end_stacks(StacksRequest& request);
  std::vector<WorkerInfo> workers();                       // live ones, and the dead not yet replaced
  std::optional<WorkerInfo> worker_info(WorkerId worker);  // also of dead ones (the last 1,024)
  Stats stats();
  std::vector<KilledItem> killed_items();  // items that a death or a time-out settled; copies; the last of them, within KilledItems' bounds
  /// Every run of an item that ended with its worker's death, also those that were run again; the last 100,000.
  std::vector<ExitReport> deaths();

  // --- forks of the host (fork_guard.hpp calls these) ---
  void lock_for_fork();
  void unlock_after_fork();
  void after_fork_in_child();  // drop all handles; from now on answer "ended", signal nobody
  static constexpr const char* kForked = "this is a forked child: the pool belongs to its parent";  // why submit() refuses there
  bool in_forked_child() const;

 private:
  struct Impl;
  explicit Engine(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace holdfast::pool
