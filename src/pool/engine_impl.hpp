// What: the inside of Engine, shared by the files of src/pool: one object under one mutex, one supervisor thread. Engine (engine.cpp)
// is the door; submitting, sending, draining, births, deaths, waiting and ending each have a file of their own.
//
// Rules: 1. Everything here is guarded by `mutex`, except what is marked constant or has its own lock. 2. No user code, no Python, no
// blocking call while it is held (sends do not wait). 3. After an event of the scheduler: run_actions(), then notify(): waiters are woken
// once per batch. 4. In a forked child of the host nothing is touched but descriptors (in_forked_child()).
#pragma once

#include <atomic>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "core/oom_account.hpp"
#include "core/scheduler.hpp"
#include "core/stop_ladder.hpp"
#include "pool/engine.hpp"
#include "pool/function.hpp"
#include "pool/job.hpp"
#include "pool/job_index.hpp"
#include "pool/killed_items.hpp"
#include "pool/launcher.hpp"
#include "pool/pool_clock.hpp"
#include "pool/result_buffers.hpp"
#include "pool/waiter.hpp"
#include "pool/worker.hpp"
#include "ring/control.hpp"
#include "ring/spinner.hpp"
#include "sys/cgroup.hpp"
#include "sys/clock.hpp"
#include "sys/epoll.hpp"
#include "sys/process.hpp"
#include "sys/thread.hpp"
#include "sys/wakeup.hpp"

namespace holdfast::pool {

struct Engine::Impl {
  Impl(const EngineOptions& engine_options, ring::BellPage bell_page, sys::Epoll poller, sys::Wakeup waker, UniqueFd own_pidfd);
  ~Impl() = default;
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  using Lock = std::unique_lock<std::mutex>;

  // What epoll hands back: kind in the upper half, worker id in the lower.
  enum class Source : std::uint32_t { wakeup = 1, zygote_socket, zygote_pidfd, worker_pidfd, worker_socket };
  static std::uint64_t tag(Source source, WorkerId worker = 0) { return (static_cast<std::uint64_t>(source) << 32) | worker; }

  // --- constant after construction ---
  const EngineOptions options;
  ring::BellPage bell;  // but for its descriptor: close_up()
  const std::shared_ptr<ring::BufferPool> buffers;

  // --- what the supervisor makes and frees without `mutex`; a fork of the host waits for it ---
  std::mutex chores;
  std::optional<Line> newborn_line;  // until it is a worker's

  // --- guarded ---
  std::mutex mutex;
  sys::Epoll epoll;
  sys::Wakeup wakeup;
  PoolClock clock;  // deadlines are in its time
  core::Scheduler scheduler;
  FunctionTable functions;
  Launcher launcher;
  UniqueFd parent_pidfd;
  bool zygote_on_its_way = false;  // prepared, and not named yet
  sys::NativeThread supervisor;
  JobIndex jobs;                                                  // unsettled, or open
  std::unordered_map<WorkerId, std::unique_ptr<Worker>> workers;  // processes that exist, or are asked for
  std::vector<Worker*> by_index;                                  // the bell page's bit -> worker
  struct Departed {
    std::int64_t identity = 0;
    bool ready = false;
    std::shared_ptr<const ExitReport> report;
  };
  std::unordered_map<WorkerId, Departed> departed;  // the last kDepartedKept
  // Forgotten in the order of their ends: an old worker's id is low, and its report is needed in a moment.
  std::deque<WorkerId> departed_order;
  KilledItems killed;
  std::deque<ExitReport> death_log;  // every run of an item that ended with its worker's death
  std::deque<DispatchEvent> dispatch_queue;
  Stats counts;
  std::int64_t next_identity = 1;

  bool drainer = false;  // a user thread holds the drainer's role
  // Longer than a worker's: while a task that returns 1 MiB copies it, its caller had better not fall asleep.
  ring::Spinner drainer_spinner{sys::usable_cpus(), 2 * ring::Spinner::kLongest};  // whose the drainer's role is, his; without the mutex
  const Job* drainer_job = nullptr;  // what it waits for, while it sleeps or spins; null while it is awake: it looks again by itself
  struct Sleeper {
    Waiter* waiter;
    const Job* job;
  };
  std::vector<Sleeper> sleepers;  // job waiters asleep without the role: candidates for it
  WaiterList state_waiters;       // started, ended, zygote needed
  WaiterList dispatch_waiters;
  std::vector<core::Action> actions;  // reused
  std::vector<WorkerId> wanted;       // workers that the scheduler asked for, to be made by the supervisor
  // Chores of the supervisor, for when the waiters have been woken: births, and what a death leaves to do.
  std::vector<ring::Message> burials;            // `reap`s to be sent
  std::vector<std::unique_ptr<Worker>> corpses;  // their rings are unmapped, their descriptors closed
  Time chores_at{0};                             // not before
  std::vector<Worker*> dirty;                    // workers with uncommitted frames
  std::vector<JobRef> touched;                   // jobs with news, to be notified
  // Memory (memory_watch.cpp).
  sys::OomCounter oom_counter;
  core::OomAccount oom_account;
  static constexpr Time kRested{0};
  Time memory_look_at = kRested;  // the next look at the workers' memory; kRested: no item has been in flight since the last
  std::vector<Worker*> watched;   // reused

