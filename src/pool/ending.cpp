// What: close, terminate, kill, and the end of it all: the stop ladder's steps carried out, the zygote told to go. Part of Engine::Impl.
#include <csignal>

#include "pool/engine_impl.hpp"
#include "sys/pidfd.hpp"

namespace holdfast::pool {

void Engine::Impl::begin_ending(Nanos grace, core::StopReason reason) {
  if (ending) return;
  ending = true;
  ladder = core::StopLadder(sys::now(), grace, reason);
  take_steps(ladder.begin(sys::now()));
  if (!launcher.connected()) {  // the zygote is dead: who was not born yet never will be, and no signal would reach him
    std::vector<WorkerId> unborn;
    for (auto& [id, worker] : workers) {
      if (!worker->pidfd) unborn.push_back(id);
    }
    for (const WorkerId id : unborn) finish_worker(*find_worker(id));
  }
  check_ended();
  wake_supervisor();
}

void Engine::Impl::take_steps(const core::StopSteps& steps) {
  if (!steps.any()) return;
  std::vector<WorkerId> abandoned;
  for (auto& [id, worker] : workers) {
    if (worker->life == Worker::Life::dying) continue;
    if (steps.ask) {
      worker->closing = true;
      worker->cancelled = true;
      worker->channel->set_cancelled();
    }
    if (steps.sigint && worker->busy() && worker->pidfd) (void)sys::pidfd_send_signal(worker->pidfd.get(), SIGINT);
    if (steps.sigterm) {
      worker->stop_cause = Cause::stopped_by_pool;
      // Only a worker that has enrolled has its own handlers and mask; one that is being born dies at the next rung, or says hello.
      if (worker->pidfd) (void)sys::pidfd_send_signal(worker->pidfd.get(), SIGTERM);
    }
    if (steps.sigkill) kill_worker(*worker, Cause::stopped_by_pool);
    if (steps.abandon) abandoned.push_back(id);
  }
  for (const WorkerId id : abandoned) {
    Worker& worker = *find_worker(id);
    worker.report.detail = "it did not die after SIGKILL (frozen, or in an uninterruptible system call); abandoned";
    finish_worker(worker);
  }
}

/// The pool is over when it takes no more work and no worker is left; then the zygote goes, last.
void Engine::Impl::check_ended() {
  if (ended || !opened) return;
  const bool over = ending || (close_asked && jobs.empty());
  if (!over || !workers.empty()) return;
  if (launcher.connected()) {
    if (!stop_sent) {
      stop_sent = true;
      launcher.send({.type = ring::MessageType::stop_zygote}, {});
      zygote_stop_deadline = sys::now() + core::kAbandonAfter;
      wake_supervisor();
    }
    return;
  }
  if (!launcher.leaving().empty()) return;  // its end will be seen in a moment
  ladder.gone();
  ended = true;
  state_waiters.wake_all();
  dispatch_waiters.wake_all();
  for (auto& [id, job] : jobs) job->feeders.wake_all();
}

/// A zygote that does not go when told is killed: it holds nothing of value by now.
void Engine::Impl::zygote_overdue() {
  zygote_stop_deadline = kNever;
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
  impl_->scheduler.close(sys::now());
  impl_->run_actions();
  for (auto& [id, job] : impl_->jobs) {
    job->unlimited = true;
    job->feeders.wake_all();
  }
  impl_->notify();
  impl_->check_ended();
}

void Engine::terminate(Nanos grace, bool interrupted) {
  const Impl::Lock lock(impl_->mutex);
  if (impl_->forked_child) return;
  impl_->scheduler.terminate(sys::now());
  impl_->run_actions();
  impl_->end_inputs();
  impl_->begin_ending(grace, interrupted ? core::StopReason::interrupt : core::StopReason::terminate);
  impl_->notify();
}

void Engine::kill() {
  const Impl::Lock lock(impl_->mutex);
  if (impl_->forked_child) return;
  impl_->scheduler.terminate(sys::now());
  impl_->run_actions();
  impl_->end_inputs();
  impl_->begin_ending(Nanos{0}, core::StopReason::terminate);
  impl_->take_steps(impl_->ladder.kill_now(sys::now()));
  impl_->notify();
}

/// No input is read any more: waiters on lazy jobs must not wait for items that will not come.
void Engine::Impl::end_inputs() {
  for (auto& [id, job] : jobs) {
    if (!job->input_open) continue;
    job->input_open = false;
    touch(job);
  }
}

void Engine::interrupt_workers() {
  const Impl::Lock lock(impl_->mutex);
  if (impl_->forked_child) return;
  for (auto& [id, worker] : impl_->workers) {
    if (worker->busy() && worker->pidfd && worker->life != Worker::Life::dying) (void)sys::pidfd_send_signal(worker->pidfd.get(), SIGINT);
  }
}

}  // namespace holdfast::pool
