// Adaptive spinning: it looks where looking has paid, and soon stops looking where it has not.
#include "ring/spinner.hpp"

#include <gtest/gtest.h>

#include <vector>

namespace holdfast::ring {
namespace {

/// Whether this wait looked at all; it finds something at its `success`-th look (0: never).
bool looks(Spinner& spinner, int success, bool& found) {
  int count = 0;
  found = spinner.spin([&] { return ++count == success; });
  return count > 0;
}

/// How many waits are slept before the next one that looks (in vain).
int skipped(Spinner& spinner) {
  bool found = false;
  int waits = 0;
  while (!looks(spinner, 0, found)) ++waits;
  EXPECT_FALSE(found);
  return waits;
}

TEST(Spinner, FindsWhatComesWhileItLooks) {
  Spinner spinner(2);
  bool found = false;
  for (const int look : {1, 2, 20, 100}) {
    EXPECT_TRUE(looks(spinner, look, found));
    EXPECT_TRUE(found);
  }
}

TEST(Spinner, LooksForAMomentOnly) {
  Spinner spinner(2);
  const Time since = sys::now();
  bool found = true;
  EXPECT_TRUE(looks(spinner, 0, found));  // ends: that is the test
  EXPECT_FALSE(found);
  // Preempted it may end sooner, but never before it has looked for long enough to notice.
  EXPECT_GT(sys::now() - since, Nanos{0});
}

TEST(Spinner, IsRarerTheOftenerItWasInVain) {
  Spinner spinner(2);
  std::vector<int> waits;
  for (int i = 0; i < 9; ++i) waits.push_back(skipped(spinner));
  EXPECT_EQ(waits, (std::vector<int>{0, 1, 2, 4, 8, 16, 32, 64, 64}));
}

TEST(Spinner, ComesBackWhereItPays) {
  Spinner spinner(2);
  for (int i = 0; i < 8; ++i) (void)skipped(spinner);  // 64 to be skipped now
  bool found = false;
  for (int i = 0; i < 64; ++i) EXPECT_FALSE(looks(spinner, 1, found));
  for (int i = 0; i < 7; ++i) {
    EXPECT_TRUE(looks(spinner, 1, found)) << i;
    EXPECT_TRUE(found);
  }
  EXPECT_EQ(skipped(spinner), 0);
  EXPECT_EQ(skipped(spinner), 1) << "it has forgotten the bad times";
}

TEST(Spinner, OneProcessorIsTheOthers) {
  Spinner spinner(1);
  bool found = true;
  EXPECT_FALSE(looks(spinner, 1, found));
  EXPECT_FALSE(found);
}

}  // namespace
}  // namespace holdfast::ring
