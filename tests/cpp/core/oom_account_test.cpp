// Tests of core/oom_account: which deaths a rise of the kernel's oom_kill count belongs to.
#include "core/oom_account.hpp"

#include <array>

#include <gtest/gtest.h>

namespace holdfast::core {
namespace {

using std::chrono::seconds;

constexpr std::int64_t kMiB = 1 << 20;

OomAccount account_at(std::uint64_t count) {
  OomAccount account;
  account.write_off(count);
  return account;
}

TEST(OomAccount, ExplainsOneDeathForEachRise) {
  OomAccount account = account_at(7);
  account.look(8, seconds(1));
  EXPECT_TRUE(account.claim(kMiB, {}));
  account.look(8, seconds(2));
  EXPECT_FALSE(account.claim(kMiB, {}));
}

TEST(OomAccount, ExplainsNothingWithoutARise) {
  OomAccount account = account_at(7);
  account.look(7, seconds(1));
  EXPECT_FALSE(account.claim(1000 * kMiB, {}));
}

TEST(OomAccount, TakesTheFirstReadingAsTheStart) {
  OomAccount account;
  account.look(5, seconds(1));  // what came before nobody knows
  EXPECT_FALSE(account.claim(kMiB, {}));
  account.look(6, seconds(2));
  EXPECT_TRUE(account.claim(kMiB, {}));
}

TEST(OomAccount, ExplainsBothDeathsOfOneEventThatKilledTwo) {
  OomAccount account = account_at(0);
  account.look(2, seconds(1));
  const std::array<std::int64_t, 1> other{500 * kMiB};
  EXPECT_TRUE(account.claim(kMiB, other));
  EXPECT_TRUE(account.claim(500 * kMiB, {}));
}

// In whichever order the two are looked at, the answer is the same.
TEST(OomAccount, GivesTheOnlyRiseToTheLargestOfThoseThatDied) {
  OomAccount small_first = account_at(0);
  small_first.look(1, seconds(1));
  const std::array<std::int64_t, 1> large{500 * kMiB};
  EXPECT_FALSE(small_first.claim(kMiB, large));
  EXPECT_TRUE(small_first.claim(500 * kMiB, {}));

  OomAccount large_first = account_at(0);
  large_first.look(1, seconds(1));
  const std::array<std::int64_t, 1> small{kMiB};
  EXPECT_TRUE(large_first.claim(500 * kMiB, small));
  EXPECT_FALSE(large_first.claim(kMiB, {}));
}

TEST(OomAccount, PutsOneWithoutAReadingBehindAllOthers) {
  OomAccount account = account_at(0);
  account.look(1, seconds(1));
  const std::array<std::int64_t, 1> other{kMiB};
  EXPECT_FALSE(account.claim(/*memory=*/-1, other));
  EXPECT_TRUE(account.claim(kMiB, {}));
}

TEST(OomAccount, OfTwoEqualOnesExplainsOne) {
  OomAccount account = account_at(0);
  account.look(1, seconds(1));
  const std::array<std::int64_t, 1> twin{kMiB};
  EXPECT_TRUE(account.claim(kMiB, twin));
  EXPECT_FALSE(account.claim(kMiB, {}));
}

TEST(OomAccount, ForgetsARiseThatNobodyHasDiedOf) {
  OomAccount account = account_at(0);
  account.look(1, seconds(1));  // a process beside the pool
  account.look(1, seconds(1) + OomAccount::kClaimWithin);
  EXPECT_EQ(account.unclaimed(), 1U);
  account.look(1, seconds(2) + OomAccount::kClaimWithin);
  EXPECT_EQ(account.unclaimed(), 0U);
  EXPECT_FALSE(account.claim(kMiB, {}));
}

TEST(OomAccount, KeepsARiseForAnEndThatTakesLong) {
  OomAccount account = account_at(0);
  account.look(1, seconds(1));
  account.look(1, seconds(25));  // the kernel gives back 300 GB
  EXPECT_TRUE(account.claim(kMiB, {}));
}

TEST(OomAccount, WritesOffWhatRoseWhileThePoolHadNothingToDo) {
  OomAccount account = account_at(0);
  account.look(1, seconds(1));
  account.write_off(3);
  account.look(3, seconds(2));
  EXPECT_FALSE(account.claim(kMiB, {}));
  account.look(4, seconds(3));
  EXPECT_TRUE(account.claim(kMiB, {}));
}

TEST(OomAccount, KeepsWhatItKnowsWhenTheCounterCannotBeRead) {
  OomAccount account = account_at(2);
  account.look(3, seconds(1));
  account.look(std::nullopt, seconds(2));
  EXPECT_TRUE(account.claim(kMiB, {}));
  account.write_off(std::nullopt);
  account.look(4, seconds(3));
  EXPECT_TRUE(account.claim(kMiB, {}));
}

TEST(OomAccount, StartsAnewWithACounterThatFell) {
  OomAccount account = account_at(100);
  account.look(3, seconds(1));  // the cgroup was made anew under the same name
  EXPECT_FALSE(account.claim(kMiB, {}));
  account.look(4, seconds(2));
  EXPECT_TRUE(account.claim(kMiB, {}));
}

TEST(OomAccount, HoldsFewRisesHoweverFarTheCounterJumps) {
  OomAccount account = account_at(0);
  account.look(~std::uint64_t{0}, seconds(1));
  EXPECT_LE(account.unclaimed(), 4096U);
}

}  // namespace
}  // namespace holdfast::core
