// What: how a worker's end becomes an exit report and outcomes. Part of Engine::Impl (engine_impl.hpp); runs in the supervisor.
//
// The order (design.md section 4, "A death"): its pidfd is readable, and at the same time the zygote, its parent, says `exited` with status and
// rusage (waited for at most kExitedWait; then /proc/<pid>/stat has the status) -> what it committed is drained -> its group is killed, while the
// zombie keeps the group's number from being recycled -> the zygote may reap -> the scheduler hears what was begun and not answered -> the
// waiters are woken -> the replacement is made.
#include <csignal>

#include "core/exit_cause.hpp"
#include "pool/engine_impl.hpp"
#include "sys/failpoint.hpp"
#include "sys/pidfd.hpp"
#include "sys/process.hpp"
#include "sys/procfs.hpp"

namespace holdfast::pool {

namespace {
constexpr Nanos kExitedWait = std::chrono::milliseconds(100);
constexpr Nanos kChoresPause = std::chrono::milliseconds(2);
constexpr Nanos kLookAfterEof = std::chrono::milliseconds(20);  // an exit closes the socket a little before the pidfd tells
}  // namespace

Worker* Engine::Impl::find_worker(WorkerId id) {
  const auto found = workers.find(id);
  return found == workers.end() ? nullptr : found->second.get();
}

/// The zygote has not told in time: it is dead, stopped, or has lost the status to somebody in its process.
void Engine::Impl::read_exit_status(Worker& worker) {
  const auto stat = sys::read_stat(worker.pid);
  if (stat && stat->state == 'Z') {
    worker.raw_status = stat->exit_code_raw;
    worker.status_known = true;
    worker.report.cpu_user_s = sys::ticks_to_seconds(stat->utime_ticks);
    worker.report.cpu_system_s = sys::ticks_to_seconds(stat->stime_ticks);
    return;
  }
  if (const auto status = sys::pidfd_exit_status(worker.pidfd.get())) {  // somebody else has reaped it
    worker.raw_status = *status;
    worker.status_known = true;
  }
}

/// The zygote's word about an end. It is believed about the end itself only if the pidfd agrees.
void Engine::Impl::on_exited(Worker& worker, const ring::Message& message) {
  if (worker.exit_told || message.pid != worker.pid || !worker.pidfd || !sys::pidfd_exited(worker.pidfd.get())) return;
  worker.exit_told = true;
  if (message.a >= 0) {
    worker.raw_status = static_cast<int>(message.a);
    worker.status_known = true;
    worker.report.cpu_user_s = static_cast<double>(message.utime_us) / 1e6;
    worker.report.cpu_system_s = static_cast<double>(message.stime_us) / 1e6;
    worker.report.peak_rss_bytes = message.maxrss_bytes;
  }
  on_worker_exit(worker);
}

/// It has ended: its pidfd says so, or the zygote, whichever is read first. The other's word makes the second call, or the deadline does.
void Engine::Impl::on_worker_exit(Worker& worker) {
  if (worker.life != Worker::Life::dying) {
    HF_FAILPOINT(parent_death_seen);
    worker.life = Worker::Life::dying;
    worker.evidence_at = clock.now();
    worker.exited_deadline = worker.evidence_at + kExitedWait;
    epoll.remove(worker.pidfd.get());
    if (worker.socket) read_worker_remains(worker);
    drain_worker(worker);
    HF_FAILPOINT(parent_death_drained);
    // It may have died between taking the drainer's flag and ringing: others' results would lie there.
    if (drainer_job != nullptr && !bell.drainer_announced()) bell.ring_from_parent();
  }
  if (worker.exit_told || !launcher.connected()) bury(worker);
}

/// The rest of an end: what the process left behind is ended, too; then the zombie may go, and the death is told.
void Engine::Impl::bury(Worker& worker) {
  if (!worker.status_known) read_exit_status(worker);
  worker.oom_evidence = killed_for_memory(worker);
  const bool clean = worker.closing && worker.status_known && worker.raw_status == 0 && !worker.busy();
  const bool with_leftovers = !clean || options.kill_children_on_recycle;
  HF_FAILPOINT(parent_buries);
  if (with_leftovers) kill_group_of(worker);
  burials.push_back({.type = ring::MessageType::reap, .worker = worker.id, .pid = worker.pid, .a = with_leftovers ? 1 : 0});
  finish_worker(worker);
}

/// Only the group that this very zombie is a member of: its number cannot be another's, as long as the zombie is there.
void Engine::Impl::kill_group_of(const Worker& worker) {
  const auto group = sys::group_of(worker.pid);
  const bool held = sys::pidfd_send_signal(worker.pidfd.get(), 0).ok();        // not reaped, so the pid was its own a moment ago
  const bool own = group && (*group == worker.group || *group == worker.pid);  // the latter: setsid() in a task
  if (held && own && *group > 1) (void)sys::kill_group(*group, SIGKILL);
}

/// What it said before it died: a failed initializer's text above all.
void Engine::Impl::read_worker_remains(Worker& worker) {
  read_worker(worker);
  if (worker.socket) {
    epoll.remove(worker.socket.get());
    worker.socket.reset();
  }
}

/// EOF is not a death: usually the pidfd tells a moment later. A process that closed its descriptors goes on; one that exec'd something
/// else has lost our memfd and will never answer.
void Engine::Impl::on_socket_closed(Worker& worker) {
  HF_FAILPOINT(parent_socket_ended);
  epoll.remove(worker.socket.get());
  worker.socket.reset();
  worker.eof_check_at = clock.now() + kLookAfterEof;
}

void Engine::Impl::check_after_eof(Worker& worker) {
  worker.eof_check_at = kNever;
  if (worker.life == Worker::Life::dying || worker.pid == 0) return;
  if (sys::maps_contain(worker.pid, Line::kRingName)) {
    // It closed its descriptors (os.closerange in a task) and runs on; but no large argument reaches it any more, and it can ask for no
    // room for a large result. So it finishes what it runs, and another takes its place.
    if (!worker.ready_told) worker.start_error = "its initializer closed the descriptors that the pool talks to it by (os.closerange?)";
    ask_to_leave(worker, /*deliver=*/true);
    return;
  }
  if (worker.pidfd && sys::pidfd_exited(worker.pidfd.get())) {
    on_worker_exit(worker);  // its event comes, too, unless epoll had no memory for it
    return;
  }
  // Exiting, and not there yet (a loaded machine, a large process): its memory is gone before its descriptors are, its death is told last.
  if (const auto rss = sys::rss_bytes(worker.pid); rss && *rss == 0) {
    worker.eof_check_at = clock.now() + kLookAfterEof;
    return;
  }
  condemn(worker, "it replaced itself by another program (exec) in the middle of its work");
}

/// It begins nothing more and leaves after the item it runs; with `deliver` it hands over what is done, however full its ring is.
void Engine::Impl::ask_to_leave(Worker& worker, bool deliver) {
  worker.closing = true;
  if (deliver)
    worker.channel->set_leaving();
  else
    worker.channel->set_cancelled();
}

/// What it said or wrote makes no sense (P8): nothing of it is read any more.
void Engine::Impl::condemn(Worker& worker, std::string detail) {
  worker.report.detail = std::move(detail);
  kill_worker(worker, Cause::protocol_error);
}

void Engine::Impl::abandon(Worker& worker) {
  worker.report.detail = "it did not die after SIGKILL (frozen, or in an uninterruptible system call); abandoned";
  finish_worker(worker);
}

void Engine::Impl::kill_worker(Worker& worker, Cause cause) {
  if (worker.life == Worker::Life::dying) return;
  const bool first = worker.kill_cause == Cause::none;
  if (first && cause == Cause::time_limit && begin_last_look(worker)) {
    worker.kill_cause = cause;
    return;
  }
  if (first) worker.kill_cause = cause;
  carry_out_kill(worker);
}

void Engine::Impl::carry_out_kill(Worker& worker) {
  worker.look_until = kNever;
  if (worker.life == Worker::Life::dying) return;                                      // of itself, while it was looked at
  worker.abandon_at = std::min(worker.abandon_at, clock.now() + core::kAbandonAfter);  // killed again, it is not given more time
  if (!worker.pidfd) {  // not born yet: killed when `started` comes, given up at the deadline
    worker.start_deadline = std::min(worker.start_deadline, worker.abandon_at);
    return;
  }
  // Stopped first, so that it starts no further child between the walk and the kill (os-mechanisms.md, section 2).
  // Refused: it has been reaped (its zygote is gone, some other parent has it), and its pid may be somebody else's by now.
  if (sys::pidfd_send_signal(worker.pidfd.get(), SIGSTOP)) {
    for (const int child : sys::descendants_of(worker.pid)) (void)sys::kill_process(child, SIGKILL);
  }
  HF_FAILPOINT(parent_kills);
  (void)sys::pidfd_send_signal(worker.pidfd.get(), SIGKILL);
  sys::process_mrelease(worker.pidfd.get());
  wake_supervisor();
}

/// What the cause alone does not say of an end by the kernel's hand.
std::string Engine::Impl::oom_detail(Cause cause) const {
  if (cause == Cause::failed_start) return "killed by the kernel for lack of memory, as its oom_kill count shows";
  return oom_counter.source() == sys::OomCounter::Source::machine ? "the count is the machine's, the cgroup has none" : "";
}

ExitReport Engine::Impl::make_report(const Worker& worker, bool running_item) const {
  const bool nonsense = worker.kill_cause == Cause::protocol_error;
  const core::ExitFinding finding = core::classify_exit({
      .status_known = worker.status_known,
      .raw_status = worker.raw_status,
      .pool_kill = nonsense ? Cause::none : worker.kill_cause,
      .asked = worker.stop_cause != Cause::none ? core::Asked::by_signal
               : worker.closing                 ? core::Asked::to_finish
                                                : core::Asked::no,
      .ready = worker.ready_told,
      .protocol_error = nonsense,
      .running_item = running_item,
      .oom_evidence = worker.oom_evidence,
  });
  ExitReport report = worker.report;
  report.cause = finding.cause;
  report.has_exit_code = finding.has_exit_code;
  report.exit_code = finding.exit_code;
  report.signal = finding.signal;
  report.core_dumped = finding.core_dumped;
  report.pid = worker.pid;
  report.items_run = worker.items_run;
  report.peak_memory_bytes = worker.memory.peak;
  report.runtime_s = std::chrono::duration<double>(clock.now() - worker.requested_at).count();
  if (!worker.start_error.empty()) report.detail = worker.start_error;
  if (report.signal != 0 && worker.channel->says_crashed()) report.traceback = worker.channel->stacks_text();
  if (worker.oom_evidence && report.detail.empty()) report.detail = oom_detail(report.cause);
  return report;
}

void Engine::Impl::unwatch(Worker& worker) {
  if (worker.socket) epoll.remove(worker.socket.get());
  if (worker.pidfd && worker.life != Worker::Life::dying) epoll.remove(worker.pidfd.get());
}

/// What is begun and not answered is lost: at most one item, since a worker runs one at a time (P2).
std::vector<core::Running> Engine::Impl::begun_items(const Worker& worker, const ChunkInFlight*& lost) const {
  std::vector<core::Running> begun;
  lost = nullptr;
  for (const ChunkInFlight& chunk : worker.chunks) {
    std::uint32_t next = chunk.answered;
    if (chunk.announced) {
      // Trusted no further than one item past the last answer: whatever the word says, a worker runs one item at a time.
      const auto word = worker.channel->load_chunk(chunk.slot);
      // A word that makes no sense tells nothing: the item in front then counts as begun, or a task that ruins the word and dies would be
      // run again for ever (P12).
      const bool has_begun = word ? word->next > chunk.answered : &chunk == &worker.chunks.front();
      if (has_begun && lost == nullptr && chunk.answered < chunk.end) {
        next = chunk.answered + 1;
        lost = &chunk;
      }
    }
    begun.push_back({chunk.chunk, next});
  }
  return begun;
}

void Engine::Impl::finish_worker(Worker& worker) {
  const Time now = clock.now();
  const ChunkInFlight* lost = nullptr;
  const std::vector<core::Running> begun = begun_items(worker, lost);
  ExitReport report = make_report(worker, lost != nullptr);
  if (lost != nullptr) {
    report.lost_item = true;
    report.job = lost->job->id;
    report.item = lost->first + lost->answered;
    report.attempts = lost->job->count_death(report.item);
  }
  if (worker.evidence_at != Time{0}) report.news_ns = (now - worker.evidence_at).count();
  if (report.lost_item) {
    if (death_log.size() >= kDeathsKept) death_log.pop_front();
    death_log.push_back(report);
    if (death_log.size() > kTracebacksKept) death_log[death_log.size() - 1 - kTracebacksKept].traceback = {};  // up to 64 KiB each
    ++counts.deaths;
    counts.last_news = now - worker.evidence_at;
  }
  const WorkerId id = worker.id;
  const bool was_ready = worker.ready_told;
  departed.emplace(id, Departed{.identity = worker.identity, .ready = was_ready, .report = std::make_shared<const ExitReport>(report)});
  departed_order.push_back(id);
  if (departed_order.size() > kDepartedKept) {
    departed.erase(departed_order.front());
    departed_order.pop_front();
  }
  unwatch(worker);
  by_index[worker.index] = nullptr;
  std::erase(dirty, &worker);
  corpses.push_back(std::move(workers.extract(id).mapped()));
  if (was_ready) {
    scheduler.worker_died(id, report.cause, begun, now);
    // Somebody was waiting for this, and nothing else: he goes first. On a machine with few cores the zygote's fork would take his.
    if (report.lost_item && scheduler.unsettled_in_all() == 0) chores_at = now + kChoresPause;
  } else {
    ++counts.failed_starts;
    last_start_failure = report;
    scheduler.worker_start_failed(id, now);
  }
  HF_FAILPOINT(parent_death_told);
  state_waiters.wake_all();
}

}  // namespace holdfast::pool
