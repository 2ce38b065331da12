// Tests of core/scheduler_dispatch: what is sent to whom, what is taken back, what the answers are worth. Named stories, each of one
// decision that people rely on; random orders are the simulation's business.
#include "core/scheduler.hpp"

#include <set>
#include <vector>

#include <gtest/gtest.h>

#include "core/scheduled_pool.hpp"

namespace holdfast::core {
namespace {

using namespace std::chrono_literals;
using test::config;
using test::Kind;
using test::Pool;

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

TEST(SchedulerQueue, JobsOfOneItemKeepTheirPlaceAmongOthers) {
  Pool pool(config(1));
  std::vector<JobId> jobs;
  for (std::uint64_t n = 0; n < 40; ++n) jobs.push_back(pool.submit(n % 5 == 3 ? 3 : 1, /*chunk_size=*/3));
  EXPECT_EQ(pool.scheduler.unsettled_in_all(), 40U + 2 * 8);
  for (std::size_t n = 0; n < jobs.size(); ++n) EXPECT_EQ(pool.scheduler.unsettled(jobs[n]), n % 5 == 3 ? 3U : 1U);
  pool.ready_all();
  for (std::size_t n = 0; n < jobs.size(); ++n) {
    ASSERT_GT(pool.sends(), n);
    const Action sent = pool.sent(n);
    EXPECT_EQ(sent.job, jobs[n]);
    for (std::uint32_t item = 0; item < sent.count; ++item) EXPECT_EQ(pool.finish(sent, item), Verdict::settle);
    EXPECT_EQ(pool.scheduler.unsettled(sent.job), 0U);
  }
  EXPECT_EQ(pool.scheduler.unsettled_in_all(), 0U);
}

TEST(SchedulerQueue, OneItemOfManyIsCancelledAndTheOthersAreNot) {
  Pool pool(config(1));
  for (int n = 0; n < 5; ++n) pool.submit(1);
  pool.scheduler.forget(3);
  pool.scheduler.cancel(4, 0, 1, /*kill=*/false, pool.now);
  pool.pull();
  ASSERT_EQ(pool.of(Kind::settle).size(), 1U);
  EXPECT_EQ(pool.of(Kind::settle)[0].settle.job, 4U);
  EXPECT_EQ(pool.of(Kind::settle)[0].settle.kind, OutcomeKind::cancelled);
  EXPECT_EQ(pool.scheduler.unsettled(4), 0U);
  pool.ready_all();
  std::vector<JobId> sent;
  for (std::size_t n = 0; n < pool.sends(); ++n) {
    sent.push_back(pool.sent(n).job);
    pool.finish(pool.sent(n), 0);
  }
  EXPECT_EQ(sent, (std::vector<JobId>{1, 2, 3, 5}));
}

TEST(SchedulerQueue, TerminateSettlesWhatIsQueued) {
  Pool pool(config(1));
  Policies limited;
  limited.task_timeout = 1s;
  for (int n = 0; n < 5; ++n) pool.submit(1, 1, n == 4 ? limited : Policies{});
  EXPECT_TRUE(pool.scheduler.has_time_limits());
  pool.scheduler.terminate(pool.now);
  pool.pull();
  std::set<JobId> settled;
  for (const Action& action : pool.of(Kind::settle)) {
    EXPECT_EQ(action.settle.kind, OutcomeKind::terminated);
    EXPECT_EQ(action.settle.count, 1U);
    EXPECT_TRUE(settled.insert(action.settle.job).second);
  }
  EXPECT_EQ(settled.size(), 5U);
  EXPECT_EQ(pool.scheduler.unsettled_in_all(), 0U);
  EXPECT_FALSE(pool.scheduler.has_time_limits());
  EXPECT_FALSE(pool.scheduler.has_ready());
}

/// A pool of four that knows from 100 jobs of one item that these take 1 us; all are idle, and a turn of the past is over.
Pool pool_of_short_tasks() {
  Pool pool(config(4));
  pool.ready_all();
  for (int n = 0; n < 100; ++n) {
    pool.submit(1);
    pool.finish(pool.sent(pool.sends() - 1), 0, false, 1us);
  }
  pool.now += 1ms;
  return pool;
}

TEST(SchedulerTurns, ABurstOfShortTasksWakesOneWorkerAtATime) {
  Pool pool = pool_of_short_tasks();
  const std::size_t before = pool.sends();
  for (int n = 0; n < 20; ++n) pool.submit(1);
  std::set<WorkerId> woken;
  for (std::size_t n = before; n < pool.sends(); ++n) woken.insert(pool.sent(n).worker);
  EXPECT_EQ(pool.sends(), before + 20);
  EXPECT_EQ(woken.size(), 1U);
  for (int n = 0; n < 60; ++n) pool.submit(1);  // more than a turn's worth
  for (std::size_t n = before; n < pool.sends(); ++n) woken.insert(pool.sent(n).worker);
  EXPECT_EQ(woken.size(), 2U);
}

TEST(SchedulerTurns, WhatComesLaterGoesToAnIdleWorker) {
  Pool pool = pool_of_short_tasks();
  pool.submit(1);
  const Action first = pool.sent(pool.sends() - 1);
  pool.now += 200us;  // the first one is longer than was believed
  pool.submit(1);
  EXPECT_NE(pool.sent(pool.sends() - 1).worker, first.worker);
}

TEST(SchedulerTurns, WhatLiesBehindALongTaskGoesToIdleWorkersSoonAndOneToEach) {
  Pool pool = pool_of_short_tasks();
  const std::size_t before = pool.sends();
  for (int n = 0; n < 4; ++n) pool.submit(1);  // all four are long, against what was measured
  const WorkerId crowded = pool.sent(before).worker;
  ASSERT_EQ(pool.sent(before + 3).worker, crowded);
  pool.begun[pool.sent(before).chunk] = 1;
  const Time due = pool.scheduler.next_deadline();
  EXPECT_LE(due, pool.now + 1ms);
  pool.tick(due);
  std::set<WorkerId> others;
  for (std::size_t n = before + 4; n < pool.sends(); ++n) others.insert(pool.sent(n).worker);
  EXPECT_EQ(pool.sends(), before + 4 + 3);
  EXPECT_EQ(others.size(), 3U);
  EXPECT_EQ(others.count(crowded), 0U);
  pool.tick(due);
  EXPECT_GT(pool.scheduler.next_deadline(), due);
}

TEST(SchedulerTurns, ACrowdedWorkerThatHasBegunAllOfItIsLeftAlone) {
  Pool pool = pool_of_short_tasks();
  const std::size_t before = pool.sends();
  for (int n = 0; n < 3; ++n) pool.submit(1);
  for (std::size_t n = before; n < before + 3; ++n) pool.begun[pool.sent(n).chunk] = 1;  // done, and not handed in yet
  const Time due = pool.scheduler.next_deadline();
  pool.tick(due);
  pool.tick(due);
  EXPECT_EQ(pool.sends(), before + 3);
  EXPECT_GT(pool.scheduler.next_deadline(), due);  // and it is not asked again and again
  for (std::size_t n = before; n < before + 3; ++n) EXPECT_EQ(pool.finish(pool.sent(n), 0, false, 1us), Verdict::settle);
  EXPECT_EQ(pool.scheduler.unsettled_in_all(), 0U);
}

TEST(SchedulerTurns, WithNobodyIdleALateWorkerBringsNoTimerAgainAndAgain) {
  Pool pool = pool_of_short_tasks();
  const std::size_t before = pool.sends();
  for (int n = 0; n < 400; ++n) pool.submit(1);
  std::set<WorkerId> busy;
  for (std::size_t n = before; n < pool.sends(); ++n) busy.insert(pool.sent(n).worker);
  ASSERT_EQ(busy.size(), 4U);
  const Time due = pool.scheduler.next_deadline();
  pool.tick(due);
  EXPECT_GT(pool.scheduler.next_deadline(), due + 1ms);
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

// All workers are slower to begin an item than a stall is long: without growing patience they take it from each other for ever.
TEST(SchedulerStealing, WaitsLongerForAWorkerEachTimeThatItTookAnItemBackTooEarly) {
  Pool pool(config(2));
  pool.ready_all();
  pool.submit(1);
  const Time end = pool.now + 2s;
  while (pool.scheduler.next_deadline() < end) pool.tick(pool.scheduler.next_deadline());
  EXPECT_LE(pool.of(Kind::take_back).size(), 12U);
  const Action last = pool.sent(pool.sends() - 1);
  EXPECT_GE(pool.scheduler.stall_of(last.worker), 300ms);
  EXPECT_EQ(pool.finish(last, 0), Verdict::settle);
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
