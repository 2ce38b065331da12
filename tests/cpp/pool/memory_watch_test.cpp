// Tests of the workers' memory as the C++ Pool sees it: its limits, its readings, and what is refused. Real kills by the kernel, which need a
// cgroup, are in tests/python/test_oom.py; the rule behind them in core/oom_account_test.cpp.
#include <cstddef>
#include <cstdlib>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <unistd.h>

#include "pool/bytes.hpp"
#include "pool/fake_zygote.hpp"

namespace holdfast {
namespace {

using test::bytes_of;
using test::value_of;

constexpr std::int64_t kMiB = 1 << 20;

/// Takes so many MiB; with a negative number it keeps them and waits to be killed.
Bytes take(std::span<const std::byte> item) {
  const std::int64_t mib = value_of(item);
  const std::vector<char> block(static_cast<std::size_t>(std::abs(mib) * kMiB), 'x');
  while (mib < 0) ::pause();
  return bytes_of(block.back() == 'x' ? mib : 0);
}

PoolOptions with(std::int64_t memory_limit, std::int64_t max_memory_per_worker = 0) {
  PoolOptions options;
  options.workers = 2;
  options.memory_limit = memory_limit;
  options.max_memory_per_worker = max_memory_per_worker;
  return options;
}

TEST(PoolMemory, AnItemOverTheLimitIsKilledAndNoOther) {
  auto pool = Pool::open(take, with(64 * kMiB));
  ASSERT_TRUE(pool.ok());
  auto job = pool->map(std::vector<Bytes>{bytes_of(1), bytes_of(-100), bytes_of(2)}, {.chunk_size = 1, .policies = {}});
  ASSERT_TRUE(job.ok());
  const auto outcomes = job->get();
  ASSERT_EQ(outcomes.size(), 3U);
  EXPECT_EQ(outcomes[0].kind, OutcomeKind::done);
  EXPECT_EQ(outcomes[1].kind, OutcomeKind::died);
  EXPECT_EQ(outcomes[1].report->cause, Cause::memory_limit);
  EXPECT_GT(outcomes[1].report->peak_memory_bytes, 64 * kMiB);
  EXPECT_NE(outcomes[1].report->detail.find("memory_limit is 64.0 MiB"), std::string::npos) << outcomes[1].report->detail;
  EXPECT_EQ(outcomes[2].kind, OutcomeKind::done);
}

// A worker's hello and ready travel on its own line, the pid on the zygote's: either may be first.
class WorkerAheadOfItsZygote : public pool::test::FakeZygote {
 protected:
  WorkerAheadOfItsZygote() { tells_pid_at_once_ = false; }
};

TEST_F(WorkerAheadOfItsZygote, IsWatchedToo) {
  enrol();
  tell_pid();
  pool::JobRequest request;
  auto function = engine_->intern_function({});
  ASSERT_TRUE(function.ok());
  request.function = *function;
  const std::byte item{7};
  request.items.add({&item, 1});
  ASSERT_TRUE(engine_->submit(std::move(request)).ok());
  while (engine_->worker_info(worker_)->memory_bytes < 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
}

TEST(PoolMemory, NothingIsReadBeforeAnythingRuns) {
  auto pool = Pool::open(take, with(0));
  ASSERT_TRUE(pool.ok());
  EXPECT_EQ(pool->workers().at(0).memory_bytes, -1);
}

TEST(PoolMemory, LimitsThatMakeNoSenseAreRefusedByName) {
  const auto refused = [](PoolOptions options) {
    auto pool = Pool::open(take, std::move(options));
    return pool.ok() ? std::string() : pool.error().message();
  };
  EXPECT_NE(refused(with(-1)).find("options.memory_limit"), std::string::npos);
  EXPECT_NE(refused(with(0, -1)).find("options.max_memory_per_worker"), std::string::npos);
  EXPECT_NE(refused(with(kMiB, kMiB)).find("options.max_memory_per_worker"), std::string::npos);
}

}  // namespace
}  // namespace holdfast
