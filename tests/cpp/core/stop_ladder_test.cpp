// Tests of core/stop_ladder: order and times of the steps, every event in every state, the clock that stood still.
#include "core/stop_ladder.hpp"

#include <functional>
#include <vector>

#include <gtest/gtest.h>

namespace holdfast::core {
namespace {

using namespace std::chrono_literals;

constexpr Time kStart = 100s;
constexpr StopSteps kNone{};

TEST(StopLadderOrder, TerminateAsksAndSendsSigtermThenKillsAtGraceThenAbandons) {
  StopLadder ladder(kStart, 5s, StopReason::terminate);
  EXPECT_EQ(ladder.deadline(), kNever);
  EXPECT_EQ(ladder.begin(kStart), (StopSteps{.ask = true, .sigterm = true}));
  EXPECT_EQ(ladder.deadline(), kStart + 5s);
  EXPECT_EQ(ladder.advance(kStart + 5s - 1ns), kNone);
  EXPECT_EQ(ladder.advance(kStart + 5s), (StopSteps{.sigkill = true}));
  EXPECT_EQ(ladder.deadline(), kStart + 7s);
  EXPECT_EQ(ladder.advance(kStart + 7s), (StopSteps{.abandon = true}));
  EXPECT_TRUE(ladder.over());
  EXPECT_EQ(ladder.deadline(), kNever);
  EXPECT_EQ(ladder.advance(kStart + 99s), kNone);
}

TEST(StopLadderOrder, CtrlCGivesSigintAHeadStart) {
  StopLadder ladder(kStart, 5s, StopReason::interrupt);
  EXPECT_EQ(ladder.begin(kStart), (StopSteps{.ask = true, .sigint = true}));
  EXPECT_EQ(ladder.deadline(), kStart + 1s);
  EXPECT_EQ(ladder.advance(kStart + 1s), (StopSteps{.sigterm = true}));
  EXPECT_EQ(ladder.advance(kStart + 5s), (StopSteps{.sigkill = true}));
  StopLadder brief(kStart, 1s, StopReason::interrupt);
  (void)brief.begin(kStart);
  EXPECT_EQ(brief.deadline(), kStart + 250ms);
}

TEST(StopLadderOrder, WithoutGraceKillsAtOnce) {
  for (Nanos grace : {0ns, -3s + 0ns}) {
    for (StopReason reason : {StopReason::terminate, StopReason::interrupt}) {
      StopLadder ladder(kStart, grace, reason);
      EXPECT_EQ(ladder.begin(kStart), (StopSteps{.ask = true, .sigkill = true}));
      EXPECT_EQ(ladder.deadline(), kStart + kAbandonAfter);
    }
  }
}

TEST(StopLadderOrder, SecondCtrlCKillsFromAnyRungAndOnce) {
  StopLadder ladder(kStart, 5s, StopReason::interrupt);
  (void)ladder.begin(kStart);
  EXPECT_EQ(ladder.kill_now(kStart + 10ms), (StopSteps{.sigkill = true}));
  EXPECT_EQ(ladder.kill_now(kStart + 20ms), kNone);
  EXPECT_EQ(ladder.deadline(), kStart + 10ms + kAbandonAfter);
}

TEST(StopLadderOrder, AnotherTerminateShortensTheGraceAndNeverLengthensIt) {
  StopLadder ladder(kStart, 60s, StopReason::terminate);
  (void)ladder.begin(kStart);
  EXPECT_EQ(ladder.shorten(kStart + 1s, 2s), kNone);
  EXPECT_EQ(ladder.deadline(), kStart + 3s);
  EXPECT_EQ(ladder.shorten(kStart + 1s, 30s), kNone);
  EXPECT_EQ(ladder.shorten(kStart + 1s, Nanos::max()), kNone);
  EXPECT_EQ(ladder.deadline(), kStart + 3s);
  EXPECT_EQ(ladder.advance(kStart + 3s), (StopSteps{.sigkill = true}));
  EXPECT_EQ(ladder.shorten(kStart + 4s, 0s), kNone);
  EXPECT_EQ(ladder.deadline(), kStart + 3s + kAbandonAfter);
}

TEST(StopLadderOrder, AnotherTerminateWithoutGraceKillsAtOnce) {
  StopLadder ladder(kStart, Nanos::max(), StopReason::terminate);
  (void)ladder.begin(kStart);
  EXPECT_EQ(ladder.deadline(), kNever);
  EXPECT_EQ(ladder.shorten(kStart + 1s, 0s), (StopSteps{.sigkill = true}));
}

TEST(StopLadderOrder, AShortGraceAfterACtrlCShortensTheHeadStart) {
  StopLadder ladder(kStart, 60s, StopReason::interrupt);
  (void)ladder.begin(kStart);
  EXPECT_EQ(ladder.shorten(kStart + 100ms, 300ms), (StopSteps{.sigterm = true})) << "a quarter of 400 ms is over";
  EXPECT_EQ(ladder.deadline(), kStart + 400ms);
}

TEST(StopLadderOrder, ALateSupervisorTakesAllOverdueStepsAndStillGivesTheKillItsTime) {
  StopLadder ladder(kStart, 5s, StopReason::interrupt);
  (void)ladder.begin(kStart);
  EXPECT_EQ(ladder.advance(kStart + 60s), (StopSteps{.sigterm = true, .sigkill = true}));
  EXPECT_EQ(ladder.deadline(), kStart + 60s + kAbandonAfter);
}

TEST(StopLadderOrder, EndlessGraceNeverKillsByItself) {
  StopLadder ladder(kStart, Nanos::max(), StopReason::terminate);
  (void)ladder.begin(kStart);
  EXPECT_EQ(ladder.deadline(), kNever);
  EXPECT_EQ(ladder.kill_now(kStart), (StopSteps{.sigkill = true}));
}

// Each event in each state that can be reached: never a step back, never a step after the end, `gone` always ends it.
TEST(StopLadderTable, EveryEventInEveryState) {
  using Put = std::function<void(StopLadder&)>;
  const std::vector<std::pair<StopState, Put>> states{
      {StopState::idle, [](StopLadder&) {}},
      {StopState::interrupted, [](StopLadder& l) { (void)l.begin(kStart); }},
      {StopState::terminating, [](StopLadder& l) { (void)l.begin(kStart), (void)l.advance(kStart + 1s); }},
      {StopState::killed, [](StopLadder& l) { (void)l.kill_now(kStart); }},
      {StopState::abandoned, [](StopLadder& l) { (void)l.kill_now(kStart), (void)l.advance(kStart + 60s); }},
      {StopState::gone, [](StopLadder& l) { l.gone(); }},
  };
  ASSERT_EQ(states.size(), static_cast<std::size_t>(kStopStates));
  for (const auto& [state, put] : states) {
    const auto fresh = [&put = put] {
      StopLadder ladder(kStart, 5s, StopReason::interrupt);
      put(ladder);
      return ladder;
    };
    ASSERT_EQ(fresh().state(), state);
    StopLadder again = fresh();
    EXPECT_EQ(again.begin(kStart).any(), state == StopState::idle);
    StopLadder later = fresh();
    const StopSteps due = later.advance(later.deadline() == kNever ? kStart + 1h : later.deadline());
    EXPECT_EQ(due.any(), state == StopState::interrupted || state == StopState::terminating || state == StopState::killed);
    EXPECT_GE(later.state(), state);
    StopLadder impatient = fresh();
    EXPECT_EQ(impatient.kill_now(kStart).sigkill, state < StopState::killed);
    StopLadder ended = fresh();
    ended.gone();
    EXPECT_EQ(ended.state(), StopState::gone);
    EXPECT_FALSE(ended.advance(kStart + 1h).any() || ended.kill_now(kStart).any() || ended.begin(kStart).any());
  }
}

}  // namespace
}  // namespace holdfast::core
