// Tests of base/result.hpp, check.hpp and scope_exit.hpp.
#include "base/result.hpp"

#include <cerrno>
#include <memory>

#include <gtest/gtest.h>

#include "base/check.hpp"
#include "base/scope_exit.hpp"

namespace holdfast {
namespace {

Result<std::unique_ptr<int>> half(int number) {
  if (number % 2 != 0) return Error{ErrorCode::invalid_argument, 0, "half", "odd"};
  return std::make_unique<int>(number / 2);
}

TEST(Result, HoldsAMoveOnlyValue) {
  auto result = half(8);
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(**result, 4);
  const std::unique_ptr<int> taken = std::move(result).value();
  EXPECT_EQ(*taken, 4);
}

TEST(Result, HoldsAnError) {
  const auto result = half(7);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, ErrorCode::invalid_argument);
  EXPECT_STREQ(result.error().operation, "half");
}

TEST(ResultDeathTest, EndsTheProcessWhenAskedForTheValueOfAFailure) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const auto result = half(7);
  EXPECT_DEATH((void)result.value(), "holdfast: check failed");
}

TEST(ErrorMessage, SaysOperationErrnoAndDetail) {
  const Error error{ErrorCode::exhausted, EMFILE, "memfd_create", "worker 3"};
  EXPECT_EQ(error.message(), "memfd_create: Too many open files (worker 3)");
}

TEST(ErrorMessage, SaysTheCodeWhenThereIsNoErrno) {
  const Error error{ErrorCode::protocol_error, 0, "ring.decode", ""};
  EXPECT_EQ(error.message(), "ring.decode: protocol error");
}

TEST(CheckDeathTest, NamesTheConditionAndThePlace) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const int answer = 41;
  EXPECT_DEATH(HF_CHECK(answer == 42), "holdfast: check failed: answer == 42 \\(.*result_test\\.cpp:[0-9]+\\)");
}

TEST(ScopeExit, RunsOnceAtTheEndUnlessReleased) {
  int runs = 0;
  {
    const ScopeExit guard([&runs] { ++runs; });
    EXPECT_EQ(runs, 0);
  }
  EXPECT_EQ(runs, 1);
  {
    ScopeExit guard([&runs] { ++runs; });
    guard.release();
  }
  EXPECT_EQ(runs, 1);
}

}  // namespace
}  // namespace holdfast
