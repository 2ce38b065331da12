// What: the workers' side of the scheduler: births, results, deaths, failures and what the policies make of them
// (see scheduler.hpp and scheduler_impl.hpp).
#include <algorithm>

#include "core/scheduler_impl.hpp"

namespace holdfast::core {

namespace {

constexpr Nanos kMostRestartBackoff = std::chrono::seconds(1);
// One idle worker killed from outside is replaced at once; from here on deaths without any work look like a habit and are slowed.
constexpr std::uint32_t kIdleDeathsAtOnce = 2;

}  // namespace

WorkerSlot* Scheduler::Impl::find_worker(WorkerId id) {
  if (last_found != nullptr && last_found->id == id) return last_found;
  auto it = workers.find(id);
  return it == workers.end() ? nullptr : last_found = &it->second;
}

bool Scheduler::Impl::step(WorkerSlot& worker, WorkerEvent event) {
  const WorkerStep found = worker_step(worker.state, event);
  if (found.meaning == WorkerMeaning::impossible) return false;
  worker.state = found.next;
  return true;
}

// --- births and ends ------------------------------------------------------------------------------------------------------------

// A retiring worker counts until its process is gone: `workers` is a promise about processes (memory!), not about capacity.
void Scheduler::Impl::start_workers(Time now) {
  if (!opened || workers.size() >= config.workers || now < restart_at) return;
  while (workers.size() < config.workers) {
    const WorkerId id = next_worker++;
    WorkerSlot& worker = workers[id];
    worker.id = id;
    if (to_replace > 0) {
      --to_replace;
      ++count.restarts;
    }
    Action action;
    action.kind = Action::Kind::start_worker;
    action.worker = id;
    actions.push_back(action);
  }
}

void Scheduler::Impl::retire(WorkerSlot& worker) {
  const WorkerStep found = worker_step(worker.state, WorkerEvent::retire);
  if (found.meaning == WorkerMeaning::moved) {
    worker.state = found.next;
    Action action;
    action.kind = Action::Kind::retire_worker;
    action.worker = worker.id;
    actions.push_back(action);
  }
  refresh(worker);
}

void Scheduler::Impl::retire_everybody() {
  for (auto& [id, worker] : workers) retire(worker);
}

// Those of least use go first: not ready yet, then idle, then the least loaded.
void Scheduler::Impl::retire_surplus() {
  std::vector<WorkerSlot*> wanted;
  for (auto& [id, worker] : workers) {
    if (worker.state <= WorkerState::busy && worker.state != WorkerState::unwanted) wanted.push_back(&worker);
  }
  if (wanted.size() <= config.workers) return;
  std::sort(wanted.begin(), wanted.end(), [](const WorkerSlot* a, const WorkerSlot* b) {
    if (a->state != b->state) return a->state < b->state;
    return a->load_ns != b->load_ns ? a->load_ns < b->load_ns : a->id > b->id;
  });
  for (std::size_t i = 0; i + config.workers < wanted.size(); ++i) retire(*wanted[i]);
}

void Scheduler::Impl::kill(WorkerSlot& worker, Cause cause) {
  if (worker_step(worker.state, WorkerEvent::kill).meaning != WorkerMeaning::moved) return;
  (void)step(worker, WorkerEvent::kill);
  Action action;
  action.kind = Action::Kind::kill_worker;
  action.worker = worker.id;
  action.cause = cause;
  actions.push_back(action);
  refresh(worker);
}

void Scheduler::Impl::forget_worker(WorkerSlot& worker) {
  if (worker.stealing) --stealing;
  idle.set(worker, false);
  hungry.set(worker, false);
  stealable.set(worker, false);
  last_found = turn_of = nullptr;
  workers.erase(worker.id);
  if (workers.size() < config.workers) ++to_replace;  // else it was surplus
}

void Scheduler::Impl::delay_starts(std::uint32_t failures, Time now) {
  Retry doubling;
  doubling.backoff_initial = config.restart_backoff_initial;
  doubling.backoff_max = kMostRestartBackoff;
  doubling.jitter = 0;
  restart_at = std::max(restart_at, after(now, backoff(doubling, failures, 0)));
}

void Scheduler::Impl::failed_start(Time now) {
  ++count.failed_starts;
  if (++failed_starts_in_row >= std::max(config.max_restarts, 1U)) {
    end(PoolEvent::fail);
  } else {
    delay_starts(failed_starts_in_row, now);
  }
}

void Scheduler::worker_ready(WorkerId id, Time now) {
  WorkerSlot* worker = impl_->find_worker(id);
  if (worker == nullptr || !impl_->step(*worker, WorkerEvent::ready)) return;
  impl_->failed_starts_in_row = 0;
  impl_->refresh(*worker);
  impl_->react(now);
}

void Scheduler::worker_start_failed(WorkerId id, Time now) {
  if (WorkerSlot* worker = impl_->find_worker(id)) impl_->worker_ended(*worker, Cause::failed_start, {}, now);
}

void Scheduler::worker_died(WorkerId id, Cause cause, const std::vector<Running>& begun, Time now) {
  if (WorkerSlot* worker = impl_->find_worker(id)) impl_->worker_ended(*worker, cause, begun, now);
}

// The lost item is the first that was begun and not finished. An honest worker has at most one; if the words of a corrupted
// one claim more, the others are queued again: P2 holds whatever the worker wrote, at the price of running those twice.
void Scheduler::Impl::worker_ended(WorkerSlot& worker, Cause cause, const std::vector<Running>& begun, Time now) {
  const WorkerMeaning meaning = worker_step(worker.state, WorkerEvent::died).meaning;
  Job* lost_job = nullptr;
  ItemIndex lost_item = 0;
  for (std::uint32_t i = 0; i < worker.chunks; ++i) {
    const Chunk chunk = worker.at(i);
    if (chunk.job == nullptr) continue;
    const auto it = std::find_if(begun.begin(), begun.end(), [&](const Running& running) { return running.chunk == chunk.id; });
    const std::uint32_t next = it == begun.end() ? chunk.done : std::clamp(it->item, chunk.done, chunk.end);
    Run unbegun{chunk.first + chunk.done, chunk.first + chunk.end};
    chunk.job->in_flight -= unbegun.count();
    if (next > chunk.done && lost_job == nullptr) {
      lost_job = chunk.job;
      lost_item = unbegun.first++;
    }
    queue_again(*chunk.job, unbegun);
    if (chunk.job != lost_job) {
      lift_cancel_marks(*chunk.job);
      release_if_over(*chunk.job);
    }
  }
  if (cause == Cause::oom_killed && config.memory_gate && worker.chunks > 0 && !ended())
    short_of_memory(worker, lost_job == nullptr ? 1 : lost_job->runs(lost_item) + 1, now);
  const WorkerId id = worker.id;
  if (meaning == WorkerMeaning::death && !ended()) account_death(worker, cause, lost_job != nullptr, worker.chunks > 0, now);
  forget_worker(worker);
  if (ended()) return;
  if (lost_job != nullptr) item_lost(*lost_job, lost_item, cause, id, now);
  if (meaning == WorkerMeaning::failed_start) failed_start(now);
  if (barren_deaths_in_row >= std::max(config.max_restarts, 1U)) end(PoolEvent::fail);
  react(now);
}

// P12 and P1 together: a worker that is ready and dies each time before it begins what it was given (a thread of the
// initializer that crashes the process, say) costs no item an attempt, so nothing would ever end it. Such deaths in a row
// count like failed starts. Deaths of idle workers break nothing (somebody may be killing them for sport), but are slowed down.
void Scheduler::Impl::account_death(const WorkerSlot& worker, Cause cause, bool lost, bool had_chunks, Time now) {
  // A worker that is to leave after its last chunk (max_chunks_per_worker) and dies before it begins that one is as barren as any other.
  const bool left = worker.state == WorkerState::retiring && !had_chunks;
  const bool ours = worker.state == WorkerState::killed || left || cause == Cause::stopped_by_pool;
  if (lost || worker.items_finished > 0 || ours) {
    if (lost) idle_deaths_in_row = barren_deaths_in_row = 0;
    return;
  }
  if (had_chunks) ++barren_deaths_in_row;
  if (++idle_deaths_in_row > kIdleDeathsAtOnce) delay_starts(idle_deaths_in_row - kIdleDeathsAtOnce, now);
}

// --- items ------------------------------------------------------------------------------------------------------------------------

void Scheduler::item_started(WorkerId id, ChunkId chunk_id, std::uint32_t item, Time started) {
  Impl& me = *impl_;
  WorkerSlot* worker = me.find_worker(id);
  if (worker == nullptr || !worker->at_work()) return;
  const Chunk* chunk = worker->find(chunk_id);
  if (chunk == nullptr || chunk->job == nullptr || item < chunk->done || item >= chunk->end) return;  // over already
  const Policies& policies = me.policies[chunk->job->policy];
  if (!has_time_limit(policies) || worker->check_timeout) return;
  const bool known = worker->timed_chunk == chunk_id && worker->timed_item == item;
  worker->timed_chunk = chunk_id;
  worker->timed_item = item;
  worker->soft_over = known && worker->soft_over;
  worker->deadline = policies.task_timeout > Nanos{0} ? after(started, policies.task_timeout) : kNever;
  worker->soft_deadline = policies.soft_timeout > Nanos{0} && !worker->soft_over ? after(started, policies.soft_timeout) : kNever;
  me.watch(std::min(worker->deadline, worker->soft_deadline));
}

// Results come in the order of running, so the only right one is the next of the front chunk: anything else is a worker that claims
// what it does not own.
Verdict Scheduler::item_finished(WorkerId id, ChunkId chunk_id, std::uint32_t item, bool raised, Nanos run_time, Time now) {
  return impl_->items_finished(id, chunk_id, item, 1, raised, run_time, now);
}

Verdict Scheduler::items_done(WorkerId id, ChunkId chunk_id, std::uint32_t first, std::uint32_t count, Nanos run_time, Time now) {
  return impl_->items_finished(id, chunk_id, first, count, /*raised=*/false, run_time, now);
}

bool Scheduler::is_next(WorkerId id, ChunkId chunk_id, std::uint32_t item) const {
  const WorkerSlot* worker = impl_->find_worker(id);
  if (worker == nullptr || worker->chunks == 0) return false;
  const Chunk& front = worker->at(0);
  return front.id == chunk_id && front.done == item && item < front.end;
}

Verdict Scheduler::Impl::items_finished(WorkerId id, ChunkId chunk_id, std::uint32_t first, std::uint32_t items, bool raised,
                                        Nanos run_time, Time now) {
  WorkerSlot* worker = find_worker(id);
  if (worker == nullptr || worker->chunks == 0) return Verdict::not_owned;
  Chunk& chunk = worker->at(0);
  if (chunk.id != chunk_id || chunk.done != first || items == 0 || items > chunk.end - chunk.done) return Verdict::not_owned;
  Job* job = chunk.job;
  const ItemIndex index = chunk.first + first;
  chunk.done += items;
  worker->items_held -= items;
  worker->load_ns -= std::uint64_t{items} * chunk.estimate_ns;
  worker->items_finished += items;
  worker->last_progress = now;
  if (worker->false_starts > 0) --worker->false_starts;
  worker->nothing_to_take = worker->stalled = false;
  const bool timed = worker->timed_chunk == chunk_id && worker->timed_item >= first && worker->timed_item - first < items;
  if (timed) worker->deadline = worker->soft_deadline = kNever;
  if (chunk.done == chunk.end) drop_chunk(*worker, chunk);
  Verdict verdict = Verdict::ignore;
  if (job != nullptr) {
    job->in_flight -= items;
    idle_deaths_in_row = barren_deaths_in_row = 0;
    learn(*job, run_time / items);
    verdict = judge(*job, {index, index + items}, raised, now);
  }
  refresh(*worker);
  react(now);
  return verdict;
}

// Moving averages in whole nanoseconds, weight 1/8 (job) and 1/16 (all). The run time is the worker's word: clamped, it can mislead the
// prefetch a little and nothing else.
void Scheduler::Impl::learn(Job& job, Nanos run_time) {
  const std::int64_t sample = std::clamp<std::int64_t>(run_time.count(), 100, 4'000'000'000);
  const auto mix = [sample](std::uint32_t& average, std::int64_t weight) {
    const std::int64_t old = average;
    average = static_cast<std::uint32_t>(old == 0 ? sample : old + (sample - old) / weight);
  };
  mix(job.estimate_ns, 8);
  mix(estimate_ns, 16);
}

Nanos Scheduler::Impl::since_first_failure(const Job& job, ItemIndex item, Time now) {
  if (!job.rare) return Nanos{0};
  const auto note = job.rare->notes.find(item);
  return note == job.rare->notes.end() ? Nanos{0} : now - note->second.first_failure;
}

// A run of more than one item is done, not raised.
Verdict Scheduler::Impl::judge(Job& job, Run run, bool raised, Time now) {
  const ItemIndex item = run.first;
  Verdict verdict = Verdict::settle;
  bool abort = false;
  if (raised) {
    const std::uint32_t runs = job.runs(item) + 1;
    switch (decide(FailureKind::raised, policies[job.policy], runs, Cause::none, since_first_failure(job, item, now))) {
      case Fate::raise: break;
      case Fate::skip: verdict = Verdict::settle_skipped; break;
      case Fate::abort: abort = true; break;
      case Fate::retry:
        if (job.cancelled(item)) {  // it was to be cancelled and had begun: it does not begin again
          settle_run(job, {item, item + 1}, OutcomeKind::cancelled);
          lift_cancel_marks(job);
          release_if_over(job);
          return Verdict::ignore;
        }
        run_again(job, item, runs, now);
        lift_cancel_marks(job);
        return Verdict::retry;
    }
  }
  count_settled(job, run);
  lift_cancel_marks(job);
  release_if_over(job);
  // The item that makes the pool stop keeps its own outcome, by which people see why; all others are aborted.
  if (abort) end(PoolEvent::abort);
  return verdict;
}

void Scheduler::Impl::item_lost(Job& job, ItemIndex item, Cause cause, WorkerId worker, Time now) {
  const bool timed_out = cause == Cause::time_limit;
  const bool killed_to_cancel = job.rare && job.rare->cancelled_kill.contains(item);
  if (!timed_out && !killed_to_cancel) ++count.deaths_under_items;
  const std::uint32_t runs = job.runs(item) + 1;
  const bool too_many = config.max_deaths != 0 && count.deaths_under_items >= config.max_deaths;
  const OutcomeKind failure = timed_out ? OutcomeKind::timed_out : OutcomeKind::died;
  Fate fate = decide(timed_out ? FailureKind::timed_out : FailureKind::died, policies[job.policy], runs, cause,
                     since_first_failure(job, item, now));
  if (too_many && fate != Fate::skip) fate = Fate::abort;
  if (killed_to_cancel || (fate == Fate::retry && job.cancelled(item))) {
    settle_run(job, {item, item + 1}, OutcomeKind::cancelled);
    fate = Fate::raise;  // dealt with: neither a retry nor an abort follows
  } else if (fate == Fate::retry) {
    run_again(job, item, runs, now);
  } else if (fate == Fate::skip) {
    settle_failed(job, item, OutcomeKind::skipped, failure, worker, runs);
  } else {
    settle_failed(job, item, failure, OutcomeKind::pending, worker, runs);
  }
  lift_cancel_marks(job);
  release_if_over(job);
  if (fate == Fate::abort || too_many) end(PoolEvent::abort);
}

void Scheduler::Impl::run_again(Job& job, ItemIndex item, std::uint32_t runs, Time now) {
  ++count.retries;
  const Nanos wait = backoff(policies[job.policy].retry, runs, next_random(random));
  ItemNote& note = job.need_rare().notes[item];
  if (note.runs == 0) note.first_failure = now;
  note.runs = runs;
  note.waiting = wait > Nanos{0};
  if (wait > Nanos{0}) {
    waiting.push({after(now, wait), next_wait++, job.id, item});
  } else {
    make_ready(job, {item, item + 1});
  }
}

}  // namespace holdfast::core
