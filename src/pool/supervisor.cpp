// What: the supervisor thread: one native thread, all signals blocked, epoll over the zygote, the workers' pidfds and sockets. It never
// takes the GIL: a death is noticed, decided, told and repaired while Python is busy. Part of Engine::Impl (engine_impl.hpp).
#include <algorithm>
#include <array>
#include <utility>

#include "pool/engine_impl.hpp"
#include "sys/failpoint.hpp"
#include "sys/pidfd.hpp"
#include "sys/procfs.hpp"

namespace holdfast::pool {

namespace {
constexpr Nanos kBoundedLook = std::chrono::milliseconds(50);  // while items are in flight: makes a swallowed hint late, not lost
constexpr Nanos kRoomLook = std::chrono::milliseconds(5);      // while a chunk waits for room in a ring
constexpr Nanos kNap = std::chrono::microseconds(250);
constexpr Nanos kDense = kNap + kNap / 2;  // between two looks with results; or, where
constexpr std::uint64_t kMany = 64;        // so many have come, and this thread had to wait for a processor,
constexpr Nanos kManyWithin = std::chrono::milliseconds(5);
constexpr std::uint64_t kManyEach = 8;                           // results for each time that a reader has gone
constexpr Nanos kTimeLimitLook = std::chrono::milliseconds(10);  // while items with a time limit run
}  // namespace

void Engine::Impl::supervise() {
  std::array<sys::Event, 64> events;
  Lock lock(mutex);
  while (!quit && !ended) {
    look_at_memory(lock);
    const bool nobody_drains = !drainer && sleepers.empty();
    const bool napping = results_are_dense(nobody_drains);
    if (nobody_drains && !napping) {
      bell.supervisor_announce();
      drain_ready();  // look again after the flag is up: what was committed before it rang nobody
    }
    if (clock.certain()) handle_deadlines(clock.now());
    notify();
    if (has_chores() && (ending || chores_at <= clock.now())) do_chores(lock);
    notify();
    check_ended();
    if (leftovers_due) end_leftovers(lock);
    const Time now = clock.now();
    const Time next = napping ? std::min(next_wakeup(now), now + kNap) : next_wakeup(now);
    supervisor_until = next;
    supervisor_naps = napping;
    lock.unlock();
    HF_FAILPOINT(parent_supervisor_sleeps);
    const auto count = epoll.wait(events, clock.sleep_begins(next));
    lock.lock();
    clock.sleep_ends();
    supervisor_until = Time{0};
    supervisor_naps = false;
    if (!drainer) bell.supervisor_withdraw();
    const int got = count ? *count : 0;
    for (int i = 0; i < got; ++i) handle_event(events[static_cast<std::size_t>(i)]);
    if (got == 0 && scheduler.unsettled_in_all() != 0) drain_all();
    run_actions();
    notify();
    tell_forgotten();
  }
  if (ended) close_up();
}

/// Called at each look while nobody waits, or a reader comes and goes (imap): whether results come so fast that being woken for each would cost
/// more than they do. Then the flag stays down for a nap, workers make no system call, and what has come is taken in one go. (Tasks submitted one
/// by one, and not yet waited for.)
bool Engine::Impl::results_are_dense(bool nobody_drains) {
  const std::uint64_t left = std::exchange(times_left, 0);
  if (!nobody_drains && left == 0) return false;
  const Time now = clock.now();
  const std::uint64_t settled = counts.items_settled;
  if (nobody_drains) drain_ready();
  const std::uint64_t since = counts.items_settled - settled_at_look;
  if (counts.items_settled == settled && since == 0) return false;
  settled_at_look = counts.items_settled;
  if (!nobody_drains && since < kManyEach * left) return false;  // apply() in a loop: he is back before a worker has to call
  const Nanos past = now - std::exchange(results_seen_at, now);
  return past < kDense || (since >= kMany && past < kManyWithin);
}

/// What takes longer than all the rest of a death, after the waiters have been woken. Births go first: there may be work for them.
void Engine::Impl::do_chores(Lock& lock) {
  HF_FAILPOINT(parent_chores);
  start_wanted(lock);
  if (launcher.connected()) {  // else they wait for the next zygote
    for (const ring::Message& burial : std::exchange(burials, {})) launcher.send(burial, {});
  }
  HF_FAILPOINT(parent_reap_sent);
  auto dead = std::exchange(corpses, {});
  if (dead.empty()) return;
  std::unique_lock guard(chores);  // before the mutex goes: a fork of the host must not fall in between
  lock.unlock();
  for (auto& worker : dead) worker->results->worker_gone();
  dead.clear();
  guard.unlock();
  lock.lock();
}

void Engine::Impl::handle_event(const sys::Event& event) {
  const auto source = static_cast<Source>(event.tag >> 32);
  const auto id = static_cast<WorkerId>(event.tag & 0xffffffffU);
  Worker* worker = find_worker(id);
  switch (source) {
    case Source::wakeup: wakeup.drain(); break;
    case Source::zygote_socket:
      launcher.flush();
      if (launcher.connected()) read_zygote();
      break;
    case Source::zygote_pidfd: reap_zygotes(); break;
    case Source::worker_pidfd:
      if (worker != nullptr) on_worker_exit(*worker);
      break;
    case Source::worker_socket:
      if (worker != nullptr && worker->socket) read_worker(*worker);
      break;
  }
}

void Engine::Impl::handle_deadlines(Time now) {
  if (ladder.deadline() <= now) take_steps(ladder.advance(now));
  if (zygote_stop_deadline <= now) zygote_overdue();
  bool zygote_is_silent = false;
  std::vector<WorkerId> due;
  for (auto& [id, worker] : workers) {
    if (worker->deadline() <= now) due.push_back(id);
  }
  for (const WorkerId id : due) {
    Worker& worker = *find_worker(id);
    if (worker.eof_check_at <= now) {
      check_after_eof(worker);
      if (find_worker(id) == nullptr) continue;  // dead, and reported at once: there is no zygote to ask
    }
    if (worker.life == Worker::Life::dying) {
      if (worker.exited_deadline <= now || !launcher.connected()) bury(worker);
    } else if (worker.look_until <= now) {
      end_last_look(worker);
    } else if (worker.abandon_at <= now) {
      abandon(worker);
    } else if (worker.leave_deadline <= now) {
      worker.leave_deadline = kNever;
      worker.report.detail = "it was to leave, had nothing more to run, and did not end in time (an atexit function that hangs?); killed";
      if (!ending) kill_worker(worker, Cause::stopped_by_pool);
    } else if (worker.start_deadline <= now) {
      worker.start_deadline = kNever;
      if (!worker.pidfd && worker.start_error.empty() && worker.start_sent && launcher.connected() && launcher.pidfd()) {
        // It forks one after the other: a late one's turn comes as long as there is news of those before it.
        zygote_is_silent = zygote_is_silent || zygote_heard_at + options.start_deadline <= now;
        if (!zygote_is_silent) worker.start_deadline = zygote_heard_at + options.start_deadline;
        continue;
      }
      if (worker.start_error.empty()) worker.start_error = late_hello(worker);
      if (worker.pidfd)
        kill_worker(worker, Cause::failed_start);
      else
        finish_worker(worker);
    }
  }
  if (zygote_is_silent) replace_silent_zygote();
  watch_time_limits();
  if (scheduler.next_deadline() <= now) scheduler.tick(now);
  run_actions();
}

/// Tells the scheduler which item each busy worker runs, and since when. Which one it is we know from the chunk word, whose `next` can only
/// rise; the worker's own word of it gives the exact time, and is believed only within what we know: not before the last look, not in the
/// future, and not at all where it names another item (P8: a task that overwrites it gains a look's length).
void Engine::Impl::watch_time_limits() {
  if (!scheduler.has_time_limits()) return;
  const Time now = clock.now();
  for (auto& [id, worker] : workers) {
    if (!worker->busy() || worker->life != Worker::Life::ready) continue;
    const ChunkInFlight& chunk = worker->chunks.front();  // results come in order: what runs is in the first one that is not answered
    if (!chunk.announced) continue;
    const auto word = worker->channel->load_chunk(chunk.slot);
    if (!word) {
      condemn(*worker, word.error().message());
      continue;
    }
    const std::uint32_t item = chunk.answered;
    const std::uint64_t key = Worker::item_key(chunk.chunk, item);
    if (word->next <= item || key == worker->announced_item) continue;
    const auto progress = worker->channel->progress();
    const bool agrees = progress.chunk == chunk.chunk && progress.item == item && progress.started != Time{0};
    if (!agrees && worker->channel->results_waiting()) continue;  // it is further than what has been read: next time
    HF_FAILPOINT(parent_times_item);
    worker->announced_item = key;
    scheduler.item_started(id, chunk.chunk, item, agrees ? std::clamp(clock.at(progress.started), now - kBoundedLook, now) : now);
  }
}

/// An item is over its soft_timeout: the worker is told which one, and gets a signal whose handler raises in it. One that has finished
/// meanwhile is left alone here, and by the handler, if it finishes only now. Nothing is sent to a process that does not catch the signal (its
/// program has reset all handlers, or is another one by now): it would die of it. Then the hard limit remains.
void Engine::Impl::soft_interrupt(const core::Action& action) {
  const Worker* worker = find_worker(action.worker);
  if (worker == nullptr || worker->life != Worker::Life::ready || !worker->pidfd) return;
  const auto item = static_cast<std::uint32_t>(action.first);
  // Said in any case: a worker that has claimed the item and not told of it yet looks before it begins.
  const int signal = worker->channel->set_overdue(action.chunk, item, action.limit);
  const auto progress = worker->channel->progress();
  if (progress.chunk != action.chunk || progress.item != item) return;
  if (signal == 0 || !sys::catches_signal(worker->pid, signal)) return;
  (void)sys::pidfd_send_signal(worker->pidfd.get(), signal);  // refused: it is dead, as its pidfd tells
}

Time Engine::Impl::next_wakeup(Time now) {
  Time next = std::min({scheduler.next_deadline(), ladder.deadline(), zygote_stop_deadline});
  bool waits_for_room = launcher.has_backlog();
  for (auto& [id, worker] : workers) {
    const bool leaves = worker->closing && !worker->busy() && !ending;  // else the ladder's deadlines count
    if (leaves && worker->leave_deadline == kNever) worker->leave_deadline = now + options.leave_limit;
    next = std::min(next, worker->deadline());
    waits_for_room = waits_for_room || worker->wants_room;
  }
  if (waits_for_room) {
    launcher.flush();
    for (auto& [id, worker] : workers) {
      if (worker->wants_room) pump(*worker);
    }
    commit_dirty();
    next = std::min(next, now + kRoomLook);
  }
  if (has_chores()) next = std::min(next, chores_at);
  // An idle pool sleeps for ever, but only after a whole look without work: a stream of single calls must not wake this thread each time.
  const bool working = scheduler.unsettled_in_all() != 0;
  if (working || std::exchange(worked_lately, false))
    next = std::min(next, now + (scheduler.has_time_limits() ? kTimeLimitLook : kBoundedLook));
  else
    memory_look_at = kRested;
  if (working) worked_lately = true;
  return next;
}

/// Called after every event, by whichever thread: the supervisor may have lain down for longer than is now right.
void Engine::Impl::nudge_supervisor() {
  const bool too_deep = scheduler.unsettled_in_all() != 0 &&
                        (supervisor_until == kNever || (scheduler.has_time_limits() && supervisor_until > clock.now() + kTimeLimitLook));
  if (scheduler.unsettled_in_all() != 0) chores_at = Time{0};  // there is work for the worker that is to be made
  if (too_deep || scheduler.next_deadline() < supervisor_until || (has_chores() && chores_at < supervisor_until)) {
    supervisor_until = Time{0};  // woken: once is enough
    wake_supervisor();
  }
}

}  // namespace holdfast::pool
