// Tests of core/scheduler_workers: deaths, starts that fail, recycling. Named stories, each of one decision that people rely on;
// random orders are the simulation's business.
#include "core/scheduler.hpp"

#include <vector>

#include <gtest/gtest.h>

#include "core/scheduled_pool.hpp"

namespace holdfast::core {
namespace {

using namespace std::chrono_literals;
using test::config;
using test::Kind;
using test::on_death;
using test::Pool;

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

// With and without recycling: a worker that is given its last chunk is told to leave at the same moment.
class SchedulerBarrenStarts : public testing::TestWithParam<std::uint64_t> {};
INSTANTIATE_TEST_SUITE_P(Recycling, SchedulerBarrenStarts, testing::Values(0, 1));

TEST_P(SchedulerBarrenStarts, WorkersThatAlwaysDieBeforeTheyBeginDoNotHangThePool) {
  SchedulerConfig one = config(1);
  one.max_chunks_per_worker = GetParam();
  Pool pool(one);
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

}  // namespace
}  // namespace holdfast::core
