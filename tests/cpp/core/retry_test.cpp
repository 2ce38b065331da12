// Tests of core/retry: every cell of the policy table, and the backoff's limits for sensible and senseless numbers.
#include "core/retry.hpp"

#include <limits>

#include <gtest/gtest.h>

namespace holdfast::core {
namespace {

using namespace std::chrono_literals;

constexpr OnFailure kAll[] = {OnFailure::raise, OnFailure::skip, OnFailure::retry, OnFailure::abort};

Policies with(FailureKind failure, OnFailure policy) {
  Policies policies;
  (failure == FailureKind::died ? policies.on_death : failure == FailureKind::raised ? policies.on_error : policies.on_timeout) = policy;
  return policies;
}

TEST(RetryDecide, EveryCellOfFailurePolicyRunsAndThen) {
  for (FailureKind failure : {FailureKind::died, FailureKind::raised, FailureKind::timed_out}) {
    for (OnFailure policy : kAll) {
      for (OnFailure then : kAll) {
        Policies policies = with(failure, policy);
        policies.retry.max_retries = 2;
        policies.retry.then = then;
        for (std::uint32_t runs = 1; runs <= 4; ++runs) {
          Fate want = static_cast<Fate>(policy);  // same order of names
          if (policy == OnFailure::retry && runs > 2) want = then == OnFailure::retry ? Fate::raise : static_cast<Fate>(then);
          EXPECT_EQ(decide(failure, policies, runs), want)
              << static_cast<int>(policy) << " then " << static_cast<int>(then) << " runs " << runs;
        }
      }
    }
  }
}

TEST(RetryDecide, LooksOnlyAtThePolicyOfItsOwnKindOfFailure) {
  Policies policies;
  policies.on_death = OnFailure::skip;
  policies.on_error = OnFailure::abort;
  policies.on_timeout = OnFailure::raise;
  EXPECT_EQ(decide(FailureKind::died, policies, 1), Fate::skip);
  EXPECT_EQ(decide(FailureKind::raised, policies, 1), Fate::abort);
  EXPECT_EQ(decide(FailureKind::timed_out, policies, 1), Fate::raise);
}

TEST(RetryDecide, RunsAgainOnlyWhatItsCausesName) {
  Policies policies = with(FailureKind::died, OnFailure::retry);
  policies.on_error = policies.on_timeout = OnFailure::retry;
  policies.retry.then = OnFailure::skip;
  policies.retry.on = Retry::bit(Cause::oom_killed) | Retry::bit(Cause::none);
  EXPECT_EQ(decide(FailureKind::died, policies, 1, Cause::oom_killed), Fate::retry);
  EXPECT_EQ(decide(FailureKind::died, policies, 1, Cause::signal), Fate::skip);
  EXPECT_EQ(decide(FailureKind::timed_out, policies, 1, Cause::time_limit), Fate::skip);
  EXPECT_EQ(decide(FailureKind::raised, policies, 1), Fate::retry);
  policies.retry.on = Retry::bit(Cause::time_limit);
  EXPECT_EQ(decide(FailureKind::raised, policies, 1), Fate::skip);
  EXPECT_EQ(decide(FailureKind::timed_out, policies, 1, Cause::time_limit), Fate::retry);
  policies.on_error = OnFailure::abort;  // `on` is about retries only
  EXPECT_EQ(decide(FailureKind::raised, policies, 1), Fate::abort);
}

TEST(RetryDecide, NoRetryBeginsAfterTheDeadline) {
  Policies policies = with(FailureKind::died, OnFailure::retry);
  policies.retry.max_retries = 10;
  policies.retry.deadline = 100ms;
  EXPECT_EQ(decide(FailureKind::died, policies, 1, Cause::signal, 0ms), Fate::retry);
  EXPECT_EQ(decide(FailureKind::died, policies, 2, Cause::signal, 99ms), Fate::retry);
  EXPECT_EQ(decide(FailureKind::died, policies, 2, Cause::signal, 100ms), Fate::raise);
  policies.retry.backoff_initial = 30ms;  // 30, 60, 120
  EXPECT_EQ(decide(FailureKind::died, policies, 1, Cause::signal, 69ms), Fate::retry);
  EXPECT_EQ(decide(FailureKind::died, policies, 1, Cause::signal, 70ms), Fate::raise);
  EXPECT_EQ(decide(FailureKind::died, policies, 3, Cause::signal, 0ms), Fate::raise);
  policies.retry.backoff_initial = policies.retry.backoff_max = Nanos::max();  // nothing overflows
  EXPECT_EQ(decide(FailureKind::died, policies, 1, Cause::signal, 99ms), Fate::raise);
}

TEST(RetryDecide, WithoutRetriesTheFirstFailureIsTheLast) {
  Policies policies = with(FailureKind::died, OnFailure::retry);
  policies.retry.max_retries = 0;
  EXPECT_EQ(decide(FailureKind::died, policies, 1), Fate::raise);
}

TEST(RetryBackoff, DoublesUpToItsMaximum) {
  Retry retry;
  retry.backoff_initial = 10ms;
  retry.backoff_max = 50ms;
  retry.jitter = 0;
  EXPECT_EQ(backoff(retry, 1, 7), 10ms);
  EXPECT_EQ(backoff(retry, 2, 7), 20ms);
  EXPECT_EQ(backoff(retry, 3, 7), 40ms);
  EXPECT_EQ(backoff(retry, 4, 7), 50ms);
  EXPECT_EQ(backoff(retry, 4'000'000'000U, 7), 50ms);
}

TEST(RetryBackoff, JitterStaysWithinItsShareAndUsesAllOfIt) {
  Retry retry;
  retry.backoff_initial = 100ms;
  retry.jitter = 0.25;
  std::uint64_t random = 1;
  Nanos least = Nanos::max();
  Nanos most{0};
  for (int i = 0; i < 10'000; ++i) {
    const Nanos wait = backoff(retry, 1, next_random(random));
    least = std::min(least, wait);
    most = std::max(most, wait);
  }
  EXPECT_GE(least, 75ms);
  EXPECT_LT(least, 76ms);
  EXPECT_LE(most, 125ms);
  EXPECT_GT(most, 124ms);
}

TEST(RetryBackoff, SurvivesSenselessNumbers) {
  Retry retry;
  retry.jitter = std::numeric_limits<double>::quiet_NaN();
  retry.backoff_factor = std::numeric_limits<double>::quiet_NaN();
  retry.backoff_initial = 5ms;
  EXPECT_EQ(backoff(retry, 3, ~0ULL), 5ms);
  retry.backoff_factor = std::numeric_limits<double>::infinity();
  retry.jitter = 99;
  EXPECT_GE(backoff(retry, 3, 0), 0ms);
  EXPECT_LE(backoff(retry, 3, ~0ULL), 60s);
  retry.backoff_initial = Nanos::max();
  retry.backoff_max = Nanos::max();
  EXPECT_GT(backoff(retry, 9, ~0ULL), 0ms);
  retry.backoff_initial = -5ms;
  EXPECT_EQ(backoff(retry, 1, 3), 0ms);
  retry.backoff_initial = 5ms;
  retry.backoff_max = -1ms;
  EXPECT_EQ(backoff(retry, 1, 3), 0ms);
  EXPECT_EQ(backoff(Retry{}, 0, 3), 0ms);
}

}  // namespace
}  // namespace holdfast::core