  Time supervisor_until{0};           // until when the supervisor lies in epoll_wait; 0 = it is up, or was woken
  bool supervisor_naps = false;       // and then it looks at the rings, whatever its flag says (results_are_dense())
  std::uint64_t times_left = 0;       // since its last look: how often a drainer has gone and nobody took the role
  bool worked_lately = false;         // items were in flight at its last look
  Time results_seen_at{0};            // its last look that found results, and
  std::uint64_t settled_at_look = 0;  // how many items were settled then
  bool opened = false;                // start() was called
  bool zygote_needed = false;
  Time zygote_heard_at{0};          // its last message
  std::uint32_t zygote_deaths = 0;  // in a row, without a worker that became ready
  bool forked_child = false;
  bool close_asked = false;  // close() was called
  bool ending = false;       // terminate, abort: the stop ladder runs
  // The one or the other, for those who look without the mutex: relaxed, for nothing hangs on it. Who sees it late is refused by submit().
  std::atomic<bool> takes_no_work{false};
  core::StopLadder ladder;
  bool ended = false;      // no worker and no zygote is left
  bool stop_sent = false;  // the zygote was told to stop
  Time zygote_stop_deadline = kNever;
  bool zygote_killed = false;     // it did not go when told
  bool zygote_abandoned = false;  // nor when killed
  // A zygote has not ended as it was told: what its workers had left behind may hang below a stranger. The next one knows (`succeed`) and ends
  // it with the pool's process; the pool's own end does so here, whether there is a next one or not.
  bool leftovers_suspected = false;
  bool leftovers_due = false;  // it is time
  bool quit = false;           // the supervisor leaves (destructor)
  std::optional<ExitReport> last_start_failure;
  std::string broken_text;

  static constexpr std::chrono::milliseconds kLongestStall = std::chrono::hours(24 * 365);  // a worker's word is not trusted
  static constexpr std::size_t kDepartedKept = 1024;
  static constexpr std::uint32_t kZygoteDeathsAllowed = 3;
  static constexpr std::size_t kDeathsKept = 100'000;
  static constexpr std::size_t kTracebacksKept = 1'000;  // of those

  /// Terminated, aborted or broken: every item is settled.
  bool work_is_over() const {
    const auto state = scheduler.state();
    return state != core::Scheduler::PoolState::running && state != core::Scheduler::PoolState::closed;
  }

  // --- sending.cpp: actions out, frames in ---
  void run_actions();
  void run_action(const core::Action& action);
  void send_chunk(const core::Action& action);
  void take_back(const core::Action& action);
  bool takes_frames(const Worker& worker) const;
  void pump(Worker& worker);
  bool push_function(Worker& worker, const Function& function);
  bool push_items(Worker& worker, ChunkInFlight& chunk);
  bool push_item(Worker& worker, ChunkInFlight& chunk, const StoredItem& item);
  BufferId stage(Worker& worker, ChunkInFlight& chunk, ByteSpan bytes);
  bool send_buffer(Worker& worker, const ring::SharedBuffer& buffer);
  void tell_forgotten();
  void commit_dirty();
  void mark_dirty(Worker& worker);

  // --- draining.cpp: results in, outcomes out ---
  void drain_ready();  // workers whose bit is set
  void drain_all();    // every worker: the bounded look that makes a lost hint harmless
  void drain_worker(Worker& worker);
  /// Consecutive done items of one chunk, stored already, of which the scheduler has not been told.
  struct DoneRun {
    ChunkInFlight* chunk = nullptr;
    std::uint32_t first = 0;
    std::uint32_t count = 0;
    std::uint32_t settled = 0;  // those that were not settled before
    Nanos run_time{0};
  };
  bool accept_result(Worker& worker, const ring::ResultFrame& frame, DoneRun& run, Time now);
  bool take_run(Worker& worker, DoneRun& run, Time now);
  bool argument_kept(Worker& worker, const ChunkInFlight* chunk, std::uint32_t item);
  bool accept_raised(Worker& worker, ChunkInFlight& chunk, const ring::ResultFrame& frame, Payload&& payload, Time now);
  bool close_run(Worker& worker, DoneRun& run, Time now);
  void results_seen(Worker& worker, ChunkInFlight& chunk);
  void chunk_answered(Worker& worker, ChunkInFlight& chunk);
  void settle_range(const core::Settle& settle);
  void settle_item(const JobRef& job, ItemIndex item, OutcomeKind kind, Payload&& payload, Failure failure);
  void note_killed(const Job& job, ItemIndex item, OutcomeKind outcome, const ExitReport& report);
  void touch(const JobRef& job);
  void notify();  // wakes who waits for the touched jobs; forgets finished jobs
  Result<Payload> open_payload(Worker& worker, const ring::PayloadRef& payload);

