// Tests of core/scheduler: named stories, each of one decision that people rely on. Random orders are the simulation's business.
#include "core/scheduler.hpp"

#include <algorithm>
#include <map>

#include <gtest/gtest.h>

namespace holdfast::core {
namespace {

using namespace std::chrono_literals;
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
  Verdict finish(const Action& chunk, std::uint32_t item, bool raised = false, Nanos time = 1ms) {
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

  Time now{1s};
  Scheduler scheduler;
  std::vector<Action> log;
  std::map<ChunkId, std::uint32_t> begun;
};

SchedulerConfig config(std::uint32_t workers) {
  SchedulerConfig made;
  made.workers = workers;
  return made;
}

Policies on_death(OnFailure policy, std::uint32_t retries = 3) {
  Policies policies;
  policies.on_death = policy;
  policies.retry.max_retries = retries;
  return policies;
}

TEST(SchedulerSending, SpreadsFewChunksWideBeforeItStacksThem) {
  Pool pool(config(3));
  pool.ready_all();
  pool.submit(3);
  ASSERT_EQ(pool.sends(), 3U);
  EXPECT_NE(pool.sent(0).worker, pool.sent(1).worker);
  EXPECT_NE(pool.sent(1).worker, pool.sent(2).worker);
  EXPECT_NE(pool.sent(0).worker, pool.sent(2).worker);
}

TEST(SchedulerSending, StartsShallowAndGoesDeepOnlyForTrivialItems) {
  Pool pool(config(1));
  pool.ready_all();
  pool.submit(1000);
  EXPECT_LE(pool.sends(), 4U);  // nothing measured: a few
  const std::size_t before = pool.sends();
  pool.finish(pool.sent(0), 0, false, 1us);
  EXPECT_GT(pool.sends(), before + 30);  // trivial: deep
  Pool slow(config(1));
  slow.ready_all();
  slow.submit(1000);
  std::size_t in_flight = slow.sends();
  for (std::size_t n = 0; n < 10; ++n) {
    slow.finish(slow.sent(n), 0, false, 100ms);
    in_flight = slow.sends() - n - 1;
  }
  EXPECT_EQ(in_flight, 1U);  // slow: one at a time
}

TEST(SchedulerSending, NeverMoreChunksInFlightThanTheRingHasSlots) {
  SchedulerConfig small = config(1);
  small.max_chunks_in_flight = 4;
  Pool pool(small);
  pool.ready_all();
  pool.submit(1000);
  std::size_t finished = 0;
  for (; finished < 500; ++finished) {
    pool.finish(pool.sent(finished), 0, false, 1us);
    ASSERT_LE(pool.sends() - finished - 1, 4U);
  }
}

TEST(SchedulerSending, AnEndlessInputDoesNotStarveALaterJob) {
  Pool pool(config(1));
  pool.ready_all();
  const JobId lazy = pool.submit(50, 1, {}, /*open=*/true);
  const JobId later = pool.submit(1);
  for (std::size_t n = 0; n < 60; ++n) {
    pool.finish(pool.sent(n), 0, false, 10ms);
    pool.scheduler.extend(lazy, 1, pool.now);
    pool.pull();
  }
  EXPECT_EQ(pool.scheduler.unsettled(later), 0U);
  EXPECT_GT(pool.scheduler.unsettled(lazy), 0U);
}

TEST(SchedulerStealing, TakesWhatLiesBehindALongItem) {
  Pool pool(config(2));
  pool.ready_all();
  pool.submit(4);  // two each, as nothing is measured
  const Action first = pool.sent(0);
  const Action second = pool.sent(1);
  ASSERT_EQ(pool.sends(), 4U);
  pool.begun[first.chunk] = 1;  // worker of `first` sits in its item; the other one finishes all it has
  pool.finish(second, 0);
  const Action own = pool.sent(2).worker == second.worker ? pool.sent(2) : pool.sent(3);
  pool.finish(own, 0);
  if (pool.sends() == 4) pool.tick(pool.now + 30ms);  // at the latest by the stall timer
  ASSERT_EQ(pool.sends(), 5U);
  EXPECT_EQ(pool.sent(4).worker, second.worker);
  pool.finish(pool.sent(4), 0);
  EXPECT_EQ(pool.scheduler.unsettled_in_all(), 1U);
}

TEST(SchedulerStealing, KeepsTheUsersChunkTogetherUntilItIsKnownToBeLong) {
  Pool pool(config(2));
  pool.ready_all();
  pool.submit(10, 10);
  EXPECT_EQ(pool.of(Kind::take_back).size(), 0U);
  pool.begun[pool.sent(0).chunk] = 2;         // it is at the second item when the first is handed in
  pool.finish(pool.sent(0), 0, false, 50ms);  // eight times 50 ms lie there, and somebody is idle
  EXPECT_GE(pool.of(Kind::take_back).size(), 1U);
  EXPECT_NE(pool.sent(1).worker, pool.sent(0).worker);
}

TEST(SchedulerStealing, TakesASingleItemFromAWorkerThatDoesNotBeginIt) {
  Pool pool(config(2));
  pool.ready_all();
  pool.submit(1);
  const WorkerId stopped = pool.sent(0).worker;  // SIGSTOP, say
  pool.tick(pool.now + 30ms);
  ASSERT_EQ(pool.sends(), 2U);
  EXPECT_NE(pool.sent(1).worker, stopped);
  EXPECT_EQ(pool.finish(pool.sent(1), 0), Verdict::settle);
}

TEST(SchedulerStealing, AsksAWorkerInALongItemOnlyOnce) {
  Pool pool(config(2));
  pool.ready_all();
  pool.submit(1);
  pool.begun[pool.sent(0).chunk] = 1;
  for (int i = 0; i < 10 && pool.scheduler.next_deadline() != kNever; ++i) pool.tick(pool.scheduler.next_deadline());
  EXPECT_EQ(pool.scheduler.next_deadline(), kNever);  // no waking for the rest of a long item
  EXPECT_EQ(pool.of(Kind::take_back).size(), 1U);
}

TEST(SchedulerStealing, GoesOnAfterAVictimDiedBeforeItsAnswer) {
  // The pool drops the take_back of a dead worker; the scheduler must not wait for its answer for ever (mutant stealing_stays_on).
  Pool pool(config(2));
  pool.ready_all();
  pool.submit(40, 40);
  const Action chunk = pool.sent(0);
  const WorkerId other = chunk.worker == 1 ? 2 : 1;
  (void)pool.scheduler.item_finished(chunk.worker, chunk.chunk, 0, false, 50ms, pool.now);  // asks for take_back; not pulled
  pool.scheduler.worker_died(chunk.worker, Cause::signal, {{chunk.chunk, 1}}, pool.now);
  std::vector<Action> actions;
  pool.scheduler.take_actions(actions);
  Action resent;
  WorkerId replacement = 0;
  for (const Action& action : actions) {
    if (action.kind == Kind::send && action.worker == other) resent = action;
    if (action.kind == Kind::start_worker) replacement = action.worker;
  }
  ASSERT_NE(resent.chunk, 0U);
  ASSERT_NE(replacement, 0U);
  pool.log.clear();
  pool.scheduler.worker_ready(replacement, pool.now);
  pool.pull();
  EXPECT_GE(pool.of(Kind::take_back).size(), 1U) << "nobody is stolen from any more";
}

TEST(SchedulerDeaths, CostOneItemAndNoAttemptOfTheOthers) {
  Pool pool(config(1));
  pool.ready_all();
  const JobId job = pool.submit(5, 5, on_death(OnFailure::raise));
  const Action chunk = pool.sent(0);
  pool.finish(chunk, 0);
  pool.die(chunk.worker, {{chunk.chunk, 2}}, Cause::killed_by_unknown);
  const std::vector<Action> settles = pool.of(Kind::settle);
  ASSERT_EQ(settles.size(), 1U);
  EXPECT_EQ(settles[0].settle.first, 1U);
  EXPECT_EQ(settles[0].settle.kind, OutcomeKind::died);
  EXPECT_EQ(settles[0].settle.worker, chunk.worker);
  EXPECT_EQ(settles[0].settle.attempts, 1U);
  pool.ready_all();
  EXPECT_EQ(pool.sent(1).first, 2U);
  EXPECT_EQ(pool.sent(1).count, 3U);
  EXPECT_EQ(pool.scheduler.unsettled(job), 3U);
}

TEST(SchedulerDeaths, ALyingWorkersWordsStillCostOnlyOneItem) {
  Pool pool(config(1));
  pool.ready_all();
  pool.submit(6, 3, on_death(OnFailure::raise));
  const Action first = pool.sent(0);
  const Action second = pool.sent(1);
  pool.die(first.worker, {{first.chunk, 0xffffffff}, {second.chunk, 0x7fffffff}, {999, 3}});
  EXPECT_EQ(pool.of(Kind::settle).size(), 1U);
  EXPECT_EQ(pool.scheduler.unsettled_in_all(), 5U);
}

TEST(SchedulerDeaths, APoisonousItemStopsAtItsLimit) {
  for (OnFailure then : {OnFailure::raise, OnFailure::skip}) {
    Policies policies = on_death(OnFailure::retry, 2);
    policies.retry.then = then;
    Pool pool(config(1));
    pool.submit(1, 1, policies);
    int deaths = 0;
    while (pool.scheduler.unsettled_in_all() > 0 && deaths < 10) {
      pool.ready_all();
      const Action chunk = pool.sent(pool.sends() - 1);
      pool.die(chunk.worker, {{chunk.chunk, 1}});
      ++deaths;
    }
    EXPECT_EQ(deaths, 3);
    const Settle settle = pool.of(Kind::settle).back().settle;
    EXPECT_EQ(settle.kind, then == OnFailure::skip ? OutcomeKind::skipped : OutcomeKind::died);
    EXPECT_EQ(settle.failure, then == OnFailure::skip ? OutcomeKind::died : OutcomeKind::pending);
    EXPECT_EQ(settle.attempts, 3U);
  }
}

TEST(SchedulerDeaths, AbortEndsThePoolAndTheCulpritKeepsItsOutcome) {
  Pool pool(config(1));
  pool.ready_all();
  pool.submit(4, 2, on_death(OnFailure::abort));
  const Action chunk = pool.sent(0);
  pool.die(chunk.worker, {{chunk.chunk, 1}});
  EXPECT_EQ(pool.scheduler.state(), Scheduler::PoolState::aborted);
  EXPECT_EQ(pool.scheduler.unsettled_in_all(), 0U);
  EXPECT_EQ(pool.of(Kind::settle).front().settle.kind, OutcomeKind::died);
  EXPECT_EQ(pool.of(Kind::settle).back().settle.kind, OutcomeKind::aborted);
  EXPECT_EQ(pool.log.back().kind, Kind::pool_aborted);
  pool.scheduler.terminate(pool.now);
  EXPECT_EQ(pool.scheduler.state(), Scheduler::PoolState::aborted);  // the reason stays
}

TEST(SchedulerStarts, FailedStartsInARowBreakThePoolAfterBackoffs) {
  SchedulerConfig three = config(1);
  three.max_restarts = 3;
  Pool pool(three);
  pool.submit(2);
  std::vector<Nanos> waits;
  for (int failures = 1; failures <= 3; ++failures) {
    pool.scheduler.worker_start_failed(pool.of(Kind::start_worker).back().worker, pool.now);
    pool.pull();
    if (failures == 3) break;
    waits.push_back(pool.scheduler.next_deadline() - pool.now);
    pool.tick(pool.scheduler.next_deadline() - 1ns);
    EXPECT_EQ(pool.of(Kind::start_worker).size(), static_cast<std::size_t>(failures));
    pool.tick(pool.scheduler.next_deadline());
  }
  EXPECT_EQ(waits, (std::vector<Nanos>{10ms, 20ms}));
  EXPECT_EQ(pool.scheduler.state(), Scheduler::PoolState::broken);
  EXPECT_EQ(pool.of(Kind::settle).back().settle.kind, OutcomeKind::aborted);
  EXPECT_EQ(pool.log.back().kind, Kind::pool_broken);
}

TEST(SchedulerStarts, OneReadyWorkerForgivesTheFailures) {
  SchedulerConfig two = config(1);
  two.max_restarts = 2;
  Pool pool(two);
  for (int round = 0; round < 5; ++round) {
    pool.scheduler.worker_start_failed(pool.of(Kind::start_worker).back().worker, pool.now);
    pool.tick(pool.now + 2s);
    pool.scheduler.worker_ready(pool.of(Kind::start_worker).back().worker, pool.now);
    pool.die(pool.of(Kind::start_worker).back().worker, {}, Cause::stopped_by_pool);
    pool.tick(pool.now + 2s);
  }
  EXPECT_EQ(pool.scheduler.state(), Scheduler::PoolState::running);
}

TEST(SchedulerStarts, WorkersThatAlwaysDieBeforeTheyBeginDoNotHangThePool) {
  Pool pool(config(1));
  pool.submit(1);
  int deaths = 0;
  for (; deaths < 100 && pool.scheduler.unsettled_in_all() > 0; ++deaths) {
    const WorkerId worker = pool.of(Kind::start_worker).back().worker;
    pool.scheduler.worker_ready(worker, pool.now);
    pool.pull();
    pool.die(worker, {{pool.sent(pool.sends() - 1).chunk, 0}});
    pool.tick(pool.now + 2s);
  }
  EXPECT_EQ(deaths, 10);
  EXPECT_EQ(pool.scheduler.state(), Scheduler::PoolState::broken);
}

TEST(SchedulerStarts, KillingIdleWorkersForSportBreaksNothing) {
  Pool pool(config(1));
  for (int round = 0; round < 100; ++round) {
    const WorkerId worker = pool.of(Kind::start_worker).back().worker;
    pool.scheduler.worker_ready(worker, pool.now);
    pool.die(worker, {}, Cause::killed_by_unknown);
    if (round == 0) { EXPECT_EQ(pool.of(Kind::start_worker).size(), 2U) << "the first is replaced at once"; }
    pool.tick(pool.now + 2s);
  }
  EXPECT_EQ(pool.scheduler.state(), Scheduler::PoolState::running);
}

TEST(SchedulerErrors, FollowTheirPolicy) {
  Policies policies;
  const auto first_verdict = [&] {
    Pool pool(config(1));
    pool.ready_all();
    pool.submit(1, 1, policies);
    return pool.finish(pool.sent(0), 0, /*raised=*/true);
  };
  EXPECT_EQ(first_verdict(), Verdict::settle);
  policies.on_error = OnFailure::skip;
  EXPECT_EQ(first_verdict(), Verdict::settle_skipped);
  policies.on_error = OnFailure::retry;
  EXPECT_EQ(first_verdict(), Verdict::retry);
  policies.on_error = OnFailure::abort;
  EXPECT_EQ(first_verdict(), Verdict::settle);
}

TEST(SchedulerErrors, ARetryWaitsForItsBackoff) {
  Policies policies;
  policies.on_error = OnFailure::retry;
  policies.retry.backoff_initial = 50ms;
  policies.retry.jitter = 0;
  Pool pool(config(1));
  pool.ready_all();
  pool.submit(1, 1, policies);
  pool.finish(pool.sent(0), 0, /*raised=*/true);
  EXPECT_LE(pool.scheduler.next_deadline(), pool.now + 50ms);
  const Time due = pool.now + 50ms;
  pool.tick(due - 1ns);
  EXPECT_EQ(pool.sends(), 1U);
  pool.tick(due);
  ASSERT_EQ(pool.sends(), 2U);
  EXPECT_EQ(pool.finish(pool.sent(1), 0), Verdict::settle);
  if (pool.scheduler.next_deadline() != kNever) pool.tick(pool.scheduler.next_deadline());  // a timer that nobody needs any more
  EXPECT_EQ(pool.scheduler.next_deadline(), kNever);
}

TEST(SchedulerTimeLimits, KillTheWorkerOnlyIfTheItemStillRuns) {
  Policies policies;
  policies.task_timeout = 100ms;
  policies.on_timeout = OnFailure::skip;
  Pool pool(config(1));
  pool.ready_all();
  pool.submit(3, 3, policies);
  EXPECT_TRUE(pool.scheduler.has_time_limits());
  const Action chunk = pool.sent(0);
  pool.begun[chunk.chunk] = 1;
  pool.scheduler.item_started(chunk.worker, chunk.chunk, 0, pool.now);
  const Time limit = pool.now + 100ms;
  EXPECT_LE(pool.scheduler.next_deadline(), limit);
  pool.tick(limit - 1ns);
  EXPECT_TRUE(pool.of(Kind::kill_worker).empty());
  pool.tick(limit);
  ASSERT_EQ(pool.of(Kind::kill_worker).size(), 1U);
  EXPECT_EQ(pool.of(Kind::kill_worker)[0].cause, Cause::time_limit);
  pool.die(chunk.worker, {{chunk.chunk, 1}}, Cause::time_limit);
  const Settle settle = pool.of(Kind::settle).back().settle;
  EXPECT_EQ(settle.kind, OutcomeKind::skipped);
  EXPECT_EQ(settle.failure, OutcomeKind::timed_out);
  EXPECT_EQ(pool.scheduler.counters().deaths_under_items, 0U);  // our own doing: not a death for max_deaths
}

TEST(SchedulerTimeLimits, SpareAnItemThatBeganJustAfterTheSlowOne) {
  Policies policies;
  policies.task_timeout = 100ms;
  Pool pool(config(1));
  pool.ready_all();
  pool.submit(3, 3, policies);
  const Action chunk = pool.sent(0);
  pool.scheduler.item_started(chunk.worker, chunk.chunk, 0, pool.now);
  pool.begun[chunk.chunk] = 2;  // item 0 has finished, unread as yet; item 1 runs
  pool.tick(pool.now + 100ms);
  EXPECT_TRUE(pool.of(Kind::kill_worker).empty());
  EXPECT_EQ(pool.finish(chunk, 0), Verdict::settle);
  EXPECT_EQ(pool.finish(chunk, 1), Verdict::settle);
  EXPECT_EQ(pool.sends(), 2U);  // item 2, taken back meanwhile
}

TEST(SchedulerCancel, SettlesWhatHasNotBegunAndLetsTheRestGoOn) {
  Pool pool(config(1));
  pool.ready_all();
  const JobId job = pool.submit(10, 2);
  const Action chunk = pool.sent(0);
  pool.begun[chunk.chunk] = 1;
  pool.scheduler.cancel(job, 0, ~std::uint64_t{0}, false, pool.now);
  pool.pull();
  EXPECT_EQ(pool.scheduler.unsettled(job), 1U);
  EXPECT_TRUE(pool.of(Kind::kill_worker).empty());
  EXPECT_EQ(pool.finish(chunk, 0), Verdict::settle);
}

TEST(SchedulerCancel, WithKillEndsTheRunningItemAsCancelled) {
  Pool pool(config(1));
  pool.ready_all();
  const JobId job = pool.submit(2, 1, on_death(OnFailure::retry));
  const JobId other = pool.submit(1);
  const Action chunk = pool.sent(0);
  pool.begun[chunk.chunk] = 1;
  pool.scheduler.cancel(job, 0, 1, true, pool.now);
  pool.pull();
  ASSERT_EQ(pool.of(Kind::kill_worker).size(), 1U);
  pool.die(chunk.worker, {{chunk.chunk, 1}}, Cause::stopped_by_pool);
  EXPECT_EQ(pool.of(Kind::settle).back().settle.kind, OutcomeKind::cancelled);
  EXPECT_EQ(pool.scheduler.unsettled(job), 1U);
  EXPECT_EQ(pool.scheduler.unsettled(other), 1U);
}

TEST(SchedulerCancel, AnItemThatHadBegunIsNotRetriedAfterwards) {
  Pool pool(config(1));
  pool.ready_all();
  const JobId job = pool.submit(1, 1, on_death(OnFailure::retry));
  const Action chunk = pool.sent(0);
  pool.begun[chunk.chunk] = 1;
  pool.scheduler.cancel(job, 0, 1, false, pool.now);
  pool.die(chunk.worker, {{chunk.chunk, 1}});
  EXPECT_EQ(pool.of(Kind::settle).back().settle.kind, OutcomeKind::cancelled);
}

TEST(SchedulerRecycling, RetiresAfterItsChunksAndReplacesWhenTheProcessIsGone) {
  SchedulerConfig recycled = config(1);
  recycled.max_chunks_per_worker = 2;
  Pool pool(recycled);
  pool.ready_all();
  pool.submit(5);
  EXPECT_EQ(pool.sends(), 2U);
  ASSERT_EQ(pool.of(Kind::retire_worker).size(), 1U);
  pool.finish(pool.sent(0), 0);
  pool.finish(pool.sent(1), 0);
  EXPECT_EQ(pool.of(Kind::start_worker).size(), 1U);  // `workers` is a promise about processes
  pool.die(1, {}, Cause::stopped_by_pool);
  EXPECT_EQ(pool.of(Kind::start_worker).size(), 2U);
  pool.ready_all();
  EXPECT_EQ(pool.sends(), 4U);
  EXPECT_EQ(pool.scheduler.counters().restarts, 1U);
}

TEST(SchedulerEnds, CloseRunsWhatIsQueuedAndLazyInputToItsEnd) {
  Pool pool(config(1));
  pool.ready_all();
  const JobId lazy = pool.submit(1, 1, {}, /*open=*/true);
  pool.scheduler.close(pool.now);
  pool.finish(pool.sent(0), 0);
  EXPECT_TRUE(pool.of(Kind::retire_worker).empty());
  pool.scheduler.extend(lazy, 1, pool.now);
  pool.pull();
  pool.finish(pool.sent(1), 0);
  pool.scheduler.close_input(lazy, pool.now);
  pool.pull();
  EXPECT_EQ(pool.of(Kind::retire_worker).size(), 1U);
  pool.die(1, {}, Cause::stopped_by_pool);
  EXPECT_EQ(pool.scheduler.live_workers(), 0U);
  EXPECT_EQ(pool.of(Kind::start_worker).size(), 1U);
}

TEST(SchedulerEnds, TerminateSettlesEverythingAndLateResultsAreIgnored) {
  Policies policies;
  policies.on_error = OnFailure::retry;
  policies.retry.backoff_initial = 1s;
  Pool pool(config(1));
  pool.ready_all();
  const JobId job = pool.submit(100, 2, policies);
  pool.finish(pool.sent(0), 0, /*raised=*/true);  // waits for its retry
  pool.scheduler.terminate(pool.now);
  pool.pull();
  EXPECT_EQ(pool.scheduler.unsettled(job), 0U);
  std::uint64_t settled = 0;
  for (const Action& action : pool.of(Kind::settle)) {
    EXPECT_EQ(action.settle.kind, OutcomeKind::terminated);
    settled += action.settle.count;
  }
  EXPECT_EQ(settled, 100U);
  EXPECT_EQ(pool.finish(pool.sent(0), 1), Verdict::ignore);
  EXPECT_EQ(pool.scheduler.next_deadline(), kNever);
  pool.submit(3);
  EXPECT_EQ(pool.scheduler.unsettled_in_all(), 0U);
}

TEST(SchedulerEnds, AFeederThatIsLateGetsAnOutcomeToo) {
  Pool pool(config(1));
  const JobId lazy = pool.submit(1, 1, {}, /*open=*/true);
  pool.scheduler.terminate(pool.now);
  pool.scheduler.extend(lazy, 2, pool.now);
  pool.pull();
  EXPECT_EQ(pool.of(Kind::settle).back().settle.first, 1U);
  EXPECT_EQ(pool.of(Kind::settle).back().settle.count, 2U);
  EXPECT_EQ(pool.scheduler.unsettled_in_all(), 0U);
}

TEST(SchedulerTrust, ResultsThatTheWorkerDoesNotOwnAreRefused) {
  Pool pool(config(2));
  pool.ready_all();
  pool.submit(4, 2);
  const Action mine = pool.sent(0);
  const Action theirs = pool.sent(1);
  ASSERT_NE(mine.worker, theirs.worker);
  const auto claim = [&](WorkerId worker, ChunkId chunk, std::uint32_t item) {
    return pool.scheduler.item_finished(worker, chunk, item, false, 1us, pool.now);
  };
  EXPECT_EQ(claim(mine.worker, theirs.chunk, 0), Verdict::not_owned);
  EXPECT_EQ(claim(mine.worker, mine.chunk, 1), Verdict::not_owned);
  EXPECT_EQ(claim(mine.worker, mine.chunk, 0xffffffff), Verdict::not_owned);
  EXPECT_EQ(claim(77, mine.chunk, 0), Verdict::not_owned);
  EXPECT_EQ(claim(mine.worker, mine.chunk, 0), Verdict::settle);
  EXPECT_EQ(claim(mine.worker, mine.chunk, 0), Verdict::not_owned);
}

TEST(SchedulerBatch, ARunOfDoneItemsCountsAsItsItems) {
  Pool pool(config(1));
  pool.ready_all();
  const JobId job = pool.submit(10, 10);
  const Action chunk = pool.sent(0);
  const auto done = [&](std::uint32_t first, std::uint32_t count) {
    return pool.scheduler.items_done(chunk.worker, chunk.chunk, first, count, count * 1ms, pool.now);
  };
  EXPECT_EQ(done(1, 3), Verdict::not_owned) << "not the next item";
  EXPECT_EQ(done(0, 11), Verdict::not_owned) << "more than the chunk holds";
  EXPECT_EQ(done(0, 0), Verdict::not_owned);
  EXPECT_EQ(pool.scheduler.unsettled(job), 10U);
  EXPECT_EQ(done(0, 4), Verdict::settle);
  EXPECT_EQ(pool.scheduler.unsettled(job), 6U);
  EXPECT_EQ(pool.finish(chunk, 4, /*raised=*/true), Verdict::settle);
  EXPECT_EQ(done(5, 5), Verdict::settle);
  EXPECT_EQ(pool.scheduler.unsettled(job), 0U);
  pool.pull();
  pool.submit(1);
  EXPECT_EQ(pool.sends(), 2U) << "the worker is free again";
}

TEST(SchedulerBatch, ADeathAfterARunLosesTheNextItemOnly) {
  Pool pool(config(1));
  pool.ready_all();
  const JobId job = pool.submit(10, 10);
  const Action chunk = pool.sent(0);
  EXPECT_EQ(pool.scheduler.items_done(chunk.worker, chunk.chunk, 0, 4, 4ms, pool.now), Verdict::settle);
  pool.die(chunk.worker, {{chunk.chunk, 5}});
  ASSERT_EQ(pool.of(Kind::settle).size(), 1U);
  EXPECT_EQ(pool.of(Kind::settle)[0].settle.first, 4U);
  EXPECT_EQ(pool.scheduler.unsettled(job), 5U);
}

}  // namespace
}  // namespace holdfast::core
