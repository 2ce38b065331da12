// What: how workers come to be: the request to the zygote, its answers, the worker's own messages until (and after) it is ready.
// Part of Engine::Impl (engine_impl.hpp); runs in the supervisor, zygote_lost() also in the thread that ends the pool.
#include <algorithm>
#include <array>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <utility>

#include "pool/engine_impl.hpp"
#include "sys/failpoint.hpp"
#include "sys/pidfd.hpp"
#include "sys/process.hpp"
#include "sys/procfs.hpp"
#include "sys/socket.hpp"

namespace holdfast::pool {

namespace {
// More than a socket holds: one look reads it all, and a worker that never stops sending holds nobody up.
constexpr int kMessagesAtOnce = 512;

std::string seconds_text(Nanos span) {
  std::array<char, 32> text{};
  (void)std::snprintf(text.data(), text.size(), "%g s", std::chrono::duration<double>(span).count());  // longer than any number
  return text.data();
}
}  // namespace

/// Gives a worker that is to be born its line.
Status Engine::Impl::take_line(Worker& worker, Line&& line) {
  worker.channel = std::move(line.channel);
  worker.empty_ring_room = worker.channel->task_room();
  worker.socket = std::move(line.socket);
  worker.zygote_end = std::move(line.worker_end);
  worker.start_sent = false;
  worker.results = std::make_shared<ResultBuffers>(buffers, worker.channel, options.keep_buffer_bytes);
  return epoll.add(worker.socket.get(), tag(Source::worker_socket, worker.id), sys::kReadable);
}

/// Makes the workers that the scheduler has asked for. Their lines are made without the mutex: that takes longer than all else in a death, and a
/// waiter who was woken by one would run into it.
void Engine::Impl::start_wanted(Lock& lock) {
  while (!wanted.empty()) {
    const WorkerId id = wanted.front();
    if (ending) {  // nobody is born any more
      wanted.erase(wanted.begin());
      scheduler.worker_start_failed(id, clock.now());
      continue;
    }
    const auto index = static_cast<std::uint32_t>(std::find(by_index.begin(), by_index.end(), nullptr) - by_index.begin());
    lock.unlock();
    std::optional<Error> failure;
    {
      const std::lock_guard guard(chores);
      auto made = Line::make(index);
      if (made)
        newborn_line = *std::move(made);
      else
        failure = std::move(made).error();
    }
    HF_FAILPOINT(parent_line_made);
    lock.lock();
    auto line = std::exchange(newborn_line, std::nullopt);
    if (wanted.empty() || wanted.front() != id) continue;  // called off meanwhile
    if (ending) continue;
    wanted.erase(wanted.begin());
    start_worker(id, index, std::move(line), failure);
  }
  run_actions();  // a start that failed at once
}

void Engine::Impl::start_worker(WorkerId id, std::uint32_t index, std::optional<Line>&& line, std::optional<Error> failure) {
  auto worker = std::make_unique<Worker>(id, index, next_identity++);
  if (line) {
    if (auto taken = take_line(*worker, *std::move(line)); !taken) failure = taken.error();
  }
  if (failure) {  // no descriptors, no memory: a failed start like any other, tried again after a pause
    ExitReport report;
    report.cause = Cause::failed_start;
    report.detail = failure->message();
    last_start_failure = std::move(report);
    ++counts.failed_starts;
    scheduler.worker_start_failed(id, clock.now());
    return;
  }
  worker->requested_at = clock.now();
  worker->start_deadline = worker->requested_at + options.start_deadline;
  for (std::uint32_t slot = ring::kChunkSlots; slot-- > 0;) worker->free_slots.push_back(slot);
  request_start(*worker);
  if (index == by_index.size()) by_index.push_back(nullptr);
  by_index[index] = worker.get();
  workers.emplace(id, std::move(worker));
}

/// Sends `start`, once there is a zygote to send it to; a new zygote is asked again for those that never got a pid.
void Engine::Impl::request_start(Worker& worker) {
  if (!launcher.connected() || worker.start_sent) return;  // asked twice, two processes would write into one ring
  worker.start_sent = true;
  ring::Message message{.type = ring::MessageType::start, .worker = worker.id};
  message.a = worker.identity;
  const int fds[] = {worker.zygote_end.get(), worker.channel->fd()};
  launcher.send(message, fds);
  HF_FAILPOINT(parent_start_sent);
}

void Engine::Impl::read_zygote() {
  for (;;) {
    ring::Message message;
    auto got = sys::receive_pod(launcher.socket(), message, /*dont_wait=*/true);
    if (!got) {
      if (got.error().code == ErrorCode::timed_out) return;
      zygote_lost();
      return;
    }
    if (got->eof) {
      zygote_lost();
      return;
    }
    if (!ring::check_message(message, ring::Route::zygote_to_pool, got->fds.size())) {
      zygote_lost();  // our own code does not do that: its memory was overwritten
      return;
    }
    on_zygote_message(message, got->fds, got->truncated_fds);
    if (!launcher.connected()) return;
  }
}

void Engine::Impl::on_zygote_message(const ring::Message& message, std::vector<UniqueFd>& fds, bool truncated_fds) {
  zygote_heard_at = clock.now();
  Worker* worker = find_worker(message.worker);
  switch (message.type) {
    case ring::MessageType::zygote_hello:
      if (fds.size() == 1 && !launcher.pidfd()) {
        launcher.running(std::move(fds.front()), launcher.our_child());
        (void)epoll.add(launcher.pidfd().get(), tag(Source::zygote_pidfd), sys::kReadable);  // without it the socket's end tells
      }
      for (auto& [id, each] : workers) {
        if (std::exchange(each->orphaned, false)) ask_to_leave(*each, /*deliver=*/true);
      }
      break;
    case ring::MessageType::started:
      if (worker == nullptr) {  // given up meanwhile: it is killed and reaped like any other
        if (!fds.empty()) (void)sys::pidfd_send_signal(fds.front().get(), SIGKILL);
        launcher.send({.type = ring::MessageType::reap, .worker = message.worker, .pid = message.pid, .a = 1}, {});
        break;
      }
      HF_FAILPOINT(parent_started);
      worker->pid = message.pid;
      worker->zygote_end.reset();
      worker->channel->close_fd();
      ++counts.workers_started;
      if (fds.size() != 1 || truncated_fds) {  // descriptors exhausted here: nobody can be watched without one, so it is started again
        worker->start_error = "no descriptor left for its pidfd (RLIMIT_NOFILE); raise the limit or use fewer workers";
        launcher.send({.type = ring::MessageType::reap, .worker = worker->id, .pid = message.pid, .a = 1}, {});
        worker->start_deadline = clock.now();
      } else {
        worker->pidfd = std::move(fds.front());
        if (worker->life != Worker::Life::requested && worker->start_error.empty())
          worker->start_deadline = kNever;  // its hello was faster
        begin_memory_watch(*worker);
        (void)epoll.add(worker->pidfd.get(), tag(Source::worker_pidfd, worker->id),
                        sys::kReadable);  // out of memory: its socket's end tells
        if (worker->kill_cause != Cause::none) (void)sys::pidfd_send_signal(worker->pidfd.get(), SIGKILL);  // condemned before it had a pid
      }
      state_waiters.wake_all();
      break;
    case ring::MessageType::start_failed:
      if (worker != nullptr) {
        worker->start_error =
            Error{ErrorCode::os_error, static_cast<int>(message.a), "fork", "the zygote could not start a worker"}.message();
        worker->start_deadline = clock.now();
      }
      break;
    case ring::MessageType::exited:
      if (worker != nullptr)
        on_exited(*worker, message);
      else  // given up or abandoned before its end
        launcher.send({.type = ring::MessageType::reap, .worker = message.worker, .pid = message.pid, .a = 1}, {});
      break;
    case ring::MessageType::paused: clock.add_pause(Nanos(message.a)); break;
    default: break;  // not on this route: check_message has refused it
  }
}

void Engine::Impl::read_worker(Worker& worker) {
  const WorkerId id = worker.id;
  for (int left = kMessagesAtOnce; left > 0; --left) {  // the rest, if any: epoll tells again
    ring::Message message;
    std::array<char, static_cast<std::size_t>(ring::kMaxErrorText)> text;
    auto got = worker.text_follows ? sys::receive_message(worker.socket.get(), std::as_writable_bytes(std::span(text)), /*dont_wait=*/true)
                                   : sys::receive_pod(worker.socket.get(), message, /*dont_wait=*/true);
    if (!got) {
      if (got.error().code == ErrorCode::timed_out) return;
      condemn(worker, "its control socket: " + got.error().message());
      return;
    }
    if (got->eof) {
      on_socket_closed(worker);
      return;
    }
    if (std::exchange(worker.text_follows, false)) {
      worker.start_error.assign(text.data(), got->size);
    } else if (auto checked = ring::check_message(message, ring::Route::worker_to_pool, got->fds.size()); !checked) {
      condemn(worker, checked.error().message());
      return;
    } else {
      on_worker_message(worker, message, got->fds);
    }
    if (find_worker(id) == nullptr || !worker.socket) return;
  }
}

void Engine::Impl::on_worker_message(Worker& worker, const ring::Message& message, const std::vector<UniqueFd>& fds) {
  switch (message.type) {
    case ring::MessageType::hello:
      if (message.a != ring::kProtocolVersion) {
        condemn(worker, "it speaks another protocol version (two versions of holdfast installed?)");
        break;
      }
      // Once, and only from the process that the zygote named (its `started` may still be on its way).
      if (worker.life != Worker::Life::requested || (worker.pid != 0 && message.pid != worker.pid) || message.b == sys::own_group()) {
        condemn(worker, "a second hello, or one with a foreign pid or our own process group");
        break;
      }
      HF_FAILPOINT(parent_hello);
      worker.life = Worker::Life::enrolled;
      worker.group = static_cast<int>(message.b);
      worker.said_pid = message.pid;
      // An initializer may take as long as it likes. The zygote may not: without its word nobody would see this worker's end.
      if (worker.pidfd) worker.start_deadline = kNever;
      begin_memory_watch(worker);
      break;
    case ring::MessageType::ready:
      if (worker.life == Worker::Life::enrolled) worker_ready(worker);
      break;
    case ring::MessageType::init_failed: worker.text_follows = true; break;
    case ring::MessageType::wake:
      if (!drainer) drain_worker(worker);
      break;
    case ring::MessageType::stalled: on_worker_stalled(worker, message, fds); break;
    case ring::MessageType::stacks_taken: on_stacks_taken(worker); break;
    case ring::MessageType::buffer_request: grant_result_buffer(worker, message.a); break;
    default: break;  // not on this route: check_message has refused it
  }
}

void Engine::Impl::worker_ready(Worker& worker) {
  HF_FAILPOINT(parent_ready);
  worker.life = Worker::Life::ready;
  worker.ready_told = true;
  zygote_deaths = 0;
  scheduler.worker_ready(worker.id, clock.now());
}

void Engine::Impl::grant_result_buffer(Worker& worker, std::int64_t bytes) {
  // What it has published must be opened before an unread buffer of its table may be taken for a free one (ResultBuffers::grant).
  drain_worker(worker);
  if (worker.kill_cause == Cause::protocol_error) return;
  ring::Message answer{.type = ring::MessageType::buffer, .worker = worker.id};
  if (bytes > 0) {
    auto grant = worker.results->grant(static_cast<std::size_t>(bytes));
    if (grant) {
      HF_FAILPOINT(parent_grants_buffer);
      answer.a = static_cast<std::int64_t>(grant->buffer->id());
      answer.b = static_cast<std::int64_t>(grant->buffer->capacity());
      answer.c = grant->index;
      const int fds[] = {grant->buffer->fd()};
      const auto sent = sys::send_pod(worker.socket.get(), answer, fds, /*dont_wait=*/true);
      grant->buffer->close_fd();  // the mapping is enough from here on: thousands of unread large results must not use up the descriptors
      if (sent) return;
    } else {
      answer.b = grant.error().err_no;
    }
  }
  answer.type = ring::MessageType::buffer_refused;
  answer.a = bytes;
  // A socket without room for this is one that its worker does not read: it waits for nothing then, or it is dead.
  (void)sys::send_pod(worker.socket.get(), answer, {}, /*dont_wait=*/true);
}

/// The zygote died before it told this worker's pid. If the worker has said hello it is adopted by the pid it gave (checked against the
/// ring that only it maps); else it cannot enrol any more, its line being shut, and it is asked for again on a fresh line: two processes
/// must never write into one ring.
void Engine::Impl::settle_unborn(Worker& worker) {
  if (worker.socket) read_worker(worker);
  const bool enrolled = worker.life != Worker::Life::requested;
  if (!enrolled && worker.socket) {
    sys::shut_down(worker.socket.get());
    read_worker(worker);  // a hello on its way
  }
  if (worker.life != Worker::Life::requested) {
    auto pidfd = sys::pidfd_open(worker.said_pid);
    if (pidfd && sys::maps_contain(worker.said_pid, Line::kRingName) &&
        epoll.add(pidfd->get(), tag(Source::worker_pidfd, worker.id), sys::kReadable)) {
      worker.pid = worker.said_pid;
      worker.pidfd = *std::move(pidfd);
      worker.start_deadline = kNever;
      if (enrolled)
        worker.orphaned = true;  // like the others of this zygote
      else
        kill_worker(worker, Cause::stopped_by_pool);
      return;
    }
  }
  if (worker.ready_told) {  // it was ready and is gone: a death, with chunks that lie on its old line
    finish_worker(worker);
    return;
  }
  worker.life = Worker::Life::requested;
  worker.memory = WorkerMemory{};
  if (worker.start_error.empty())
    worker.start_deadline = clock.now() + options.start_deadline;  // else its start has failed, and is told so
  if (worker.socket) epoll.remove(worker.socket.get());
  worker.eof_check_at = kNever;
  worker.results->worker_gone();
  auto line = Line::make(worker.index);
  const Status taken = line ? take_line(worker, *std::move(line)) : Status(std::move(line).error());
  if (!taken) {
    worker.start_error = taken.error().message();
    worker.start_deadline = clock.now();
  } else if (worker.closing) {
    worker.channel->set_closed();  // it was retired before it was born, and that order lies on the old line
  }
}

/// Workers whose `started` has not come.
std::vector<WorkerId> Engine::Impl::unborn() const {
  std::vector<WorkerId> ids;
  for (const auto& [id, worker] : workers) {
    if (!worker->pidfd) ids.push_back(id);
  }
  return ids;
}

/// Zygotes that have ended are reaped where that is ours to do. A zombie of ours must not outlive the pool.
void Engine::Impl::reap_zygotes() {
  if (launcher.pidfd() && sys::pidfd_exited(launcher.pidfd().get())) {
    read_zygote();  // its last words first
    zygote_lost();
  }
  std::erase_if(launcher.leaving(), [this](Launcher::Former& former) {
    if (!sys::pidfd_exited(former.pidfd.get())) return false;
    HF_FAILPOINT(parent_reaps_zygote);
    epoll.remove(former.pidfd.get());
    // ECHILD: somebody else has reaped it; then the pidfd may know.
    using Reaped = Result<sys::WaitResult>;
    const auto reaped = former.our_child ? sys::wait_pidfd(former.pidfd.get(), /*reap=*/true, /*no_hang=*/true) : Reaped(Error{});
    const auto status = reaped ? Result<int>(reaped->raw_status) : sys::pidfd_exit_status(former.pidfd.get());
    if (!status || *status != 0) leftovers_suspected = true;
    return true;
  });
  check_ended();
}

/// It has not answered a `start` by the deadline: it is stopped (SIGSTOP) or stuck, and no worker would ever be born again. To the pool it is dead
/// from here on; its pidfd tells when it really is. Tests: failpoints, zygote_*:stop.
void Engine::Impl::replace_silent_zygote() {
  (void)sys::pidfd_send_signal(launcher.pidfd().get(), SIGKILL);  // refused: it is dead already
  zygote_lost(
      "the zygote process, which starts the workers, answered no request within " + seconds_text(options.start_deadline) +
      ", and others in its place neither: it is stopped, or stuck (a module of set_forkserver_preload, a function of os.register_at_fork)");
}

/// It did not say hello in time: where it stands, so that the reader need not guess.
std::string Engine::Impl::late_hello(const Worker& worker) const {
  const std::string limit = "within " + seconds_text(options.start_deadline);
  if (worker.pid == 0) return "no process was started for it " + limit;
  const auto stat = sys::read_stat(worker.pid);
  const char state = stat ? stat->state : '?';
  return "it was started and did not say hello " + limit + ": " +
         (state == 'T' || state == 't' ? "it is stopped"
          : state == 'D'               ? "it is frozen, or in an uninterruptible system call"
                                       : "it is stuck in its start (an import, a function of os.register_at_fork)");
}

/// A new zygote is forked by the host's restarter thread. When it is there the dead one's workers finish the item they run and are replaced; not
/// before: should the caller die meanwhile, they alone could end what the zygote had adopted.
void Engine::Impl::zygote_lost(const std::string& why) {
  if (!launcher.connected()) return;
  HF_FAILPOINT(parent_zygote_lost);
  epoll.remove(launcher.socket());
  launcher.lost();
  if (stop_sent) return;  // as it was told; its pidfd says when it is gone, and how
  leftovers_suspected = true;
  ++zygote_deaths;
  const bool hopeless = ending || zygote_deaths >= kZygoteDeathsAllowed;
  for (auto& [id, worker] : workers) {
    if (!worker->pidfd) continue;
    worker->orphaned = true;
    if (hopeless) ask_to_leave(*worker, /*deliver=*/true);
    if (worker->life == Worker::Life::dying) worker->exited_deadline = clock.now();  // nobody will answer
  }
  for (const WorkerId id : unborn()) {
    Worker& worker = *find_worker(id);
    if (!hopeless) {
      settle_unborn(worker);
      continue;
    }
    if (worker.start_error.empty()) worker.start_error = why;
    finish_worker(worker);
  }
  if (ending) {
    check_ended();
    return;
  }
  zygote_needed = true;
  state_waiters.wake_all();
}

}  // namespace holdfast::pool
