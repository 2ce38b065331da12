// What: asking workers for their stacks (worker/stack_report.hpp): all of them for a user, and one that is to be killed because its time is over.
// Part of Engine::Impl (engine_impl.hpp). Nobody is waited for with the mutex held, and nobody for long: a worker may be stopped, or block the
// signal. A worker's word is not trusted: a text that comes is shown to people, and one that does not come is not waited for.
#include <algorithm>
#include <string>
#include <utility>

#include "pool/engine_impl.hpp"
#include "sys/pidfd.hpp"
#include "sys/procfs.hpp"

namespace holdfast::pool {

namespace {

// For one that is to be killed: writing takes less than a millisecond; so long on a machine with more to run than processors. A time limit is kept
// within 50 ms with it.
constexpr Nanos kLastLook = std::chrono::milliseconds(25);

char state_of(const Worker& worker) {
  const auto stat = sys::read_stat(worker.pid);
  return stat ? stat->state : '?';
}

/// Why no signal will do, or nothing.
const char* refusal(const Worker& worker, int signal) {
  if (!worker.pidfd) return "no stack: it has not been started yet";
  if (worker.life == Worker::Life::dying || worker.kill_cause != Cause::none) return "no stack: it has ended";
  const char state = state_of(worker);
  if (state == 'T' || state == 't') return "no stack: stopped";
  if (state == 'Z' || state == 'X') return "no stack: it has ended";
  if (signal == 0 && worker.life != Worker::Life::ready) return "no stack: it is being started";
  if (signal == 0) return "no stack: this worker cannot be asked (its program has no real-time signal left)";
  // It would die of a signal that it does not catch.
  if (!sys::catches_signal(worker.pid, signal))
    return "no stack: it does not catch the signal any more (another program, or all handlers reset)";
  return nullptr;
}

const char* why_no_answer(const Worker& worker) {
  const char state = state_of(worker);
  if (state == 'T' || state == 't') return "no stack: stopped";
  if (state == 'D') return "no stack: it is frozen, or in an uninterruptible system call";
  return "no stack: it did not answer in time (it blocks the signal, has closed its descriptors, or waits for a processor)";
}

}  // namespace

/// Sends the request; the number of its answer. 0: it cannot be asked, and worker.stacks says why.
std::uint32_t Engine::Impl::ask_for_stacks(Worker& worker, bool last) {
  const int signal = worker.channel->stacks_signal();
  if (const char* why = refusal(worker, signal)) {
    worker.stacks = why;
    return 0;
  }
  worker.channel->want_stacks(++worker.stacks_asked, last);
  (void)sys::pidfd_send_signal(worker.pidfd.get(), signal);  // refused: it is dead, as its pidfd tells
  return worker.stacks_asked;
}

/// Its answer to the last request, which is one to those before it, too. Whatever the message says, the word counts: while a later request is on its way
/// the text may be changing. (The worker writes once for a number; this and the next request hold the mutex.)
void Engine::Impl::on_stacks_taken(Worker& worker) {
  if (worker.stacks_answered == worker.stacks_asked || worker.channel->stacks_taken() != worker.stacks_asked) return;
  worker.stacks_answered = worker.stacks_asked;
  worker.stacks = worker.channel->stacks_text();
  if (worker.stacks.empty())
    worker.stacks = "no stack: a thread came or went while they were written, and faulthandler writes none any more";
  if (worker.look_until != kNever) end_last_look(worker);
  state_waiters.wake_all();
}

/// Its time is over. It can begin nothing more (the scheduler has taken all else back), so a moment more costs nobody anything. False: there is
/// nothing to wait for.
bool Engine::Impl::begin_last_look(Worker& worker) {
  if (worker.life != Worker::Life::ready || worker.channel->stacks_signal() == 0) return false;  // no Python in it
  if (ask_for_stacks(worker, /*last=*/true) == 0) {
    worker.report.traceback = worker.stacks;
    return false;
  }
  worker.look_until = clock.now() + kLastLook;
  wake_supervisor();
  return true;
}

void Engine::Impl::end_last_look(Worker& worker) {
  worker.look_until = kNever;
  on_stacks_taken(worker);  // there may have been no room for its message
  worker.report.traceback = worker.stacks_answered == worker.stacks_asked ? worker.stacks : why_no_answer(worker);
  carry_out_kill(worker);
}

/// What became of one request; nothing: its answer may come yet.
std::optional<std::string> Engine::Impl::stacks_answer(const StacksRequest::Asked& asked) {
  const Worker* worker = find_worker(asked.worker);
  if (worker == nullptr || worker->life == Worker::Life::dying) return "no stack: it has ended";
  if (worker->stacks_answered >= asked.number) return worker->stacks;
  return std::nullopt;
}

StacksRequest Engine::ask_for_stacks() {
  const Impl::Lock lock(impl_->mutex);
  StacksRequest request;
  if (impl_->forked_child) return request;
  for (auto& [id, worker] : impl_->workers) {
    if (worker->pid == 0) continue;
    auto& asked = request.workers.emplace_back();
    asked.worker = id;
    asked.pid = worker->pid;
    asked.number = impl_->ask_for_stacks(*worker, /*last=*/false);
    if (asked.number == 0) asked.text = worker->stacks;
  }
  std::sort(request.workers.begin(), request.workers.end(), [](const auto& a, const auto& b) { return a.worker < b.worker; });
  return request;
}

void Engine::end_stacks(StacksRequest& request) {
  const Impl::Lock lock(impl_->mutex);
  for (auto& asked : request.workers) {
    if (!asked.text.empty()) continue;
    Worker* worker = impl_->find_worker(asked.worker);
    if (worker != nullptr) impl_->on_stacks_taken(*worker);
    const auto answer = impl_->stacks_answer(asked);
    asked.text = answer ? *answer : why_no_answer(*worker);
  }
}

}  // namespace holdfast::pool
