// Tests of core/scheduler: policies, time limits, cancelling, the end. Named stories, each of one decision that people rely on; random
// orders are the simulation's business.
#include "core/scheduler.hpp"

#include <gtest/gtest.h>

#include "core/scheduled_pool.hpp"

namespace holdfast::core {
namespace {

using namespace std::chrono_literals;
using test::config;
using test::Kind;
using test::on_death;
using test::Pool;

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

TEST(SchedulerTimeLimits, InterruptTheItemThatIsOverItsSoftLimitOnceAndNoOther) {
  Policies policies;
  policies.soft_timeout = 100ms;
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
  EXPECT_TRUE(pool.of(Kind::soft_interrupt).empty());
  pool.tick(limit);
  ASSERT_EQ(pool.of(Kind::soft_interrupt).size(), 1U);
  const Action interrupt = pool.of(Kind::soft_interrupt)[0];
  EXPECT_EQ(interrupt.worker, chunk.worker);
  EXPECT_EQ(interrupt.chunk, chunk.chunk);
  EXPECT_EQ(interrupt.first, 0U);
  EXPECT_EQ(interrupt.limit, Nanos{100ms});
  pool.scheduler.item_started(chunk.worker, chunk.chunk, 0, limit - 100ms);  // the pool looks again
  pool.tick(limit + 1s);
  EXPECT_EQ(pool.of(Kind::soft_interrupt).size(), 1U);
  EXPECT_EQ(pool.finish(chunk, 0), Verdict::settle);  // it has caught it and returned

  pool.begun[chunk.chunk] = 2;
  pool.scheduler.item_started(chunk.worker, chunk.chunk, 1, pool.now);
  EXPECT_EQ(pool.finish(chunk, 1), Verdict::settle);
  pool.tick(pool.now + 1s);
  EXPECT_EQ(pool.of(Kind::soft_interrupt).size(), 1U);  // over in time
}

TEST(SchedulerTimeLimits, DoNotInterruptAnItemThatIsKilledForItsHardLimit) {
  Policies policies;
  policies.soft_timeout = 50ms;
  policies.task_timeout = 100ms;
  Pool pool(config(1));
  pool.ready_all();
  pool.submit(1, 1, policies);
  const Action chunk = pool.sent(0);
  pool.begun[chunk.chunk] = 1;
  pool.scheduler.item_started(chunk.worker, chunk.chunk, 0, pool.now);
  pool.tick(pool.now + 200ms);  // late: both are over
  EXPECT_TRUE(pool.of(Kind::soft_interrupt).empty());
  EXPECT_EQ(pool.of(Kind::kill_worker).size(), 1U);
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

}  // namespace
}  // namespace holdfast::core
