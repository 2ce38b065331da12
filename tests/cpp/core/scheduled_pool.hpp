// What: the bench of the scheduler's tests: a scheduler with the simplest of pools around it, that carries its actions out and keeps
// what it was told. Used by scheduler*_test.cpp.
#pragma once

#include <algorithm>
#include <iterator>
#include <map>
#include <vector>

#include <gtest/gtest.h>

#include "core/scheduler.hpp"

namespace holdfast::core::test {

using Kind = Action::Kind;

/// A scheduler with its pool: carries actions out on the simplest of workers, and keeps what it was told.
class Pool {
 public:
  explicit Pool(SchedulerConfig config = {}) : scheduler(config) {
    scheduler.open(now);
    pull();
  }
  /// Pulls actions; take_back is answered with `begun` of that chunk (0 unless set).
  void pull() {
    std::vector<Action> batch;
    while (scheduler.has_actions()) {
      scheduler.take_actions(batch);
      for (const Action& action : batch) {
        log.push_back(action);
        if (action.kind == Kind::take_back) scheduler.taken_back(action.worker, action.chunk, begun[action.chunk], now);
      }
    }
  }
  void ready_all() {
    for (const Action& action : of(Kind::start_worker)) scheduler.worker_ready(action.worker, now);
    pull();
  }
  JobId submit(std::uint64_t items, std::uint64_t chunk_size = 1, Policies policies = {}, bool open = false) {
    const JobId id = scheduler.submit({items, open, chunk_size, policies}, now);
    pull();
    return id;
  }
  Verdict finish(const Action& chunk, std::uint32_t item, bool raised = false, Nanos time = std::chrono::milliseconds(1)) {
    begun[chunk.chunk] = std::max(begun[chunk.chunk], item + 1);
    now += time;
    const Verdict verdict = scheduler.item_finished(chunk.worker, chunk.chunk, item, raised, time, now);
    pull();
    return verdict;
  }
  void die(WorkerId worker, const std::vector<Running>& running, Cause cause = Cause::signal) {
    scheduler.worker_died(worker, cause, running, now);
    pull();
  }
  void tick(Time at) {
    now = at;
    scheduler.tick(now);
    pull();
  }
  std::vector<Action> of(Kind kind) const {
    std::vector<Action> found;
    std::copy_if(log.begin(), log.end(), std::back_inserter(found), [kind](const Action& a) { return a.kind == kind; });
    return found;
  }
  Action sent(std::size_t n) const {
    const std::vector<Action> all = of(Kind::send);
    EXPECT_LT(n, all.size()) << "no such sending";
    return n < all.size() ? all[n] : Action{};
  }
  std::size_t sends() const { return of(Kind::send).size(); }

  Time now{std::chrono::seconds(1)};
  Scheduler scheduler;
  std::vector<Action> log;
  std::map<ChunkId, std::uint32_t> begun;
};

inline SchedulerConfig config(std::uint32_t workers) {
  SchedulerConfig made;
  made.workers = workers;
  return made;
}

inline Policies on_death(OnFailure policy, std::uint32_t retries = 3) {
  Policies policies;
  policies.on_death = policy;
  policies.retry.max_retries = retries;
  return policies;
}

}  // namespace holdfast::core::test
