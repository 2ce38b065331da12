// What: close, terminate, kill, and the end of it all: the stop ladder's steps carried out, the zygote told to go. Part of Engine::Impl.
#include <csignal>
#include <utility>

#include "pool/engine_impl.hpp"
#include "sys/failpoint.hpp"
#include "sys/pidfd.hpp"
#include "sys/process.hpp"
#include "worker/hunt.hpp"

namespace holdfast::pool {

namespace {
constexpr Nanos kSameInterrupt = std::chrono::seconds(2);  // from the wait's end to that of the `with` block: `finally` clauses in between
// A zygote that was told to go kills and reaps all that is left, which takes milliseconds. P4 allows a second beyond the grace.
constexpr Nanos kZygoteStopWait = std::chrono::milliseconds(800);
}  // namespace

/// The first call starts the ladder, a later one may shorten it.
void Engine::Impl::begin_ending(Nanos grace, core::StopReason reason) {
  if (ended) return;
  const Time now = clock.now();
  if (ending) {
    take_steps(ladder.shorten(now, grace));
  } else {
    ending = true;
    takes_no_work.store(true, std::memory_order_relaxed);
    ladder = core::StopLadder(now, grace, reason);
    wake_zygote();
    take_steps(ladder.begin(now));
  }
  if (!launcher.connected()) {  // the zygote is dead: who was not born yet never will be, and no signal would reach him
    for (const WorkerId id : unborn()) finish_worker(*find_worker(id));
  }
  check_ended();
  wake_supervisor();
}

/// Somebody may have stopped it (SIGSTOP, a job control that reached it): then no death would be told, and nothing be reaped.
void Engine::Impl::wake_zygote() {
  if (launcher.pidfd()) (void)sys::pidfd_send_signal(launcher.pidfd().get(), SIGCONT);  // refused: it is dead, as its pidfd tells
}

void Engine::Impl::take_steps(const core::StopSteps& steps) {
  if (!steps.any()) return;
  HF_FAILPOINT(parent_stop_step);
  std::vector<WorkerId> abandoned;
  for (auto& [id, worker] : workers) {
    if (worker->life == Worker::Life::dying) continue;
    if (steps.ask) ask_to_leave(*worker, /*deliver=*/false);
    if (steps.sigint && works_on(*worker, nullptr) && !just_interrupted(*worker)) interrupt(*worker);
    if (steps.sigterm) {
      worker->stop_cause = Cause::stopped_by_pool;
      // Only a worker that has enrolled has its own handlers and mask; one that is being born dies at the next rung, or says hello.
      if (worker->pidfd) (void)sys::pidfd_send_signal(worker->pidfd.get(), SIGTERM);
    }
    if (steps.sigkill) kill_worker(*worker, Cause::stopped_by_pool);
    if (steps.abandon) abandoned.push_back(id);
  }
  for (const WorkerId id : abandoned) abandon(*find_worker(id));
}

/// The pool is over when it takes no more work and no worker is left; then the zygote goes, last.
void Engine::Impl::check_ended() {
  if (ended || !opened) return;
  const bool over = ending || (close_asked && jobs.empty());
  if (!over || !workers.empty()) return;
  if (launcher.connected()) {
    if (!stop_sent) {
      stop_sent = true;
      wake_zygote();
      launcher.send({.type = ring::MessageType::stop_zygote}, {});
      HF_FAILPOINT(parent_stop_sent);
      zygote_stop_deadline = clock.now() + kZygoteStopWait;
      wake_supervisor();
    }
    return;
  }
  if (!launcher.leaving().empty() && !zygote_abandoned) {  // its end will be seen in a moment
    if (zygote_stop_deadline == kNever) zygote_stop_deadline = clock.now() + kZygoteStopWait;
    return;
  }
  if (leftovers_suspected) {  // the supervisor's to end, in its next round
    leftovers_due = true;
    wake_supervisor();
    return;
  }
  ladder.gone();
  HF_FAILPOINT(parent_ended);
  ended = true;
  state_waiters.wake_all();
  dispatch_waiters.wake_all();
  jobs.for_each([](const JobRef& job) { job->wake_feeders(); });
  wake_supervisor();  // it closes up and leaves
}

/// Nothing else is left of the pool: then what its dead zygotes had adopted. A scan of /proc, without any lock: a child that the host forks
/// meanwhile inherits a descriptor or two until its exec. Runs in the supervisor.
void Engine::Impl::end_leftovers(Lock& lock) {
  const auto lineage = worker::Lineage::of_pool(bell.fd());
  lock.unlock();
  if (lineage) worker::Hunt(*lineage).kill();
  lock.lock();
  leftovers_suspected = leftovers_due = false;
  check_ended();
}

/// The supervisor's last act once the pool has ended: handles of the pool may live on for long, and hold no descriptor then.
void Engine::Impl::close_up() {
  HF_FAILPOINT(parent_closes_up);
  for (auto& worker : corpses) worker->results->worker_gone();
  corpses.clear();
  epoll.close();
  wakeup.close();
  oom_counter.close();
  if (zygote_on_its_way) return;  // the host's restarter is about to give it these
  bell.close_fd();
  parent_pidfd.reset();
}

/// A zygote that does not go when told is killed: it holds nothing of value by now. One that does not die of that (frozen) is left alone: it
/// begins nothing any more, and ends, as its workers do, when it is released. ~Engine reaps it if it has ended by then.
void Engine::Impl::zygote_overdue() {
  if (zygote_killed) {
    zygote_stop_deadline = kNever;
    zygote_abandoned = true;
    leftovers_suspected = true;
    zygote_lost();
    return;
  }
  zygote_killed = true;
  zygote_stop_deadline = clock.now() + core::kAbandonAfter;
  for (const Launcher::Former& former : launcher.leaving()) (void)sys::pidfd_send_signal(former.pidfd.get(), SIGKILL);
  if (launcher.pidfd())
    (void)sys::pidfd_send_signal(launcher.pidfd().get(), SIGKILL);
  else if (launcher.connected())
    zygote_lost();
}

void Engine::close() {
  const Impl::Lock lock(impl_->mutex);
  if (impl_->forked_child) return;
  impl_->close_asked = true;
  impl_->takes_no_work.store(true, std::memory_order_relaxed);
  impl_->scheduler.close(impl_->clock.now());
  impl_->run_actions();
  impl_->jobs.for_each([](const JobRef& job) {
    if (job->many() != nullptr) job->many()->unlimited = true;
    job->wake_feeders();
  });
  impl_->notify();
  impl_->check_ended();
  impl_->wake_supervisor();  // workers that leave have a deadline
}

void Engine::terminate(Nanos grace, bool interrupted) {
  const Impl::Lock lock(impl_->mutex);
  if (impl_->forked_child) return;
  impl_->scheduler.terminate(impl_->clock.now());
  impl_->run_actions();
  impl_->end_inputs();
  impl_->begin_ending(grace, interrupted ? core::StopReason::interrupt : core::StopReason::terminate);
  impl_->notify();
}

void Engine::kill() { terminate(Nanos{0}); }

/// No input is read any more: waiters on lazy jobs must not wait for items that will not come.
void Engine::Impl::end_inputs() {
  jobs.for_each([this](const JobRef& job) {
    if (!job->input_open()) return;
    job->many()->input_open = false;
    touch(job);
  });
}

void Engine::interrupt_workers(const JobRef& job) {
  const Impl::Lock lock(impl_->mutex);
  if (impl_->forked_child) return;
  for (auto& [id, worker] : impl_->workers) {
    if (impl_->works_on(*worker, job.get())) impl_->interrupt(*worker);
  }
}

/// What it says it is running decides; between two items, or when it talks nonsense, the first chunk that it holds.
bool Engine::Impl::works_on(Worker& worker, const Job* job) {
  if (!worker.busy() || worker.life == Worker::Life::dying) return false;
  if (job == nullptr) return true;
  const ChunkInFlight* chunk = worker.find_chunk(worker.channel->progress().chunk);
  return (chunk != nullptr ? chunk : &worker.chunks.front())->job.get() == job;
}

void Engine::Impl::interrupt(Worker& worker) {
  if (!worker.pidfd) return;
  worker.interrupted_item = worker.said_item();
  worker.interrupted_at = clock.now();
  (void)sys::pidfd_send_signal(worker.pidfd.get(), SIGINT);
}

/// The wait that a Ctrl-C ended has told this worker, and it is still in that item: cleaning up, as a rule. A second SIGINT for the same key
/// press would end its clean-up.
bool Engine::Impl::just_interrupted(const Worker& worker) const {
  return clock.now() - worker.interrupted_at < kSameInterrupt && worker.interrupted_item == worker.said_item();
}

}  // namespace holdfast::pool
