// What: the reference model's rules (see simulation_model.hpp). Deliberately plain: loops over items, no runs, no sets.
#include "core/simulation_model.hpp"

#include <algorithm>
#include <cmath>

namespace holdfast::core::simulation {

namespace {

std::string name(JobId job, ItemIndex item) { return "job " + std::to_string(job) + " item " + std::to_string(item); }

double nominal_wait(const Retry& retry, std::uint32_t failed) {
  return std::min(static_cast<double>(retry.backoff_initial.count()) * std::pow(retry.backoff_factor, failed - 1),
                  static_cast<double>(retry.backoff_max.count()));
}

// The reference for the policy table: what a failure of an item leads to. Counts it, too.
OnFailure verdict_of(OnFailure policy, const Retry& retry, ItemModel& item, Cause cause, Time now) {
  if (++item.failed == 1) item.first_failure = now;
  if (policy != OnFailure::retry) return policy;
  const bool wanted = ((retry.on >> static_cast<unsigned>(cause)) & 1) != 0;
  const auto late = static_cast<std::int64_t>(nominal_wait(retry, item.failed)) + (now - item.first_failure).count();
  const bool in_time = retry.deadline == Nanos{0} || late < retry.deadline.count();
  if (item.failed <= retry.max_retries && wanted && in_time) return OnFailure::retry;
  return retry.then == OnFailure::retry ? OnFailure::raise : retry.then;
}

}  // namespace

void Model::reset(const SchedulerConfig& config) {
  *this = Model{};
  config_ = config;
  workers_wanted = config.workers;
}

ItemModel* Model::item_at(JobId id, ItemIndex item) {
  JobModel* found = job(id);
  return found == nullptr || item >= found->items.size() ? nullptr : &found->items[item];
}

void Model::move(ItemModel& item, ItemModel::State to) {
  if (item.state == ItemModel::State::queued) --queued;
  item.state = to;
  if (to == ItemModel::State::queued) ++queued;
}

void Model::settle_one(JobModel& found, ItemModel& item) {
  move(item, ItemModel::State::settled);
  --found.unsettled;
  --unsettled;
}

// --- what the world does ------------------------------------------------------------------------------------------------------

void Model::submitted(JobId id, const JobSpec& spec) {
  if (id != jobs.size() + 1) fail("submit gave an id that is not the next");
  jobs.emplace_back();
  jobs.back().spec = spec;
  jobs.back().open = spec.open;
  if (spec.open) ++open_jobs;
  active.push_back(id);
  extended(id, spec.items);
}

void Model::extended(JobId id, std::uint64_t more) {
  JobModel& found = *job(id);
  const ItemIndex first = found.items.size();
  found.items.resize(first + more);
  found.unsettled += more;
  unsettled += more;
  queued += more;
  for (ItemIndex i = first; ended() && i < found.items.size(); ++i) {
    owe({id, i, state == PoolState::terminated ? OutcomeKind::terminated : OutcomeKind::aborted});
  }
}

void Model::cancelled(JobId id, ItemIndex first, std::uint64_t count, bool kill) {
  JobModel& found = *job(id);
  if (ended()) return;
  for (ItemIndex i = first; i < found.items.size() && i - first < count; ++i) {
    ItemModel& item = found.items[i];
    if (item.state == ItemModel::State::settled) continue;
    item.cancel = true;
    item.kill = item.kill || kill;
    if (item.state != ItemModel::State::assigned) owe({id, i, OutcomeKind::cancelled});
  }
}

Verdict Model::result(JobId id, ItemIndex index, bool raised, Time now) {
  JobModel& found = *job(id);
  ItemModel& item = found.items[index];
  if (ended() || item.state == ItemModel::State::settled) return Verdict::ignore;
  barren_ = idle_deaths_ = 0;
  if (!raised) {
    settle_one(found, item);
    return Verdict::settle;
  }
  const Policies& policies = found.spec.policies;
  switch (verdict_of(policies.on_error, policies.retry, item, Cause::none, now)) {
    case OnFailure::raise: settle_one(found, item); return Verdict::settle;
    case OnFailure::skip: settle_one(found, item); return Verdict::settle_skipped;
    case OnFailure::abort:
      settle_one(found, item);
      state = PoolState::aborted;
      return Verdict::settle;
    case OnFailure::retry: break;
  }
  if (item.cancel) {
    owe({id, index, OutcomeKind::cancelled});
    return Verdict::ignore;
  }
  retry(found, item, id, index, now);
  return Verdict::retry;
}

void Model::retry(JobModel& found, ItemModel& item, JobId id, ItemIndex index, Time now) {
  const Retry& r = found.spec.policies.retry;
  const double wait = nominal_wait(r, item.failed);
  if (wait <= 0) {
    move(item, ItemModel::State::queued);
    return;
  }
  item.not_before = now + Nanos{static_cast<std::int64_t>(wait * (1 - r.jitter)) - 1};
  item.not_after = now + Nanos{static_cast<std::int64_t>(wait * (1 + r.jitter)) + 1};
  move(item, ItemModel::State::backoff);
  backoffs_.emplace_back(id, index);
}

void Model::unbegun(JobId id, ItemIndex index) {
  ItemModel& item = job(id)->items[index];
  if (ended() || item.state != ItemModel::State::assigned) return;
  move(item, ItemModel::State::queued);
  if (item.cancel) owe({id, index, OutcomeKind::cancelled});
}

void Model::lost(JobId id, ItemIndex index, Cause cause, WorkerId worker, Time now) {
  JobModel& found = *job(id);
  ItemModel& item = found.items[index];
  if (ended() || item.state == ItemModel::State::settled) return;
  barren_ = idle_deaths_ = 0;
  if (item.kill) {
    owe({id, index, OutcomeKind::cancelled});
    return;
  }
  const bool timed_out = cause == Cause::time_limit;
  if (!timed_out) ++deaths_;
  const Policies& policies = found.spec.policies;
  OnFailure fate = verdict_of(timed_out ? policies.on_timeout : policies.on_death, policies.retry, item, cause, now);
  const bool too_many = config_.max_deaths != 0 && deaths_ >= config_.max_deaths;
  const OutcomeKind failure = timed_out ? OutcomeKind::timed_out : OutcomeKind::died;
  if (too_many && fate != OnFailure::skip) fate = OnFailure::abort;
  switch (fate) {
    case OnFailure::raise:
    case OnFailure::abort: owe({id, index, failure, OutcomeKind::pending, worker, item.failed}); break;
    case OnFailure::skip: owe({id, index, OutcomeKind::skipped, failure, worker, item.failed}); break;
    case OnFailure::retry:
      if (item.cancel) {
        owe({id, index, OutcomeKind::cancelled});
      } else {
        retry(found, item, id, index, now);
      }
      break;
  }
  if (fate == OnFailure::abort || too_many) state = PoolState::aborted;
}

void Model::slow_starts(std::uint32_t failures, Time now) {
  const double wait = static_cast<double>(config_.restart_backoff_initial.count()) * std::pow(2.0, failures - 1);
  restart_at = std::max(restart_at, now + Nanos{static_cast<std::int64_t>(std::min(wait, 1e9))});
}

void Model::start_failed(Time now) {
  if (ended()) return;
  if (++failed_starts_ >= std::max(config_.max_restarts, 1U)) {
    state = PoolState::broken;
  } else {
    slow_starts(failed_starts_, now);
  }
}

void Model::died_without_work(bool had_chunks, Time now) {
  if (ended()) return;
  if (had_chunks && ++barren_ >= std::max(config_.max_restarts, 1U)) state = PoolState::broken;
  if (++idle_deaths_ > 2) slow_starts(idle_deaths_ - 2, now);
}

void Model::ticked(Time now) {
  if (ended()) return;
  std::size_t kept = 0;
  for (const auto& [id, index] : backoffs_) {
    ItemModel& item = job(id)->items[index];
    if (item.state != ItemModel::State::backoff) continue;
    if (item.not_after <= now) {
      move(item, ItemModel::State::queued);
    } else {
      backoffs_[kept++] = {id, index};
    }
  }
  backoffs_.resize(kept);
}

// --- what the scheduler does ----------------------------------------------------------------------------------------------------

void Model::sent(WorkerId worker, JobId id, ItemIndex first, std::uint64_t count, Time now) {
  JobModel* found = job(id);
  if (found == nullptr || count == 0 || first + count > found->items.size()) return fail("sent items that do not exist");
  if (ended()) return fail("sent " + name(id, first) + " after the pool had ended");
  if (count > found->spec.chunk_size) return fail("a chunk larger than chunk_size");
  for (ItemIndex i = first; i < first + count; ++i) {
    ItemModel& item = found->items[i];
    const bool due = item.state == ItemModel::State::backoff && now >= item.not_before;
    if (item.state != ItemModel::State::queued && !due) {
      return fail("sent " + name(id, i) +
                  (item.state == ItemModel::State::backoff ? " before its backoff was over" : " which is not waiting"));
    }
    if (item.cancel) return fail("sent " + name(id, i) + " which was cancelled");
    if (item.failed > found->spec.policies.retry.max_retries) return fail("sent " + name(id, i) + " once too often (P12)");
    if (!item.sent) {
      while (found->fresh < i && (found->items[found->fresh].sent || found->items[found->fresh].state == ItemModel::State::settled)) {
        ++found->fresh;
      }
      if (found->fresh != i) return fail("first sending of " + name(id, i) + " before item " + std::to_string(found->fresh) + " (P10)");
      item.sent = true;
      found->fresh = i + 1;
    }
    move(item, ItemModel::State::assigned);
    item.holder = worker;
  }
}

bool Model::discharge(const Settle& settle, ItemIndex index) {
  for (Duty& duty : duties_) {
    if (duty.job != settle.job || duty.item != index) continue;
    if (duty.kind != settle.kind || duty.failure != settle.failure || duty.worker != settle.worker || duty.attempts != settle.attempts) {
      fail("settled " + name(settle.job, index) + " as " + std::to_string(static_cast<int>(settle.kind)) + ", due was " +
           std::to_string(static_cast<int>(duty.kind)) + " (or failure, worker, attempts differ)");
    }
    duty = duties_.back();
    duties_.pop_back();
    return true;
  }
  return false;
}

void Model::settled(const Settle& settle) {
  JobModel* found = job(settle.job);
  if (found == nullptr || settle.count == 0 || settle.first + settle.count > found->items.size())
    return fail("settled what does not exist");
  const OutcomeKind at_end = state == PoolState::terminated ? OutcomeKind::terminated : OutcomeKind::aborted;
  for (ItemIndex i = settle.first; i < settle.first + settle.count; ++i) {
    ItemModel& item = found->items[i];
    if (item.state == ItemModel::State::settled) return fail("settled " + name(settle.job, i) + " twice (P1)");
    if (!discharge(settle, i) && !(ended() && settle.kind == at_end)) {
      return fail("settled " + name(settle.job, i) + " as " + std::to_string(static_cast<int>(settle.kind)) + " for no reason");
    }
    settle_one(*found, item);
  }
}

void Model::event_over(const Scheduler& scheduler) {
  if (!error.empty()) return;
  if (!duties_.empty()) {
    const Duty duty = duties_.front();
    return fail(name(duty.job, duty.item) + " was not settled as " + std::to_string(static_cast<int>(duty.kind)) + " at once (P1)");
  }
  if (scheduler.state() != state) {
    return fail("pool state is " + std::to_string(static_cast<int>(scheduler.state())) + ", should be " +
                std::to_string(static_cast<int>(state)));
  }
  if (ended() && unsettled != 0) return fail("the pool has ended and left items unsettled (P1)");
  if (scheduler.unsettled_in_all() != unsettled) return fail("unsettled_in_all is wrong");
  std::size_t kept = 0;
  for (JobId id : active) {
    const JobModel& found = jobs[id - 1];
    if (scheduler.unsettled(id) != found.unsettled) return fail("unsettled(" + std::to_string(id) + ") is wrong");
    if (found.unsettled != 0 || found.open) active[kept++] = id;
  }
  active.resize(kept);
}

}  // namespace holdfast::core::simulation
