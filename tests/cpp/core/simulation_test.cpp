// Tests of the simulation: a million steps without a broken promise, in pieces so that they run in parallel; that the stories reach
// the corners; that it can fail, prints the seed and shrinks. (Deliberately broken schedulers: tools/mutants.py.)
#include "core/simulation.hpp"

#include <gtest/gtest.h>

namespace holdfast::core::simulation {
namespace {

class SimulationSteps : public ::testing::TestWithParam<std::uint64_t> {};

TEST_P(SimulationSteps, BreakNoPromise) {
  const Report report = simulate(GetParam(), 250'000);
  EXPECT_FALSE(report.failed) << "seed " << report.failed_seed << ": " << report.error << "\n"
                              << report.trace_events << " events:\n"
                              << report.trace;
  EXPECT_GE(report.steps, 250'000U);
}

INSTANTIATE_TEST_SUITE_P(Quarters, SimulationSteps, ::testing::Values(1, 100'000, 200'000, 300'000));

TEST(SimulationStories, ReachEveryKindOfOutcomeVerdictActionAndEnd) {
  const Report report = simulate(500'000, 100'000);
  ASSERT_FALSE(report.failed) << report.error;
  const auto at = [](const auto& counts, auto kind) { return counts[static_cast<std::size_t>(kind)]; };
  for (OutcomeKind kind : {OutcomeKind::died, OutcomeKind::timed_out, OutcomeKind::cancelled, OutcomeKind::skipped, OutcomeKind::aborted,
                           OutcomeKind::terminated}) {
    EXPECT_GT(at(report.seen.outcomes, kind), 10U) << "outcome " << static_cast<int>(kind);
  }
  for (Verdict verdict : {Verdict::settle, Verdict::settle_skipped, Verdict::retry, Verdict::ignore}) {
    EXPECT_GT(at(report.seen.verdicts, verdict), 10U) << "verdict " << static_cast<int>(verdict);
  }
  for (std::size_t kind = 0; kind < report.seen.actions.size(); ++kind) EXPECT_GT(report.seen.actions[kind], 10U) << "action " << kind;
  for (Scheduler::PoolState end :
       {Scheduler::PoolState::closed, Scheduler::PoolState::terminated, Scheduler::PoolState::aborted, Scheduler::PoolState::broken}) {
    EXPECT_GT(at(report.seen.ends, end), 10U) << "end " << static_cast<int>(end);
  }
  EXPECT_GT(report.seen.counters.taken_back, 1000U);
  EXPECT_GT(report.seen.counters.retries, 100U);
}

TEST(SimulationStories, AreTheSameForTheSameSeed) {
  for (std::uint64_t seed : {7U, 8U, 9U}) {
    std::uint64_t steps = 0;
    std::uint64_t again = 0;
    std::string log;
    std::string log_again;
    EXPECT_EQ(play(make_story(seed), steps, &log), play(make_story(seed), again, &log_again));
    EXPECT_EQ(steps, again);
    EXPECT_EQ(log, log_again);
    EXPECT_FALSE(log.empty());
  }
}

class SimulationSabotage : public ::testing::TestWithParam<Sabotage> {};

TEST_P(SimulationSabotage, IsFoundAndShrunkToAShortTrace) {
  const Report report = simulate(1, 1'000'000, GetParam());
  ASSERT_TRUE(report.failed) << "a broken world went unnoticed";
  EXPECT_FALSE(report.error.empty());
  EXPECT_LE(report.trace_events, 12U) << report.trace;
  EXPECT_NE(report.trace.find("submit"), std::string::npos) << report.trace;
  // The seed alone brings it back.
  std::uint64_t steps = 0;
  EXPECT_FALSE(play(make_story(report.failed_seed, GetParam()), steps).empty());
}

INSTANTIATE_TEST_SUITE_P(Kinds, SimulationSabotage,
                         ::testing::Values(Sabotage::drop_a_settle, Sabotage::hand_in_twice, Sabotage::forget_unbegun));

}  // namespace
}  // namespace holdfast::core::simulation