  // --- waiting.cpp ---
  template <class Ready>
  Waited wait_for_job(Job& job, Nanos max_sleep, Ready ready);
  template <class Ready>
  bool drainers_turn(Lock& lock, Job& job, const Ready& ready, Nanos rest, bool& much_to_come);
  bool spin_for_results(Lock& lock, const Job& job, std::uint32_t seen_bell);
  template <class Ready>
  Waited wait_for_state(WaiterList& list, Nanos max_sleep, Ready ready);
  sys::FutexWake sleep_for_job(Lock& lock, Job& job, Nanos rest);
  void wake_sleepers_of(const Job& job);
  void hand_over_drainer();

  // --- births.cpp ---
  Status take_line(Worker& worker, Line&& line);
  void start_wanted(Lock& lock);
  /// A worker that is to go before the supervisor has made it: it is never made. False: it exists (or never was wanted).
  bool call_off_birth(WorkerId id);
  void start_worker(WorkerId id, std::uint32_t index, std::optional<Line>&& line, std::optional<Error> failure);
  void settle_unborn(Worker& worker);
  void request_start(Worker& worker);
  void on_zygote_message(const ring::Message& message, std::vector<UniqueFd>& fds, bool truncated_fds);
  void read_zygote();
  void on_worker_message(Worker& worker, const ring::Message& message, const std::vector<UniqueFd>& fds);
  void read_worker(Worker& worker);
  void grant_result_buffer(Worker& worker, std::int64_t bytes);
  std::vector<WorkerId> unborn() const;
  void replace_silent_zygote();
  void zygote_lost(const std::string& why = "the zygote process died again and again");
  std::string late_hello(const Worker& worker) const;
  void reap_zygotes();
  void worker_ready(Worker& worker);
  // stalls.cpp
  void on_worker_stalled(const Worker& worker, const ring::Message& message, const std::vector<UniqueFd>& fds);
  // stacks.cpp
  std::uint32_t ask_for_stacks(Worker& worker, bool last);
  void on_stacks_taken(Worker& worker);
  bool begin_last_look(Worker& worker);
  void end_last_look(Worker& worker);
  std::optional<std::string> stacks_answer(const StacksRequest::Asked& asked);

  // --- memory_watch.cpp ---
  void open_oom_counter();
  static void begin_memory_watch(Worker& worker);
  void look_at_memory(Lock& lock);
  void end_memory_rest();
  void hold_to_memory_limits(Worker& worker);
  bool killed_for_memory(const Worker& worker);

  // --- deaths.cpp ---
  void on_exited(Worker& worker, const ring::Message& message);
  void on_worker_exit(Worker& worker);
  void bury(Worker& worker);
  static void kill_group_of(const Worker& worker);
  void read_worker_remains(Worker& worker);
  void on_socket_closed(Worker& worker);
  void check_after_eof(Worker& worker);
  void finish_worker(Worker& worker);  // reported and freed: `worker` is gone after this
  void kill_worker(Worker& worker, Cause cause);
  void carry_out_kill(Worker& worker);
  static void ask_to_leave(Worker& worker, bool deliver);
  void condemn(Worker& worker, std::string detail);
  void abandon(Worker& worker);
  void read_exit_status(Worker& worker);
  std::string oom_detail(Cause cause) const;
  ExitReport make_report(const Worker& worker, bool running_item) const;
  std::vector<core::Running> begun_items(const Worker& worker, const ChunkInFlight*& lost) const;
  void unwatch(Worker& worker);
  Worker* find_worker(WorkerId id);

  // --- ending.cpp ---
  void begin_ending(Nanos grace, core::StopReason reason);
  void take_steps(const core::StopSteps& steps);
  void end_inputs();
  bool works_on(Worker& worker, const Job* job);
  void interrupt(Worker& worker);
  bool just_interrupted(const Worker& worker) const;
  void check_ended();
  void end_leftovers(Lock& lock);
  void wake_zygote();
  void close_up();
  void zygote_overdue();

  // --- supervisor.cpp ---
  void supervise();
  bool results_are_dense(bool nobody_drains);
  void handle_event(const sys::Event& event);
  void handle_deadlines(Time now);
  Time next_wakeup(Time now);
  void nudge_supervisor();
  bool has_chores() const { return !wanted.empty() || !corpses.empty() || (!burials.empty() && launcher.connected()); }
  void do_chores(Lock& lock);
  void watch_time_limits();
  void soft_interrupt(const core::Action& action);
  void wake_supervisor() { wakeup.signal(); }
};

}  // namespace holdfast::pool
