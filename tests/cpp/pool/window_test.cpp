// The window of a lazy job: as wide as it was made, wider only where everybody waits for it and little is held (P9).
#include "pool/window.hpp"

#include <gtest/gtest.h>

#include <limits>

namespace holdfast::pool {
namespace {

TEST(Window, StaysAsItIsWhileNobodyStarves) {
  Window window(8, 256, 1);
  window.widen_if_starving();
  EXPECT_EQ(window.size(), 8U);
  EXPECT_EQ(window.worth_feeding(), 4U);
}

/// All three wait for the window.
void starve(Window& window) {
  window.blocks();
  window.starves();
}

TEST(Window, AWaitForTheInputIsNotItsFault) {
  Window window(8, 256, 1);
  window.starves();  // the feeder has not waited
  window.widen_if_starving();
  EXPECT_EQ(window.size(), 8U);
}

TEST(Window, DoublesOncePerFeedingUpToItsLimit) {
  Window window(8, 50, 1);
  starve(window);
  starve(window);
  window.widen_if_starving();
  EXPECT_EQ(window.size(), 16U);
  window.starves();  // the feeder has not waited since
  window.widen_if_starving();
  EXPECT_EQ(window.size(), 16U);
  for (const std::uint64_t size : {32U, 50U, 50U}) {
    starve(window);
    window.widen_if_starving();
    EXPECT_EQ(window.size(), size);
  }
}

TEST(Window, WithoutAWiderLimitItIsTheUsers) {
  Window window(3, 0, 1);
  starve(window);
  window.widen_if_starving();
  EXPECT_EQ(window.size(), 3U);
}

TEST(Window, LargeItemsKeepItSmall) {
  Window window(8, 1024, 1);
  window.saw(Window::kBytes / 20);
  for (int i = 0; i < 5; ++i) {
    starve(window);
    window.widen_if_starving();
  }
  EXPECT_EQ(window.size(), 20U);
}

TEST(Window, ALargeItemMakesItSmallAgainButNeverSmallerThanItWas) {
  Window window(8, 1024, 1);
  for (int i = 0; i < 5; ++i) {
    starve(window);
    window.widen_if_starving();
  }
  EXPECT_EQ(window.size(), 256U);
  window.saw(Window::kBytes / 100);
  EXPECT_EQ(window.size(), 100U);
  window.saw(1);
  EXPECT_EQ(window.size(), 100U);
  window.saw(std::numeric_limits<std::size_t>::max());
  EXPECT_EQ(window.size(), 8U);
}

TEST(Window, FeedsAtLeastAChunk) {
  EXPECT_EQ(Window(40, 0, 10).worth_feeding(), 20U);
  EXPECT_EQ(Window(40, 0, 30).worth_feeding(), 30U);
  EXPECT_EQ(Window(20, 0, 30).worth_feeding(), 20U) << "more than fits would never come";
}

TEST(Window, ImpossiblyWide) {
  constexpr std::uint64_t kMost = std::numeric_limits<std::uint64_t>::max();
  Window window(kMost - 1, kMost, 1);
  starve(window);
  window.widen_if_starving();
  EXPECT_EQ(window.size(), kMost - 1);
}

}  // namespace
}  // namespace holdfast::pool
