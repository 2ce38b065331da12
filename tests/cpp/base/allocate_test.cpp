// Tests of base/allocate.hpp.
#include "base/allocate.hpp"

#include <gtest/gtest.h>

namespace holdfast {
namespace {

TEST(NextBlockSize, GrowsFromTheFirstOneToALimitAndFitsWhatItIsFor) {
  constexpr std::size_t kLimit = 256 * 1024;
  EXPECT_EQ(next_block_size(0, 64, 10), 64U);
  EXPECT_EQ(next_block_size(0, 64, 1000), 1000U);
  EXPECT_EQ(next_block_size(64, 64, 10), 256U);
  EXPECT_EQ(next_block_size(kLimit / 2, 64, 10), kLimit);
  EXPECT_EQ(next_block_size(kLimit, 64, 10), kLimit);
  EXPECT_EQ(next_block_size(8 * kLimit, 64, 10), kLimit);  // after one that was made for a large item
  EXPECT_EQ(next_block_size(kLimit, 64, 3 * kLimit), 3 * kLimit);
}

TEST(Allocate, GivesAllTheBytesAskedFor) {
  const auto small = allocate(16);
  const auto large = allocate(std::size_t{1} << 20);
  ASSERT_TRUE(small && large);
  large[(std::size_t{1} << 20) - 1] = std::byte{1};
}

}  // namespace
}  // namespace holdfast
