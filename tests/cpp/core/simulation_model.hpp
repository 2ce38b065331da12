// What: the reference model of the simulation: what must be true of every item, job and worker, written item by item and without
// any of the scheduler's structures, so that a mistake there is not repeated here. It is told what the world does (user calls,
// results, deaths) BEFORE the scheduler is, and then judges each action and verdict of the scheduler. The first contradiction is kept.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/scheduler.hpp"

namespace holdfast::core::simulation {

struct ItemModel {
  enum class State : std::uint8_t { queued, backoff, assigned, settled };
  State state = State::queued;
  bool sent = false;         // at least once
  bool cancel = false;       // a cancel() covered it while it was unsettled
  bool kill = false;         // ... with kill
  std::uint32_t failed = 0;  // runs that failed
  Time first_failure{0};
  WorkerId holder = 0;  // assigned: who has it
  Time not_before{0};   // backoff: must not be sent earlier, must be ready at the latest
  Time not_after{0};
};

struct JobModel {
  JobSpec spec;
  bool open = false;
  bool forgotten = false;  // the user let go of it: after the end nobody brings more
  std::vector<ItemModel> items;
  std::uint64_t unsettled = 0;
  std::size_t fresh = 0;  // lowest item that is neither sent nor settled
};

/// Something that has to happen before the present event is over.
struct Duty {
  JobId job = 0;
  ItemIndex item = 0;
  OutcomeKind kind = OutcomeKind::pending;  // the settling that must come
  OutcomeKind failure = OutcomeKind::pending;
  WorkerId worker = 0;
  std::uint32_t attempts = 0;
};

class Model {
 public:
  using PoolState = Scheduler::PoolState;
  void reset(const SchedulerConfig& config);

  // What the world does.
  void submitted(JobId id, const JobSpec& spec);
  void extended(JobId id, std::uint64_t more);
  void cancelled(JobId id, ItemIndex first, std::uint64_t count, bool kill);
  void closed() {
    if (state == PoolState::running) state = PoolState::closed;
  }
  void terminated() {
    if (!ended()) state = PoolState::terminated;
  }
  Verdict result(JobId job, ItemIndex item, bool raised, Time now);  // the verdict that is right
  void unbegun(JobId job, ItemIndex item);                           // comes back from a worker
  void lost(JobId job, ItemIndex item, Cause cause, WorkerId worker, Time now);
  void start_failed(Time now);
  void died_without_work(bool had_chunks, Time now);  // ready, unasked, had not run anything
  void ticked(Time now);

  // What the scheduler does.
  void sent(WorkerId worker, JobId job, ItemIndex first, std::uint64_t count, Time now);
  void settled(const Settle& settle);
  void event_over(const Scheduler& scheduler);

  bool ended() const { return state != PoolState::running && state != PoolState::closed; }
  bool all_done() const { return unsettled == 0 && open_jobs == 0; }
  JobModel* job(JobId id) { return id >= 1 && id <= jobs.size() ? &jobs[id - 1] : nullptr; }
  void fail(std::string what) {
    if (error.empty()) error = std::move(what);
  }

  std::string error;
  PoolState state = PoolState::running;
  std::vector<JobModel> jobs;
  std::vector<JobId> active;  // jobs not over, ascending
  std::uint64_t unsettled = 0;
  std::uint64_t queued = 0;  // items that wait for a worker and for nothing else
  std::uint64_t open_jobs = 0;
  std::uint32_t workers_wanted = 1;
  Time restart_at{0};

 private:
  ItemModel* item_at(JobId job, ItemIndex item);
  void move(ItemModel& item, ItemModel::State to);
  void settle_one(JobModel& job, ItemModel& item);
  void retry(JobModel& job, ItemModel& item, JobId id, ItemIndex index, Time now);
  void owe(const Duty& duty) { duties_.push_back(duty); }
  bool discharge(const Settle& settle, ItemIndex item);
  void slow_starts(std::uint32_t failures, Time now);

  SchedulerConfig config_;
  std::vector<Duty> duties_;
  std::vector<std::pair<JobId, ItemIndex>> backoffs_;
  std::uint32_t failed_starts_ = 0;
  std::uint32_t barren_ = 0;
  std::uint32_t idle_deaths_ = 0;
  std::uint64_t deaths_ = 0;

 public:
  void worker_ready() { failed_starts_ = 0; }
};

}  // namespace holdfast::core::simulation
