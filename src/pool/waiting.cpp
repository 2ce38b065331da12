// What: how user threads wait. One of those that wait for a job is the drainer: it sleeps on the bell's futex and empties the rings itself,
// so a result reaches its reader without a hop through another thread. Part of Engine::Impl (engine_impl.hpp).
//
// The role is held only inside one wait_* call, never while Python code or a signal handler runs, so it cannot get stuck. Who takes the
// results when, with the mutex m (model/sleep_wake.pml):
//   - drainer, asleep: its flag in the bell page is up; a worker that commits takes the flag down and rings.
//   - drainer, awake: it looks at the rings after it has put its flag up and before it sleeps, so nothing committed meanwhile is missed.
//   - no drainer, but sleepers: one of them was woken to take the role (hand_over_drainer); it looks when it does.
//   - nobody waits: the supervisor's flag is up; a worker that commits takes it down and writes a byte to its socket. The flag is put up by
//     the supervisor before it polls, or by the last drainer as it leaves (the supervisor may be in epoll already), who then looks once more.
#include <algorithm>

#include "pool/engine_impl.hpp"
#include "sys/failpoint.hpp"

namespace holdfast::pool {

namespace {
constexpr std::uint64_t kNapAfter = 64;        // results in one look: so dense that waking for each is waste
constexpr std::uint64_t kFarFromReady = 2048;  // items: more than a nap's worth
constexpr std::uint64_t kLongChunk = 1024;     // shorter ones: a worker would run dry in a nap, so many are in flight and no more
constexpr Nanos kNap = std::chrono::microseconds(250);
constexpr Nanos kShortNap = std::chrono::microseconds(50);  // of a reader who takes runs: longer ones, taken less often
}  // namespace

void Engine::Impl::hand_over_drainer() {
  if (drainer || forked_child) return;
  HF_FAILPOINT(parent_hands_over);
  if (!sleepers.empty()) {
    sleepers.back().waiter->wake();
    return;
  }
  // Not while the supervisor naps, which takes 250 us at most: it looks then by itself. A reader who comes and goes (imap) would else have it woken
  // each time he goes, by a message of some worker.
  ++times_left;
  if (!supervisor_naps) bell.supervisor_announce();
  drain_ready();
  notify();
}

/// Somebody else drains: sleeps until the job has news, or the role is free.
sys::FutexWake Engine::Impl::sleep_for_job(Lock& lock, Job& job, Nanos rest) {
  Waiter waiter;
  sleepers.push_back({&waiter, &job});
  job.waited_for = true;
  lock.unlock();
  const sys::FutexWake woke = waiter.sleep(rest);
  lock.lock();
  std::erase_if(sleepers, [&](const Sleeper& each) { return each.waiter == &waiter; });
  job.waited_for = std::any_of(sleepers.begin(), sleepers.end(), [&](const Sleeper& each) { return each.job == &job; });
  return woke;
}

void Engine::Impl::wake_sleepers_of(const Job& job) {
  if (!job.waited_for) return;
  for (const Sleeper& each : sleepers) {
    if (each.job == &job) each.waiter->wake();
  }
}

/// The drainer, its flag down, looks for news for some microseconds before it goes to sleep. True: there is some.
bool Engine::Impl::spin_for_results(Lock& lock, const Job& job, std::uint32_t seen_bell) {
  const auto words = static_cast<std::uint32_t>((by_index.size() + 63) / 64);
  drainer_job = &job;
  lock.unlock();
  const bool found = drainer_spinner.spin([&] { return bell.anything_new(words, seen_bell); });
  lock.lock();
  drainer_job = nullptr;
  return found;
}

/// One look and one sleep (or spin) of the thread that takes the drainer's role. `much_to_come`: in, whether to nap; out, whether this look
/// found so much that the next one should. True: a signal has interrupted the sleep.
template <class Ready>
bool Engine::Impl::drainers_turn(Lock& lock, Job& job, const Ready& ready, Nanos rest, bool& much_to_come) {
  bool interrupted = false;
  drainer = true;
  bell.supervisor_withdraw();
  const std::uint32_t seen = bell.bell();
  // Thousands of results a second for a job that is far from done: nobody needs to hear of each. The flag stays down for a moment, so that
  // workers make no system call, and the rings (some thousand results deep) are emptied in one go after it.
  const bool napping = much_to_come;
  if (job.lazy() && scheduler.has_idle() && !scheduler.has_ready()) job.many()->window.starves();
  const bool spun = !napping && rest > drainer_spinner.longest() && spin_for_results(lock, job, seen);
  if (!napping && !spun) bell.drainer_announce();
  if (!napping || !Ready::kSingleItems) {  // else what little there is by now can wait: the nap is short
    drain_ready();
    notify();
  }
  if (!spun && !ready.peek()) {
    drainer_job = &job;
    lock.unlock();
    HF_FAILPOINT(parent_drainer_sleeps);
    const auto woke = bell.drainer_sleep(seen, napping ? std::min(rest, Ready::kSingleItems ? kShortNap : kNap) : rest);
    lock.lock();
    drainer_job = nullptr;
    interrupted = woke == ring::BellPage::Woke::interrupted;
    if (woke == ring::BellPage::Woke::timed_out && !napping) drain_all();  // a hint that a worker swallowed is late, never lost
  }
  bell.drainer_withdraw();
  const std::uint64_t settled = counts.items_settled;
  drain_ready();
  notify();
  much_to_come = counts.items_settled - settled >= kNapAfter && ready.far_from_ready();
  drainer = false;
  return interrupted;
}

template <class Ready>
Waited Engine::Impl::wait_for_job(Job& job, Nanos max_sleep, Ready ready) {
  Lock lock(mutex);
  if (forked_child) return Waited::ended;
  const Time until = after(sys::now(), max_sleep);
  Waited answer = Waited::timed_out;
  bool much_to_come = false;
  for (;;) {
    if (const auto now_ready = ready()) {
      answer = *now_ready;
      break;
    }
    const Time now = sys::now();
    if (now >= until) break;
    if (Ready::kSingleItems && !much_to_come) much_to_come = ready.reads_fast(now);
    const Nanos rest = until == kNever ? Nanos::max() : until - now;
    bool interrupted = false;
    if (!drainer) {
      interrupted = drainers_turn(lock, job, ready, rest, much_to_come);
    } else {
      if (Ready::kSingleItems && job.many() != nullptr) ++job.many()->item_waiters;
      interrupted = sleep_for_job(lock, job, rest) == sys::FutexWake::interrupted;
      if (Ready::kSingleItems && job.many() != nullptr) --job.many()->item_waiters;
    }
    if (interrupted) {
      const auto now_ready = ready();
      answer = now_ready ? *now_ready : Waited::interrupted;
      break;
    }
  }
  hand_over_drainer();
  return answer;
}

template <class Ready>
Waited Engine::Impl::wait_for_state(WaiterList& list, Nanos max_sleep, Ready ready) {
  Lock lock(mutex);
  if (forked_child) return Waited::ended;
  const Time until = after(sys::now(), max_sleep);
  for (;;) {
    if (const auto now_ready = ready()) return *now_ready;
    const Time now = sys::now();
    if (now >= until) return Waited::timed_out;
    Waiter waiter;
    list.add(waiter);
    lock.unlock();
    const auto woke = waiter.sleep(until == kNever ? Nanos::max() : until - now);
    lock.lock();
    list.remove(waiter);
    if (woke == sys::FutexWake::interrupted) {
      const auto now_ready = ready();
      return now_ready ? *now_ready : Waited::interrupted;
    }
  }
}

namespace {

// What each wait_* looks for: operator() takes it (and says so), peek() only looks.
struct JobReady {
  static constexpr bool kSingleItems = false;
  Job& job;
  std::optional<Waited> operator()() const { return peek() ? std::optional(Waited::ready) : std::nullopt; }
  bool peek() const { return job.ready(); }
  static bool reads_fast(Time) { return false; }
  bool far_from_ready() const { return job.many() != nullptr && job.unsettled() > kFarFromReady && job.many()->chunk_size >= kLongChunk; }
};

struct ItemReady {
  static constexpr bool kSingleItems = true;
  Job& job;
  ItemIndex item;
  Settled& out;
  Take what;
  std::optional<Waited> operator()() const {
    if (ManyItems* many = job.many(); many != nullptr) many->reader_is_back();
    if (job.take(item, out, what)) {
      job.wake_feeder_if_worth_it();
      return Waited::ready;
    }
    return will_not_come() ? std::optional(Waited::ended) : std::nullopt;
  }
  bool peek() const { return job.settled_unread(item) || will_not_come(); }
  bool reads_fast(Time now) const { return job.many() != nullptr && job.many()->reads_fast(now); }
  /// Beyond the end, or read before (by another reader, or with all the others by take_results).
  bool will_not_come() const { return item >= job.size() ? !job.input_open() : !job.is_pending(item); }
  static bool far_from_ready() { return false; }
};

struct AnyReady {
  static constexpr bool kSingleItems = true;
  ManyItems& job;  // a job with `unordered` is one of these
  Settled& out;
  Take what;
  std::optional<Waited> operator()() const {
    job.reader_is_back();
    if (job.take_any(out, what)) {
      job.wake_feeder_if_worth_it();
      return Waited::ready;
    }
    if (job.finished()) return Waited::ended;
    return std::nullopt;
  }
  bool peek() const { return job.any_settled_unread() || job.finished(); }
  bool reads_fast(Time now) const { return job.reads_fast(now); }
  static bool far_from_ready() { return false; }
};

}  // namespace

Waited Engine::wait_job(const JobRef& job, Nanos max_sleep) { return impl_->wait_for_job(*job, max_sleep, JobReady{*job}); }

Waited Engine::wait_item(const JobRef& job, ItemIndex item, Nanos max_sleep, Settled& out, Take what) {
  return impl_->wait_for_job(*job, max_sleep, ItemReady{*job, item, out, what});
}

Waited Engine::wait_any(const JobRef& job, Nanos max_sleep, Settled& out, Take what) {
  return impl_->wait_for_job(*job, max_sleep, AnyReady{*job->many(), out, what});
}

void Engine::take_more(const JobRef& job, ItemIndex next, std::vector<Settled>& out) {
  const Impl::Lock lock(impl_->mutex);
  if (!impl_->forked_child && job->many() != nullptr) job->many()->take_more(next, out);
}

Waited Engine::wait_window(const JobRef& job, Nanos max_sleep, std::uint64_t& room) {
  ManyItems* const items = job->many();
  if (items == nullptr) return Waited::ended;
  return impl_->wait_for_state(items->feeders, max_sleep, [&]() -> std::optional<Waited> {
    if (!items->input_open || impl_->ended || impl_->work_is_over()) return Waited::ended;
    items->window.widen_if_starving();
    room = items->room();
    if (room >= items->window.worth_feeding()) return Waited::ready;
    items->window.blocks();
    return std::nullopt;
  });
}

Waited Engine::wait_dispatch(Nanos max_sleep, DispatchEvent& out) {
  return impl_->wait_for_state(impl_->dispatch_waiters, max_sleep, [&]() -> std::optional<Waited> {
    if (!impl_->dispatch_queue.empty()) {
      out = std::move(impl_->dispatch_queue.front());
      impl_->dispatch_queue.pop_front();
      return Waited::ready;
    }
    if (impl_->ended) return Waited::ended;
    return std::nullopt;
  });
}

Waited Engine::wait_started(Nanos max_sleep) {
  return impl_->wait_for_state(impl_->state_waiters, max_sleep, [&]() -> std::optional<Waited> {
    if (impl_->ended || impl_->ending || impl_->scheduler.state() == core::Scheduler::PoolState::broken) return Waited::ended;
    const bool all = impl_->wanted.empty() &&
                     std::all_of(impl_->workers.begin(), impl_->workers.end(), [](const auto& each) { return each.second->pid != 0; });
    return all ? std::optional(Waited::ready) : std::nullopt;
  });
}

Waited Engine::wait_stacks(StacksRequest& request, Nanos max_sleep) {
  return impl_->wait_for_state(impl_->state_waiters, max_sleep, [&]() -> std::optional<Waited> {
    bool all = true;
    for (auto& asked : request.workers) {
      if (!asked.text.empty()) continue;
      if (auto answer = impl_->stacks_answer(asked))
        asked.text = *std::move(answer);
      else
        all = false;
    }
    return all ? std::optional(Waited::ready) : std::nullopt;
  });
}

Waited Engine::wait_ended(Nanos max_sleep) {
  return impl_->wait_for_state(impl_->state_waiters, max_sleep,
                               [&]() -> std::optional<Waited> { return impl_->ended ? std::optional(Waited::ready) : std::nullopt; });
}

Waited Engine::wait_zygote_needed(Nanos max_sleep) {
  return impl_->wait_for_state(impl_->state_waiters, max_sleep, [&]() -> std::optional<Waited> {
    if (impl_->ended) return Waited::ended;
    return impl_->zygote_needed ? std::optional(Waited::ready) : std::nullopt;
  });
}

}  // namespace holdfast::pool
