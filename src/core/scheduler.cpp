// What: the scheduler's public face and the user's side of it: jobs, cancel, the pool's phases (see scheduler.hpp).
#include "core/scheduler.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include "core/scheduler_impl.hpp"

namespace holdfast::core {

// The pool's phases. An end is final and keeps its reason: a terminate() after an abort leaves it aborted, because what the
// user is to be told is why the items were lost first.
Scheduler::PoolState pool_step(Scheduler::PoolState state, PoolEvent event) {
  using S = Scheduler::PoolState;
  // clang-format off
  static constexpr std::array<std::array<S, 4>, 5> kTable{{
      //                close          terminate      abort          fail
      /* running    */ {{S::closed, S::terminated, S::aborted, S::broken}},
      /* closed     */ {{S::closed, S::terminated, S::aborted, S::broken}},
      /* terminated */ {{S::terminated, S::terminated, S::terminated, S::terminated}},
      /* aborted    */ {{S::aborted, S::aborted, S::aborted, S::aborted}},
      /* broken     */ {{S::broken, S::broken, S::broken, S::broken}},
  }};
  // clang-format on
  return kTable[static_cast<std::size_t>(state)][static_cast<std::size_t>(event)];
}

Scheduler::Scheduler(const SchedulerConfig& config) : impl_(std::make_unique<Impl>(config)) {
  SchedulerConfig& mine = impl_->config;
  mine.workers = std::max(mine.workers, 1U);
  mine.max_chunks_in_flight = std::max(mine.max_chunks_in_flight, 1U);
  mine.target_in_flight = std::max(mine.target_in_flight, Nanos{1});
}
Scheduler::~Scheduler() = default;
Scheduler::Scheduler(Scheduler&&) noexcept = default;
Scheduler& Scheduler::operator=(Scheduler&&) noexcept = default;

// --- settling ---------------------------------------------------------------------------------------------------------------

OutcomeKind Scheduler::Impl::end_kind() const { return state == PoolState::terminated ? OutcomeKind::terminated : OutcomeKind::aborted; }

void Scheduler::Impl::count_settled(Job& job, Run run) {
  job.settled += run.count();
  unsettled -= run.count();
  if (job.rare && !job.rare->notes.empty()) {
    auto& notes = job.rare->notes;
    notes.erase(notes.lower_bound(run.first), notes.lower_bound(run.end));
  }
}

void Scheduler::Impl::settle_run(Job& job, Run run, OutcomeKind kind) {
  if (run.empty()) return;
  Action action;
  action.kind = Action::Kind::settle;
  action.settle.job = job.id;
  action.settle.first = run.first;
  action.settle.count = run.count();
  action.settle.kind = kind;
  actions.push_back(action);
  count_settled(job, run);
}

void Scheduler::Impl::settle_failed(Job& job, ItemIndex item, OutcomeKind kind, OutcomeKind failure, WorkerId worker, std::uint32_t runs) {
  settle_run(job, {item, item + 1}, kind);
  Settle& settle = actions.back().settle;
  settle.failure = failure;
  settle.worker = worker;
  settle.attempts = runs;
}

// An open job is kept even when everything it has is settled, and even when the pool has ended: its feeder may bring more, and
// those items need an outcome too. Only when the user has let go of it as well is there nobody to tell.
void Scheduler::Impl::release_if_over(Job& job) {
  if (job.settled != job.items || (job.open && !(ended() && job.forgotten))) return;
  if (job.open) --open_jobs;
  release_policy(job.policy);
  line.leave(job);
  jobs.remove(job);
}

void Scheduler::Impl::release_policy(std::uint32_t policy) {
  if (has_time_limit(policies[policy])) --limited_jobs;
  policies.release(policy);
}

/// Also one that is queued: it becomes a Job.
Job* Scheduler::Impl::find_job(JobId id) {
  Job* job = jobs.find(id);
  if (job != nullptr || !jobs.is_queued(id)) return job;
  line.join(jobs.unqueue(id));
  return jobs.find(id);
}

void Scheduler::Impl::settle_everything(OutcomeKind kind) {
  for (auto& [id, worker] : workers) {
    for (std::uint32_t i = 0; i < worker.chunks; ++i) {
      Chunk& chunk = worker.at(i);
      if (chunk.job == nullptr) continue;
      settle_run(*chunk.job, {chunk.first + chunk.done, chunk.first + chunk.end}, kind);
      chunk.job->in_flight = 0;
      chunk.job = nullptr;  // what the worker still commits for it is ignored
    }
  }
  jobs.for_each([&](Job& job) {
    if (job.rare) {
      for (const auto& [first, last] : job.rare->again) settle_run(job, {first, last}, kind);
      job.rare->again.clear();
      std::vector<ItemIndex> in_backoff;
      for (const auto& [item, note] : job.rare->notes) {
        if (note.waiting) in_backoff.push_back(item);
      }
      for (ItemIndex item : in_backoff) settle_run(job, {item, item + 1}, kind);
      job.rare.reset();
    }
    settle_run(job, job.fresh, kind);
    job.fresh = {};
    line.leave(job);
    release_if_over(job);
  });
  for (const QueuedSingle& single : jobs.take_queued()) {
    Action action;
    action.kind = Action::Kind::settle;
    action.settle.job = single.id;
    action.settle.kind = kind;
    actions.push_back(action);
    --unsettled;
    release_policy(static_cast<std::uint32_t>(single.policy));
  }
  waiting = {};
  timers = kNever;
}

void Scheduler::Impl::end(PoolEvent event) {
  if (ended()) return;
  state = pool_step(state, event);
  settle_everything(end_kind());
  if (state == PoolState::terminated) return;  // the caller knows
  Action action;
  action.kind = state == PoolState::broken ? Action::Kind::pool_broken : Action::Kind::pool_aborted;
  actions.push_back(action);
}

void Scheduler::Impl::react(Time now) {
  if (ended()) return;
  dispatch(now);
  if (state == PoolState::closed && all_done()) {
    retire_everybody();
  } else {
    start_workers(now);
  }
}

// --- events of the user's side ------------------------------------------------------------------------------------------------

void Scheduler::open(Time now) {
  impl_->opened = true;
  impl_->react(now);
}

JobId Scheduler::submit(const JobSpec& spec, Time now) {
  Impl& me = *impl_;
  const std::uint32_t policy = me.policies.acquire(spec.policies);
  if (has_time_limit(spec.policies)) ++me.limited_jobs;
  // Something is ready, and no worker has room for it: this one has to wait as well.
  if (spec.items == 1 && !spec.open && me.any_ready() && !me.ended() && policy <= QueuedSingle::kMostPolicy) {
    ++me.unsettled;
    const JobId id = me.jobs.queue_single(me.next_ticket++, policy);
    me.react(now);
    return id;
  }
  Job& job = me.jobs.add();
  const JobId id = job.id;
  job.ticket = me.next_ticket++;
  job.chunk_size = std::max<std::uint64_t>(spec.chunk_size, 1);
  job.policy = policy;
  job.open = spec.open;
  if (spec.open) ++me.open_jobs;
  extend(id, spec.items, now);
  // No items and closed: over at once.
  if (Job* still = me.jobs.find(id)) me.release_if_over(*still);
  return id;
}

void Scheduler::extend(JobId id, std::uint64_t more_items, Time now) {
  Impl& me = *impl_;
  Job* job = me.find_job(id);
  if (job == nullptr || more_items == 0) return;
  me.unsettled += more_items;
  if (me.ended()) {  // the race of a feeder with the end: it still gets its one outcome
    const Run run{job->items, job->items + more_items};
    job->items = run.end;
    me.settle_run(*job, run, me.end_kind());
    me.release_if_over(*job);
    return;
  }
  if (!job->has_ready()) {
    job->ticket = me.next_ticket++;
    job->turn_end = job->items + more_items;
  }
  job->append(more_items);
  me.line.join(*job);
  me.react(now);
}

void Scheduler::close_input(JobId id, Time now) {
  Impl& me = *impl_;
  Job* job = me.jobs.find(id);
  if (job == nullptr || !job->open) return;
  job->open = false;
  --me.open_jobs;
  me.release_if_over(*job);
  me.react(now);
}

void Scheduler::forget(JobId id) {
  Job* job = impl_->jobs.find(id);  // of a queued single there is nothing to be remembered
  if (job == nullptr) return;
  job->forgotten = true;
  impl_->release_if_over(*job);
}

void Scheduler::close(Time now) {
  impl_->state = pool_step(impl_->state, PoolEvent::close);
  impl_->react(now);
}

void Scheduler::terminate(Time) { impl_->end(PoolEvent::terminate); }

void Scheduler::resize(std::uint32_t workers, Time now) {
  impl_->config.workers = std::max(workers, 1U);
  if (impl_->ended()) return;
  impl_->retire_surplus();
  impl_->react(now);
}

// --- cancel -------------------------------------------------------------------------------------------------------------------

void Scheduler::cancel(JobId id, ItemIndex first, std::uint64_t count, bool kill, Time now) {
  Impl& me = *impl_;
  Job* job = me.find_job(id);
  if (job == nullptr || me.ended() || first >= job->items) return;
  const Run range{first, first + std::min(count, job->items - first)};
  me.cancel_ready(*job, range);
  if (job->in_flight > 0) me.cancel_in_flight(*job, range, kill);
  if (!job->has_ready()) me.line.leave(*job);
  me.release_if_over(*job);
  me.react(now);
}

void Scheduler::Impl::cancel_ready(Job& job, Run range) {
  const auto settle = [&](Run run) { settle_run(job, run, OutcomeKind::cancelled); };
  if (job.rare) {
    job.rare->again.remove(range, settle);
    std::vector<ItemIndex> in_backoff;
    auto& notes = job.rare->notes;
    for (auto it = notes.lower_bound(range.first); it != notes.end() && it->first < range.end; ++it) {
      if (it->second.waiting) in_backoff.push_back(it->first);
    }
    for (ItemIndex item : in_backoff) settle({item, item + 1});
  }
  const Run cut = intersect(job.fresh, range);
  if (cut.empty()) return;
  const Run below{job.fresh.first, cut.first};
  const Run above{cut.end, job.fresh.end};
  if (above.empty()) {
    job.fresh = below;
  } else {
    if (!below.empty()) job.need_rare().again.add(below);
    job.fresh = above;
  }
  settle(cut);
}

// What is in flight may have begun, and only the worker's chunk word knows. So the range is remembered: whatever of it comes back
// (taken back, unbegun at a death, failed with a retry left) is settled as cancelled then; what has begun goes on. To kill, all the
// worker's chunks are asked back first: then it can begin nothing more, and the item found running is the one that the kill hits.
void Scheduler::Impl::cancel_in_flight(Job& job, Run range, bool kill) {
  job.need_rare().cancelled.add(range);
  if (kill) job.rare->cancelled_kill.add(range);
  for (auto& [id, worker] : workers) {
    if (!worker.at_work()) continue;
    for (std::uint32_t i = 0; i < worker.chunks; ++i) {
      Chunk& chunk = worker.at(i);
      if (chunk.job != &job || intersect(range, {chunk.first + chunk.done, chunk.first + chunk.end}).empty()) continue;
      if (kill) {
        worker.check_cancel = true;
        ask_all_back(worker);
        break;
      }
      ask_back(worker, i, 1);
    }
    refresh(worker);
  }
}

void Scheduler::Impl::lift_cancel_marks(Job& job) {
  if (job.in_flight != 0 || !job.rare) return;
  job.rare->cancelled.clear();
  job.rare->cancelled_kill.clear();
}

// --- time, actions, questions -------------------------------------------------------------------------------------------------

void Scheduler::tick(Time now) {
  if (impl_->ended()) return;
  impl_->run_timers(now);
  impl_->react(now);
}

Time Scheduler::next_deadline() const {
  const Impl& me = *impl_;
  if (me.ended()) return kNever;
  Time due = me.timers;
  if (!me.waiting.empty()) due = std::min(due, me.waiting.top().due);
  const bool wanted = me.opened && me.workers.size() < me.config.workers && !(me.state == PoolState::closed && me.all_done());
  return wanted ? std::min(due, me.restart_at) : due;
}

void Scheduler::take_actions(std::vector<Action>& out) {
  out.clear();
  out.swap(impl_->actions);
}

bool Scheduler::has_actions() const { return !impl_->actions.empty(); }
Scheduler::PoolState Scheduler::state() const { return impl_->state; }
std::uint64_t Scheduler::unsettled(JobId id) const {
  const Job* job = impl_->jobs.find(id);
  return job != nullptr ? job->unsettled() : std::uint64_t{impl_->jobs.is_queued(id)};
}
std::uint64_t Scheduler::unsettled_in_all() const { return impl_->unsettled; }
std::uint32_t Scheduler::live_workers() const { return static_cast<std::uint32_t>(impl_->workers.size()); }
bool Scheduler::has_time_limits() const { return impl_->limited_jobs > 0; }
bool Scheduler::has_idle() const { return !impl_->idle.empty(); }
Nanos Scheduler::stall_of(WorkerId id) const {
  const WorkerSlot* worker = impl_->find_worker(id);
  return worker == nullptr ? Nanos{0} : impl_->stall(*worker);
}
bool Scheduler::has_ready() const { return impl_->any_ready(); }
Scheduler::Counters Scheduler::counters() const { return impl_->count; }

}  // namespace holdfast::core
