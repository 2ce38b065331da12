// What: the fast clock agrees with the real one and never goes back, over many of its steps, awake and asleep.
#include "sys/fast_clock.hpp"

#include <gtest/gtest.h>
#include <thread>

namespace holdfast::sys::test {
namespace {

TEST(FastClock, NeverGoesBackAndStaysWithTheRealClock) {
  FastClock clock;
  const Time until = now() + 6 * FastClock::kStep;
  Time last{0};
  std::uint64_t looks = 0;
  std::uint64_t apart = 0;
  for (Time real = now(); real < until || looks <= 10'000; ++looks) {  // on a busy machine the steps may pass without us
    const Time fast = clock.now();
    const Time after = now();
    ASSERT_GE(fast, last);
    last = fast;
    // Between the two real readings, but for what the counter's speed is not known to. A reading that was interrupted says nothing.
    if (after - real < std::chrono::microseconds(5) &&
        (fast < real - std::chrono::microseconds(50) || fast > after + std::chrono::microseconds(50)))
      ++apart;
    real = after;
  }
  EXPECT_EQ(apart, 0U);
}

TEST(FastClock, IsRightAfterALongRest) {
  FastClock clock;
  for (int i = 0; i < 3; ++i) {
    (void)clock.now();
    std::this_thread::sleep_for(2 * FastClock::kStep);  // the point of the test: time passes and nobody asks
    const Time before = now();
    const Time fast = clock.now();
    EXPECT_GE(fast, before);
    EXPECT_LE(fast, now());
  }
}

}  // namespace
}  // namespace holdfast::sys::test
