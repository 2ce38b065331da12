// What: Engine's door: construction, submitting, reading, questions. See engine.hpp; the work is done in the files of engine_impl.hpp.
#include "pool/engine.hpp"

#include <cerrno>
#include <csignal>
#include <new>

#include "pool/engine_impl.hpp"
#include "pool/fork_guard.hpp"
#include "sys/failpoint.hpp"
#include "sys/pidfd.hpp"
#include "sys/process.hpp"

namespace holdfast::pool {

namespace {
core::SchedulerConfig scheduler_config(const EngineOptions& options) {
  core::SchedulerConfig config;
  config.workers = options.workers;
  config.max_restarts = options.max_restarts;
  config.max_deaths = options.max_deaths;
  config.max_chunks_per_worker = options.max_chunks_per_worker;
  config.max_chunks_in_flight = ring::kChunkSlots * 3 / 4;  // the rest is for slots whose chunk was taken back (Worker::retired_slots)
  config.memory_gate = true;
  config.seed = static_cast<std::uint64_t>(sys::now().count());
  return config;
}

Error closed_error(EngineState state, const std::string& reason) {
  switch (state) {
    case EngineState::broken: return {ErrorCode::broken, 0, "submit", reason};
    case EngineState::aborted: return {ErrorCode::closed, 0, "submit", "the pool was aborted"};
    case EngineState::terminated: return {ErrorCode::closed, 0, "submit", "the pool was terminated"};
    default: return {ErrorCode::closed, 0, "submit", "the pool is closed"};
  }
}
Error no_memory(const char* operation) { return {ErrorCode::exhausted, ENOMEM, operation, "for the items of the job"}; }
constexpr Nanos kLastWait = std::chrono::seconds(2);
}  // namespace

Engine::Impl::Impl(const EngineOptions& engine_options, ring::BellPage bell_page, sys::Epoll poller, sys::Wakeup waker, UniqueFd own_pidfd)
    : options(engine_options),
      bell(std::move(bell_page)),
      buffers(ring::BufferPool::create(engine_options.keep_buffer_bytes)),
      epoll(std::move(poller)),
      wakeup(std::move(waker)),
      scheduler(scheduler_config(engine_options)),
      functions(buffers),
      parent_pidfd(std::move(own_pidfd)) {}

Engine::Engine(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) { guard_forks_of(*this); }

Result<std::shared_ptr<Engine>> Engine::create(const EngineOptions& options) {
  auto bell = ring::BellPage::create();
  if (!bell) return std::move(bell).error();
  auto epoll = sys::Epoll::create();
  if (!epoll) return std::move(epoll).error();
  auto wakeup = sys::Wakeup::create();
  if (!wakeup) return std::move(wakeup).error();
  auto own = sys::pidfd_open(sys::own_pid());
  if (!own) return std::move(own).error();
  if (auto added = epoll->add(wakeup->fd(), Impl::tag(Impl::Source::wakeup), sys::kReadable); !added) return std::move(added).error();
  auto impl = std::make_unique<Impl>(options, *std::move(bell), *std::move(epoll), *std::move(wakeup), *std::move(own));
  impl->open_oom_counter();
  return std::shared_ptr<Engine>(new Engine(std::move(impl)));
}

Engine::~Engine() {
  unguard_forks_of(*this);
  if (impl_->forked_child) {
    impl_->supervisor.forget();
    return;
  }
  if (impl_->supervisor.joinable()) {
    kill();
    const Time until = sys::now() + 3 * core::kAbandonAfter;  // workers and zygote may have to be abandoned, one after the other
    while (wait_ended(std::max(Nanos{0}, until - sys::now())) == Waited::interrupted) {}
    {
      const Impl::Lock lock(impl_->mutex);
      impl_->quit = true;
      impl_->wake_supervisor();
    }
    impl_->supervisor.join();
  }
  // A zygote that came too late for the supervisor, or whose pool was never started.
  impl_->launcher.lost();
  // The end of its line tells it to end all that is below it, and to go; killed at once it could not. Bounded, for a stopped or frozen one, which
  // stays our zombie from its release until this process ends.
  const Nanos patience = impl_->zygote_abandoned ? Nanos{0} : core::kAbandonAfter;
  for (const Launcher::Former& former : impl_->launcher.leaving()) {
    (void)sys::pidfd_send_signal(former.pidfd.get(), SIGCONT);
    (void)sys::pidfd_wait_exited(former.pidfd.get(), patience);
    (void)sys::pidfd_send_signal(former.pidfd.get(), SIGKILL);
    if (!former.our_child) continue;
    (void)sys::pidfd_wait_exited(former.pidfd.get(), patience);
    (void)sys::wait_pidfd(former.pidfd.get(), /*reap=*/true, /*no_hang=*/true);
  }
}

// --- birth ---

Result<ZygoteSeed> Engine::prepare_zygote() {
  const Impl::Lock lock(impl_->mutex);
  if (impl_->ended) return Error{ErrorCode::closed, 0, "prepare_zygote", "the pool has ended"};
  auto end = impl_->launcher.prepare();
  if (!end) return std::move(end).error();
  impl_->zygote_needed = false;
  impl_->zygote_on_its_way = true;
  // Lies in the socket before there is a zygote to read it: however soon this process dies, its zygote knows.
  if (impl_->leftovers_suspected) impl_->launcher.send({.type = ring::MessageType::succeed}, {});
  if (auto added = impl_->epoll.add(impl_->launcher.socket(), Impl::tag(Impl::Source::zygote_socket), sys::kReadable); !added) {
    return std::move(added).error();
  }
  return ZygoteSeed{*std::move(end), impl_->bell.fd(), impl_->parent_pidfd.get()};
}

Status Engine::zygote_running(int pid, bool is_our_child) {
  Impl::Lock lock(impl_->mutex);
  impl_->zygote_on_its_way = false;
  // Opened here, so that it is reaped even if it dies before its hello. Fails if it is dead and some other thread has reaped it already: then
  // there is nothing to reap, and the end of its socket tells.
  UniqueFd pidfd;
  if (auto opened = is_our_child ? sys::pidfd_open(pid) : Result<UniqueFd>(Error{})) pidfd = *std::move(opened);
  if (impl_->ended) {  // the pool did not wait for it, and nobody is left who would look after it
    lock.unlock();
    if (!pidfd) return ok_status();
    (void)sys::pidfd_send_signal(pidfd.get(), SIGKILL);
    // A frozen one does not die of it: then it stays our zombie to be, and nobody waits for that.
    if (sys::pidfd_wait_exited(pidfd.get(), kLastWait)) (void)sys::wait_pidfd(pidfd.get(), /*reap=*/true, /*no_hang=*/true);
    return ok_status();
  }
  if (pidfd && !impl_->launcher.pidfd()) {
    if (auto added = impl_->epoll.add(pidfd.get(), Impl::tag(Impl::Source::zygote_pidfd), sys::kReadable); !added) return added;
    impl_->launcher.running(std::move(pidfd), is_our_child);
  } else {
    impl_->launcher.running(UniqueFd{}, is_our_child);
  }
  if (!impl_->launcher.connected()) {  // dead already, or told to go before it was named here: reaped like any other
    impl_->launcher.lost();
    impl_->wake_supervisor();
  }
  for (auto& [id, worker] : impl_->workers) {
    if (worker->pid == 0) impl_->request_start(*worker);
  }
  return ok_status();
}

Status Engine::start() {
  {
    Impl::Lock lock(impl_->mutex);
    impl_->opened = true;
    impl_->scheduler.open(impl_->clock.now());
    impl_->run_actions();
    impl_->start_wanted(lock);  // by this thread: the zygote need not wait for the supervisor's first turn, nor have we a supervisor yet
  }
  auto thread = sys::NativeThread::start({.name = "holdfast", .stack_bytes = 0}, [impl = impl_.get()] { impl->supervise(); });
  if (!thread) return std::move(thread).error();
  impl_->supervisor = *std::move(thread);
  return ok_status();
}

// --- work ---

Result<FunctionRef> Engine::intern_function(ByteSpan pickled) {
  const Impl::Lock lock(impl_->mutex);
  return impl_->functions.intern(pickled);
}

ByteSpan Engine::function_bytes(const Function& function) { return function.span(); }

std::shared_ptr<ring::BufferPool> Engine::buffers() { return impl_->buffers; }

// What a job of many items needs is a few large blocks. They are made before anything is told of the job, so a lack of memory leaves no trace.
Result<JobRef> Engine::submit(JobRequest&& request) {
  const Impl::Lock lock(impl_->mutex);
  if (impl_->forked_child) return Error{ErrorCode::closed, 0, "submit", kForked};
  if (impl_->scheduler.state() != core::Scheduler::PoolState::running) {
    return closed_error(static_cast<EngineState>(impl_->scheduler.state()), impl_->broken_text);
  }
  const core::JobSpec spec{.items = request.items.count(),
                           .open = request.open,
                           .chunk_size = std::max<std::uint64_t>(1, request.chunk_size),
                           .policies = request.policies};
  JobRef job;
  try {
    job = Job::make(std::move(request));
  } catch (const std::bad_alloc&) { return no_memory("submit"); }
  impl_->counts.items_submitted += spec.items;
  if (spec.items == 0 && !spec.open) {  // map([]): there is nothing to schedule
    impl_->touch(job);
    impl_->notify();
    return job;
  }
  job->id = impl_->scheduler.submit(spec, impl_->clock.now());
  impl_->jobs.add(job->id, job);
  HF_FAILPOINT(parent_submitted);
  impl_->run_actions();
  // No worker had room for it. Results that have come make some, and a caller who submits one after the other is soonest told by himself.
  if (!impl_->drainer && impl_->scheduler.has_ready()) impl_->drain_ready();
  impl_->notify();
  return job;
}

Status Engine::extend(const JobRef& job, ItemBatch&& items) {
  const Impl::Lock lock(impl_->mutex);
  if (impl_->forked_child) return Error{ErrorCode::closed, 0, "extend", kForked};
  if (!job->input_open()) return Error{ErrorCode::closed, 0, "extend", "the job takes no more input"};
  const std::uint64_t count = items.count();
  try {
    job->many()->add_items(std::move(items));
  } catch (const std::bad_alloc&) { return no_memory("extend"); }
  impl_->counts.items_submitted += count;
  impl_->scheduler.extend(job->id, count, impl_->clock.now());
  impl_->run_actions();
  impl_->notify();
  return ok_status();
}

Status Engine::close_input(const JobRef& job) {
  const Impl::Lock lock(impl_->mutex);
  if (impl_->forked_child || !job->input_open()) return ok_status();
  job->many()->input_open = false;
  job->many()->drop_items_when_over();
  impl_->scheduler.close_input(job->id, impl_->clock.now());
  impl_->run_actions();
  impl_->touch(job);
  impl_->notify();
  impl_->check_ended();
  return ok_status();
}

void Engine::cancel(const JobRef& job, ItemIndex first, std::uint64_t count, bool kill) {
  const Impl::Lock lock(impl_->mutex);
  if (impl_->forked_child) return;
  impl_->scheduler.cancel(job->id, first, count, kill, impl_->clock.now());
  impl_->run_actions();
  impl_->notify();
}

void Engine::forget(const JobRef& job) {
  Harvest unread;  // freed after the lock: a large payload's end takes its own time
  std::map<ItemIndex, Settled> pieces;
  const Impl::Lock lock(impl_->mutex);
  if (impl_->forked_child || job->forgotten()) return;
  unread = job->take_all();
  if (job->many() != nullptr) pieces = job->many()->take_pieces();
  job->forget();
  job->wake_feeders();
  impl_->scheduler.forget(job->id);
}

// --- results ---

JobId Engine::job_id(const Job& job) { return job.id; }

std::uint64_t Engine::unsettled(const Job& job) {
  const Impl::Lock lock(impl_->mutex);
  return job.unsettled() + (job.input_open() ? 1 : 0);
}

std::uint64_t Engine::job_size(const Job& job) {
  const Impl::Lock lock(impl_->mutex);
  return job.size();
}

Harvest Engine::take_results(const JobRef& job) {
  const Impl::Lock lock(impl_->mutex);
  HF_FAILPOINT(parent_harvests);
  Harvest all = job->take_all();
  job->wake_feeders();
  return all;
}

bool Engine::take_item(const JobRef& job, ItemIndex item, Settled& out) {
  const Impl::Lock lock(impl_->mutex);
  HF_FAILPOINT(parent_harvests);
  return job->take(item, out);
}

std::optional<ItemIndex> Engine::first_failure(const Job& job) {
  const Impl::Lock lock(impl_->mutex);
  return job.first_failure();
}

void Engine::dispatched(const JobRef& job) {
  const Impl::Lock lock(impl_->mutex);
  job->delivered = true;
  impl_->wake_sleepers_of(*job);
  if (impl_->drainer_job == job.get()) impl_->bell.ring_from_parent();
}

// --- questions ---

EngineState Engine::state() {
  const Impl::Lock lock(impl_->mutex);
  if (impl_->ending && impl_->scheduler.state() == core::Scheduler::PoolState::running) return EngineState::terminated;
  return static_cast<EngineState>(impl_->scheduler.state());
}

bool Engine::takes_work() const { return !impl_->takes_no_work.load(std::memory_order_relaxed); }

std::string Engine::broken_reason() {
  const Impl::Lock lock(impl_->mutex);
  return impl_->broken_text;
}

std::optional<ExitReport> Engine::broken_report() {
  const Impl::Lock lock(impl_->mutex);
  return impl_->last_start_failure;
}

std::vector<WorkerInfo> Engine::workers() {
  const Impl::Lock lock(impl_->mutex);
  std::vector<WorkerInfo> all;
  for (const Worker* worker : impl_->by_index) {
    if (worker == nullptr) continue;
    all.push_back({.worker = worker->id,
                   .identity = worker->identity,
                   .pid = worker->pid,
                   .alive = worker->pid != 0,  // until its exit code can be told
                   .ready = worker->life == Worker::Life::ready,
                   .memory_bytes = worker->memory.last,
                   .report = {}});
  }
  return all;
}

std::optional<WorkerInfo> Engine::worker_info(WorkerId id) {
  const Impl::Lock lock(impl_->mutex);
  if (const Worker* worker = impl_->find_worker(id)) {
    return WorkerInfo{.worker = id,
                      .identity = worker->identity,
                      .pid = worker->pid,
                      .alive = true,  // until its exit code can be told
                      .ready = worker->life == Worker::Life::ready,
                      .memory_bytes = worker->memory.last,
                      .report = {}};
  }
  const auto gone = impl_->departed.find(id);
  if (gone == impl_->departed.end()) return std::nullopt;
  const auto& [identity, ready, report] = gone->second;
  return WorkerInfo{
      .worker = id, .identity = identity, .pid = report->pid, .alive = false, .ready = ready, .memory_bytes = -1, .report = *report};
}

Stats Engine::stats() {
  const Impl::Lock lock(impl_->mutex);
  Stats counts = impl_->counts;
  counts.items_taken_back = impl_->scheduler.counters().taken_back;
  counts.retries = impl_->scheduler.counters().retries;
  return counts;
}

std::vector<ExitReport> Engine::deaths() {
  const Impl::Lock lock(impl_->mutex);
  return {impl_->death_log.begin(), impl_->death_log.end()};
}

std::vector<KilledItem> Engine::killed_items() {
  const Impl::Lock lock(impl_->mutex);
  std::vector<KilledItem> copies;
  copies.reserve(impl_->killed.all().size());
  for (const KilledItem& each : impl_->killed.all()) {
    copies.push_back({.function = each.function,
                      .call_mode = each.call_mode,
                      .item = each.item.duplicate(),
                      .large_item = each.large_item,
                      .large_size = each.large_size,
                      .report = each.report,
                      .outcome = each.outcome});
  }
  return copies;
}

// --- forks of the host ---

void Engine::lock_for_fork() {
  impl_->mutex.lock();
  impl_->chores.lock();
  for (auto& [id, worker] : impl_->workers) worker->results->lock_for_fork();
  for (auto& worker : impl_->corpses) worker->results->lock_for_fork();
}
void Engine::unlock_after_fork() {
  for (auto& worker : impl_->corpses) worker->results->unlock_after_fork();
  for (auto& [id, worker] : impl_->workers) worker->results->unlock_after_fork();
  impl_->chores.unlock();
  impl_->mutex.unlock();
}

void Engine::after_fork_in_child() {
  impl_->forked_child = true;
  impl_->takes_no_work = true;
  for (auto& [id, worker] : impl_->workers) worker->forked_child();
  for (auto& worker : impl_->corpses) worker->forked_child();
  impl_->newborn_line.reset();
  impl_->launcher.close_all();
  // A zygote has copies of the two that it needs; its workers hold no other descriptor of the pool's.
  impl_->epoll.close();
  impl_->wakeup.close();
  impl_->oom_counter.close();
  impl_->bell.close_fd();
  impl_->parent_pidfd.reset();
}

bool Engine::in_forked_child() const { return impl_->forked_child; }

}  // namespace holdfast::pool
