// Tests of core/memory_gate, and of the scheduler behind it: how many workers have work after a kill for lack of memory.
#include "core/memory_gate.hpp"

#include <gtest/gtest.h>

#include "core/scheduled_pool.hpp"

namespace holdfast::core {
namespace {

using std::chrono::seconds;
using test::Kind;

TEST(MemoryGate, IsOpenUntilTheFirstKill) {
  MemoryGate gate;
  EXPECT_TRUE(gate.open());
  EXPECT_EQ(gate.next_raise(), kNever);
  gate.tick(4, seconds(100));
  EXPECT_TRUE(gate.open());
}

TEST(MemoryGate, HalvesWhatRanWithEachKill) {
  MemoryGate gate;
  gate.killed(8, 1, seconds(1));
  EXPECT_EQ(gate.allowed(), 4U);
  gate.killed(7, 1, seconds(1));  // the same burst
  EXPECT_EQ(gate.allowed(), 2U);
  gate.killed(6, 1, seconds(1));
  gate.killed(5, 1, seconds(1));
  EXPECT_EQ(gate.allowed(), 1U) << "one may always run";
}

TEST(MemoryGate, CountsFromThoseThatRanAndNotFromThoseThatMight) {
  MemoryGate gate;
  gate.killed(8, 1, seconds(1));
  gate.killed(2, 1, seconds(2));
  EXPECT_EQ(gate.allowed(), 1U);
}

// With three retries the fourth run of an item is alone, also of the largest pools.
TEST(MemoryGate, LetsAnItemThatIsHitAgainAndAgainRunAlone) {
  MemoryGate gate;
  gate.killed(64, 1, seconds(1));
  gate.killed(gate.allowed(), 2, seconds(2));
  EXPECT_EQ(gate.allowed(), 8U);
  gate.killed(gate.allowed(), 3, seconds(3));
  EXPECT_EQ(gate.allowed(), 1U);
  gate.killed(1, ~0U, seconds(4));
  EXPECT_EQ(gate.allowed(), 1U);
}

TEST(MemoryGate, AddsOneAfterEachStretchWithoutAKill) {
  MemoryGate gate;
  gate.killed(6, 1, seconds(0));
  EXPECT_EQ(gate.allowed(), 3U);
  gate.tick(5, MemoryGate::kStretch - Nanos(1));
  EXPECT_EQ(gate.allowed(), 3U);
  gate.tick(5, MemoryGate::kStretch);
  EXPECT_EQ(gate.allowed(), 4U);
  EXPECT_EQ(gate.next_raise(), 2 * MemoryGate::kStretch);
  gate.tick(5, 2 * MemoryGate::kStretch);
  EXPECT_TRUE(gate.open()) << "all five may";
  EXPECT_EQ(gate.next_raise(), kNever);
}

TEST(MemoryGate, AddsAllThatIsDueWhereNobodyHasLookedForLong) {
  MemoryGate gate;
  gate.killed(8, 1, seconds(0));
  gate.tick(8, 3 * MemoryGate::kStretch);
  EXPECT_EQ(gate.allowed(), 7U);
  gate.tick(8, seconds(3600));
  EXPECT_TRUE(gate.open());
}

TEST(MemoryGate, WaitsTwiceAsLongAfterARaiseThatKilled) {
  MemoryGate gate;
  gate.killed(2, 1, seconds(0));
  Nanos stretch = MemoryGate::kStretch;
  Time now{0};
  for (int i = 0; i < 10; ++i) {
    now += stretch;
    gate.tick(2, now - Nanos(1));
    ASSERT_FALSE(gate.open()) << i;
    gate.tick(2, now);
    ASSERT_TRUE(gate.open()) << i;
    gate.killed(2, 1, now + Nanos(1));
    now += Nanos(1);
    stretch = std::min(2 * stretch, MemoryGate::kLongestStretch);
  }
  gate.tick(2, now + stretch);
  ASSERT_TRUE(gate.open());
  gate.killed(2, 1, now + 3 * stretch);  // long after: another story
  EXPECT_EQ(gate.next_raise(), now + 3 * stretch + MemoryGate::kStretch);
}

SchedulerConfig gated(std::uint32_t workers) {
  SchedulerConfig config = test::config(workers);
  config.memory_gate = true;
  return config;
}

Policies retrying() {
  Policies policies;
  policies.on_death = OnFailure::retry;
  return policies;
}

/// Two workers are in the first items of a job; the first of them dies, and a replacement is ready.
JobId one_of_two_dies(test::Pool& pool, std::uint64_t items, Cause cause) {
  pool.ready_all();
  const JobId job = pool.submit(items, 1, retrying());
  pool.begun[pool.sent(0).chunk] = pool.begun[pool.sent(1).chunk] = 1;
  pool.die(pool.sent(0).worker, {{pool.sent(0).chunk, 1}}, cause);
  pool.ready_all();
  return job;
}

/// Ticks when the scheduler asks for it, until it sends something.
void tick_until_it_sends(test::Pool& pool) {
  const std::size_t before = pool.sends();
  for (int i = 0; i < 1000 && pool.sends() == before; ++i) {
    ASSERT_NE(pool.scheduler.next_deadline(), kNever) << "somebody must wake up for it";
    pool.tick(std::max(pool.scheduler.next_deadline(), pool.now + Nanos(1)));
  }
  ASSERT_GT(pool.sends(), before);
}

/// All that each worker was last sent has begun, item 0 of it.
std::uint64_t at_work(const test::Pool& pool, std::size_t from) { return pool.sends() - from; }

TEST(MemoryGateScheduler, GivesWorkToHalfOfThemAfterAKill) {
  test::Pool pool(gated(4));
  pool.ready_all();
  pool.submit(8, 1, retrying());
  ASSERT_GE(pool.sends(), 4U);
  // What was sent ahead has not begun, and comes back.
  for (std::size_t i = 0; i < 4; ++i) pool.begun[pool.sent(i).chunk] = 1;
  const std::size_t before = pool.sends();
  const Action victim = pool.sent(0);
  pool.die(victim.worker, {{victim.chunk, 1}}, Cause::oom_killed);
  pool.ready_all();
  EXPECT_EQ(at_work(pool, before), 0U) << "three are still at it, two may";
  pool.finish(pool.sent(1), 0);
  EXPECT_EQ(at_work(pool, before), 0U);
  pool.finish(pool.sent(2), 0);
  ASSERT_EQ(at_work(pool, before), 1U);
  EXPECT_EQ(pool.sent(before).first, victim.first) << "the lowest first: the one that was lost";
}

TEST(MemoryGateScheduler, OtherDeathsShutNothing) {
  test::Pool pool(gated(2));
  one_of_two_dies(pool, 2, Cause::killed_by_unknown);
  EXPECT_EQ(pool.sent(pool.sends() - 1).worker, pool.of(Kind::start_worker).back().worker) << "the replacement has it already";
}

// Every pair of items kills one of the two: one after the other they are all done, without a further kill.
TEST(MemoryGateScheduler, CompletesAMapWhoseItemsFitOneAtATime) {
  test::Pool pool(gated(2));
  const JobId job = one_of_two_dies(pool, 6, Cause::oom_killed);
  std::size_t next = pool.sends();
  pool.finish(pool.sent(1), 0);
  for (; pool.scheduler.unsettled(job) != 1; ++next) {
    ASSERT_EQ(pool.sends(), next + 1) << "one at a time";
    pool.finish(pool.sent(next), 0);
  }
  pool.finish(pool.sent(next), 0);
  EXPECT_EQ(pool.scheduler.unsettled(job), 0U);
  EXPECT_EQ(pool.scheduler.counters().retries, 1U);
}

TEST(MemoryGateScheduler, GoesOnBesideAWorkerThatIsStuck) {
  test::Pool pool(gated(2));
  one_of_two_dies(pool, 4, Cause::oom_killed);
  ASSERT_NO_FATAL_FAILURE(tick_until_it_sends(pool));
  EXPECT_LE(pool.now, seconds(1) + MemoryGate::kStretch + seconds(1));
}

/// Two of four work after a kill, one of them in item `begun` - 1 of the last chunk; the ticks that the scheduler asks for bring its rest to another worker.
void expect_the_rest_is_taken_from(std::uint32_t begun) {
  test::Pool pool(gated(4));
  pool.ready_all();
  pool.submit(4, 1, retrying());
  for (std::size_t i = 0; i < 4; ++i) pool.begun[pool.sent(i).chunk] = 1;
  pool.die(pool.sent(0).worker, {{pool.sent(0).chunk, 1}}, Cause::oom_killed);
  pool.ready_all();
  for (std::size_t i = 1; i < pool.sends(); ++i) pool.finish(pool.sent(i), 0);  // with the lost one, which is run again
  pool.submit(2, 2);
  const Action stuck = pool.sent(pool.sends() - 1);
  ASSERT_EQ(stuck.count, 2U);
  pool.begun[stuck.chunk] = begun;
  const std::size_t before = pool.sends();
  ASSERT_NO_FATAL_FAILURE(tick_until_it_sends(pool));
  EXPECT_NE(pool.sent(before).worker, stuck.worker);
  EXPECT_EQ(pool.sent(before).first, begun);
}

TEST(MemoryGateScheduler, TakesTheRestFromBehindALongItem) { expect_the_rest_is_taken_from(1); }
TEST(MemoryGateScheduler, TakesAllFromAWorkerThatDoesNotBegin) { expect_the_rest_is_taken_from(0); }

TEST(MemoryGateScheduler, TheDeathOfAWorkerWithoutWorkShutsNothing) {
  test::Pool pool(gated(2));
  pool.ready_all();
  pool.die(pool.of(Kind::start_worker)[0].worker, {}, Cause::oom_killed);
  pool.ready_all();
  pool.submit(2, 1);
  EXPECT_EQ(pool.sends(), 2U);
}

TEST(MemoryGateScheduler, AnIdlePoolIsNotWokenForIt) {
  test::Pool pool(gated(2));
  pool.ready_all();
  pool.submit(2, 1);
  pool.begun[pool.sent(0).chunk] = pool.begun[pool.sent(1).chunk] = 1;
  pool.die(pool.sent(0).worker, {{pool.sent(0).chunk, 1}}, Cause::oom_killed);
  pool.ready_all();
  pool.finish(pool.sent(1), 0);
  if (pool.scheduler.next_deadline() != kNever) pool.tick(pool.scheduler.next_deadline());
  EXPECT_EQ(pool.scheduler.next_deadline(), kNever);
}

}  // namespace
}  // namespace holdfast::core
