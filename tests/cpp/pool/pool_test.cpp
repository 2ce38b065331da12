// What: the C++ Pool with real processes: results, deaths at each moment, policies, large payloads, the end. Each test runs under ctest's
// outer time limit: a hang is a failure.
#include <sys/resource.h>
#include <unistd.h>
#include <csignal>
#include <numeric>
#include <stdexcept>
#include <string>
#include <thread>

#include <gtest/gtest.h>

#include "pool/bytes.hpp"

namespace holdfast {
namespace {

using test::bytes_of;
using test::numbers;
using test::value_of;

Bytes square(std::span<const std::byte> item) { return bytes_of(value_of(item) * value_of(item)); }

Pool open_pool(Handler handler, PoolOptions options = {}) {
  if (options.workers == 0) options.workers = 2;
  auto pool = Pool::open(std::move(handler), std::move(options));
  if (!pool) {
    ADD_FAILURE() << pool.error().message();
    std::abort();
  }
  return *std::move(pool);
}

void expect_squares(const std::vector<Outcome>& outcomes, std::int64_t count, std::int64_t except = -1) {
  ASSERT_EQ(outcomes.size(), static_cast<std::size_t>(count));
  for (std::int64_t i = 0; i < count; ++i) {
    if (i == except) continue;
    ASSERT_EQ(outcomes[static_cast<std::size_t>(i)].kind, OutcomeKind::done) << "item " << i;
    ASSERT_EQ(value_of(outcomes[static_cast<std::size_t>(i)].value), i * i);
  }
}

TEST(Pool, MapsARangeInOrder) {
  Pool pool = open_pool(square);
  for (const std::uint64_t chunk : {0, 1, 3, 1000}) {
    auto job = pool.map(numbers(1000), {.chunk_size = chunk, .policies = {}});
    ASSERT_TRUE(job.ok());
    expect_squares(job->get(), 1000);
  }
}

TEST(Pool, MapsNothing) {
  Pool pool = open_pool(square);
  auto job = pool.map(std::vector<Bytes>{});
  ASSERT_TRUE(job.ok());
  EXPECT_TRUE(job->get().empty());
}

TEST(Pool, SubmitsOneByOne) {
  Pool pool = open_pool(square);
  for (std::int64_t i = 0; i < 200; ++i) {
    auto job = pool.submit(bytes_of(i));
    ASSERT_TRUE(job.ok());
    const auto outcomes = job->get();
    ASSERT_EQ(outcomes.size(), 1U);
    ASSERT_EQ(value_of(outcomes[0].value), i * i);
  }
}

TEST(Pool, ReadsOutcomesAsTheyCome) {
  Pool pool = open_pool(square);
  auto job = pool.map(numbers(100), {.chunk_size = 1, .policies = {}});
  for (std::int64_t i = 0; i < 100; ++i) {
    const auto outcome = job->next();
    ASSERT_TRUE(outcome.has_value());
    ASSERT_EQ(value_of(outcome->value), i * i);
  }
  EXPECT_FALSE(job->next().has_value());
}

TEST(Pool, AnExceptionIsTheOutcomeOfItsItemAlone) {
  Pool pool = open_pool([](std::span<const std::byte> item) {
    if (value_of(item) == 7) throw std::runtime_error("seven");
    return square(item);
  });
  const auto outcomes = pool.map(numbers(20))->get();
  expect_squares(outcomes, 20, 7);
  EXPECT_EQ(outcomes[7].kind, OutcomeKind::raised);
  EXPECT_EQ(outcomes[7].error, "seven");
}

struct Death {
  const char* name;
  void (*die)();
  Cause cause;
  int exit_code;
  int signal;
};

class PoolDeath : public testing::TestWithParam<Death> {};

TEST_P(PoolDeath, CostsOneItemAndSaysWhy) {
  const Death death = GetParam();
  Pool pool = open_pool([death](std::span<const std::byte> item) {
    if (value_of(item) == 13) death.die();
    return square(item);
  });
  for (const std::uint64_t chunk : {1, 5, 100}) {
    const auto outcomes = pool.map(numbers(100), {.chunk_size = chunk, .policies = {}})->get();
    expect_squares(outcomes, 100, 13);
    const Outcome& lost = outcomes[13];
    ASSERT_EQ(lost.kind, OutcomeKind::died);
    ASSERT_TRUE(lost.report.has_value());
    EXPECT_EQ(lost.report->cause, death.cause) << describe(*lost.report);
    EXPECT_EQ(lost.report->has_exit_code ? lost.report->exit_code : -1, death.exit_code);
    EXPECT_EQ(lost.report->signal, death.signal);
    EXPECT_EQ(lost.report->item, 13U);
    EXPECT_GT(lost.report->pid, 0);
  }
}

INSTANTIATE_TEST_SUITE_P(Causes, PoolDeath,
                         testing::Values(Death{"sigkill", [] { raise(SIGKILL); }, Cause::killed_by_unknown, -1, SIGKILL},
                                         Death{"sigterm", [] { raise(SIGTERM); }, Cause::killed_by_unknown, -1, SIGTERM},
                                         Death{"sigsegv",
                                               [] {
                                                 signal(SIGSEGV, SIG_DFL);
                                                 raise(SIGSEGV);
                                               },
                                               Cause::signal, -1, SIGSEGV},
                                         Death{"abort",
                                               [] {
                                                 signal(SIGABRT, SIG_DFL);
                                                 abort();
                                               },
                                               Cause::signal, -1, SIGABRT},
                                         Death{"exit_0", [] { _exit(0); }, Cause::exit_code, 0, 0},
                                         Death{"exit_3", [] { _exit(3); }, Cause::exit_code, 3, 0}),
                         [](const auto& death) { return death.param.name; });

TEST(Pool, RetriesAKilledItem) {
  // The first attempt leaves a mark on a shared page and dies; the second finds it.
  PoolOptions options;
  options.policies.on_death = OnFailure::retry;
  char path[] = "/tmp/holdfast_retry_XXXXXX";
  const int fd = mkstemp(path);
  ASSERT_GE(fd, 0);
  unlink(path);
  Pool pool = open_pool(
      [fd](std::span<const std::byte> item) {
        if (value_of(item) == 4) {
          char mark = 0;
          if (pread(fd, &mark, 1, 0) != 1) {
            (void)!pwrite(fd, "x", 1, 0);
            raise(SIGKILL);
          }
        }
        return square(item);
      },
      options);
  expect_squares(pool.map(numbers(10), {.chunk_size = 2, .policies = {}})->get(), 10);
  EXPECT_EQ(pool.stats().deaths, 1U);
  close(fd);
}

TEST(Pool, PoisonIsBoundedAndSkipped) {
  PoolOptions options;
  options.policies.on_death = OnFailure::retry;
  options.policies.retry.max_retries = 2;
  options.policies.retry.then = OnFailure::skip;
  Pool pool = open_pool(
      [](std::span<const std::byte> item) {
        if (value_of(item) == 4) raise(SIGKILL);
        return square(item);
      },
      options);
  const auto outcomes = pool.map(numbers(10))->get();
  expect_squares(outcomes, 10, 4);
  EXPECT_EQ(outcomes[4].kind, OutcomeKind::skipped);
  EXPECT_EQ(outcomes[4].failure, OutcomeKind::died);
  EXPECT_EQ(outcomes[4].attempts, 3U);
  EXPECT_EQ(pool.stats().deaths, 3U);
  const auto killed = pool.killed_items();
  ASSERT_EQ(killed.size(), 1U);
  EXPECT_EQ(value_of(killed[0].item), 4);
}

TEST(Pool, AbortsWhenToldTo) {
  PoolOptions options;
  options.policies.on_death = OnFailure::abort;
  options.grace = std::chrono::milliseconds(200);
  Pool pool = open_pool(
      [](std::span<const std::byte> item) {
        if (value_of(item) == 4) raise(SIGKILL);
        while (value_of(item) > 4) pause();  // the other worker is still at its item when the pool is aborted
        return square(item);
      },
      options);
  const auto outcomes = pool.map(numbers(1000), {.chunk_size = 1, .policies = {}})->get();
  EXPECT_EQ(outcomes.back().kind, OutcomeKind::aborted);
  EXPECT_TRUE(pool.join());
  EXPECT_FALSE(pool.submit(bytes_of(1)).ok());
}

TEST(Pool, KilledFromOutsideWhileIdleAndBusy) {
  Pool pool = open_pool(square);
  for (int round = 0; round < 5; ++round) {
    for (const WorkerView& worker : pool.workers()) {
      if (worker.alive) kill(worker.pid, SIGKILL);
    }
    // An idle worker's death costs nothing: no item was running.
    expect_squares(pool.map(numbers(50))->get(), 50);
  }
}

TEST(Pool, PayloadsOfAnySizeGoThereAndBack) {
  Pool pool = open_pool([](std::span<const std::byte> item) { return Bytes(item.rbegin(), item.rend()); });
  for (const std::size_t size : {0UL, 1UL, 1000UL, 32768UL, 32769UL, 100'000UL, 5'000'000UL, 70'000'000UL}) {
    Bytes item(size);
    for (std::size_t i = 0; i < size; ++i) item[i] = static_cast<std::byte>(i * 31 + size);
    const auto outcomes = pool.map(std::vector<Bytes>{item, item, item}, {.chunk_size = 1, .policies = {}})->get();
    ASSERT_EQ(outcomes.size(), 3U);
    for (const Outcome& outcome : outcomes) {
      ASSERT_EQ(outcome.kind, OutcomeKind::done) << size << ": " << outcome.error;
      ASSERT_TRUE(std::equal(item.rbegin(), item.rend(), outcome.value.begin(), outcome.value.end())) << size;
    }
  }
}

TEST(Pool, ManyLargeResultsMayLieUnread) {
  Pool pool = open_pool([](std::span<const std::byte> item) { return Bytes(200'000, static_cast<std::byte>(value_of(item))); });
  const auto outcomes = pool.map(numbers(300), {.chunk_size = 1, .policies = {}})->get();
  ASSERT_EQ(outcomes.size(), 300U);
  for (std::size_t i = 0; i < outcomes.size(); ++i) {
    ASSERT_EQ(outcomes[i].value.size(), 200'000U);
    ASSERT_EQ(outcomes[i].value[199'999], static_cast<std::byte>(i));
  }
}

/// Lowers the soft limit on descriptors while it lives.
class FewDescriptors {
 public:
  explicit FewDescriptors(rlim_t limit) {
    getrlimit(RLIMIT_NOFILE, &before_);
    rlimit lowered = before_;
    lowered.rlim_cur = limit;
    setrlimit(RLIMIT_NOFILE, &lowered);
  }
  ~FewDescriptors() { setrlimit(RLIMIT_NOFILE, &before_); }
  FewDescriptors(const FewDescriptors&) = delete;
  FewDescriptors& operator=(const FewDescriptors&) = delete;

 private:
  rlimit before_{};
};

TEST(Pool, ThousandsOfLargeArgumentsNeedFewDescriptors) {
  const FewDescriptors few(128);
  Pool pool = open_pool([](std::span<const std::byte> item) { return bytes_of(static_cast<std::int64_t>(item.size())); });
  for (const std::uint64_t chunk : {1, 50}) {
    std::vector<Bytes> items;
    for (std::size_t i = 0; i < 1000; ++i) items.emplace_back(40'000 + i);
    auto job = pool.map(items, {.chunk_size = chunk, .policies = {}});
    ASSERT_TRUE(job.ok()) << job.error().message();
    const auto outcomes = job->get();
    ASSERT_EQ(outcomes.size(), 1000U);
    for (std::size_t i = 0; i < outcomes.size(); ++i) {
      ASSERT_EQ(outcomes[i].kind, OutcomeKind::done) << outcomes[i].error;
      ASSERT_EQ(value_of(outcomes[i].value), static_cast<std::int64_t>(40'000 + i));
    }
  }
}

TEST(Pool, TerminateWakesWaitersAndEndsInTime) {
  PoolOptions options;
  options.grace = std::chrono::milliseconds(100);
  Pool pool = open_pool(
      [](std::span<const std::byte>) -> Bytes {
        signal(SIGTERM, SIG_IGN);
        for (;;) pause();
      },
      options);
  auto job = pool.map(numbers(4), {.chunk_size = 1, .policies = {}});
  std::thread waiter([&] {
    for (const Outcome& outcome : job->get()) EXPECT_EQ(outcome.kind, OutcomeKind::terminated);
  });
  pool.terminate();
  EXPECT_TRUE(pool.join());
  waiter.join();
  EXPECT_TRUE(pool.workers().empty());
}

TEST(Pool, CloseRunsWhatIsQueued) {
  Pool pool = open_pool(square);
  auto job = pool.map(numbers(500), {.chunk_size = 1, .policies = {}});
  pool.close();
  EXPECT_TRUE(pool.join());
  expect_squares(job->get(), 500);
  EXPECT_EQ(pool.submit(bytes_of(1)).error().code, ErrorCode::closed);
}

TEST(Pool, ReplacesWorkersAfterSoManyChunks) {
  PoolOptions options;
  options.max_chunks_per_worker = 3;
  Pool pool = open_pool([](std::span<const std::byte>) { return bytes_of(getpid()); }, options);
  std::map<std::int64_t, int> runs;
  for (const Outcome& outcome : pool.map(numbers(30), {.chunk_size = 1, .policies = {}})->get()) ++runs[value_of(outcome.value)];
  EXPECT_GE(runs.size(), 10U);
  for (const auto& [pid, count] : runs) EXPECT_LE(count, 3) << pid;
}

TEST(Pool, AFailingInitializerBreaksThePoolWithItsReason) {
  PoolOptions options;
  options.max_restarts = 2;
  options.initializer = [] { throw std::runtime_error("no database"); };
  Pool pool = open_pool(square, options);
  auto job = pool.map(numbers(4));
  if (job.ok()) {
    for (const Outcome& outcome : job->get()) EXPECT_EQ(outcome.kind, OutcomeKind::aborted);
  }
  const auto refused = pool.submit(bytes_of(1));
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, ErrorCode::broken);
  EXPECT_NE(refused.error().message().find("no database"), std::string::npos) << refused.error().message();
  pool.close();
  EXPECT_TRUE(pool.join());
}

TEST(Pool, TimeLimitKillsOneWorkerOnly) {
  PoolOptions options;
  options.policies.task_timeout = std::chrono::milliseconds(150);
  Pool pool = open_pool(
      [](std::span<const std::byte> item) -> Bytes {
        while (value_of(item) == 2) pause();
        return square(item);
      },
      options);
  const auto outcomes = pool.map(numbers(10), {.chunk_size = 5, .policies = {}})->get();
  expect_squares(outcomes, 10, 2);
  EXPECT_EQ(outcomes[2].kind, OutcomeKind::timed_out);
  EXPECT_EQ(outcomes[2].report->cause, Cause::time_limit);
}

TEST(Pool, RefusesASoftLimitWhichIsForPythonOnly) {
  PoolOptions options;
  options.policies.soft_timeout = std::chrono::seconds(1);
  const auto refused = Pool::open(square, options);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, ErrorCode::invalid_argument);
  EXPECT_NE(refused.error().message().find("options.policies.soft_timeout"), std::string::npos) << refused.error().message();
  Pool pool = open_pool(square);
  const auto job = pool.submit(bytes_of(1), {.chunk_size = 1, .policies = options.policies});
  ASSERT_FALSE(job.ok());
  EXPECT_EQ(job.error().code, ErrorCode::invalid_argument);
  options.policies.soft_timeout = std::chrono::nanoseconds{0};
  options.policies.task_timeout = std::chrono::nanoseconds{-1};
  EXPECT_FALSE(pool.submit(bytes_of(1), {.chunk_size = 1, .policies = options.policies}).ok());
}

TEST(Pool, CancelTakesBackWhatHasNotBegunAndKillsWhatRuns) {
  Pool pool = open_pool([](std::span<const std::byte>) -> Bytes {
    for (;;) pause();
  });
  auto job = pool.map(numbers(20), {.chunk_size = 2, .policies = {}});
  job->cancel(/*kill=*/true);
  for (const Outcome& outcome : job->get()) EXPECT_EQ(outcome.kind, OutcomeKind::cancelled);
}

TEST(Pool, SurvivesTheDeathOfItsZygote) {
  Pool pool = open_pool([](std::span<const std::byte>) { return bytes_of(getppid()); });
  const auto first = pool.map(numbers(1))->get();
  const auto zygote = static_cast<pid_t>(value_of(first[0].value));
  ASSERT_NE(zygote, getpid());
  kill(zygote, SIGKILL);
  for (int round = 0; round < 20; ++round) {
    for (const Outcome& outcome : pool.map(numbers(20), {.chunk_size = 1, .policies = {}})->get()) {
      ASSERT_EQ(outcome.kind, OutcomeKind::done) << (outcome.report ? describe(*outcome.report) : outcome.error);
    }
  }
}

// Forked by the restarter, a thread that blocks all signals.
TEST(Pool, WorkersOfAnotherZygoteHaveTheCallersSignalMask) {
  Pool pool = open_pool([](std::span<const std::byte>) {
    sigset_t mask;
    sigprocmask(SIG_BLOCK, nullptr, &mask);
    return bytes_of(sigismember(&mask, SIGTERM) == 1 ? -1 : getppid());
  });
  const std::int64_t zygote = value_of(pool.map(numbers(1))->get()[0].value);
  ASSERT_GT(zygote, 1);
  kill(static_cast<pid_t>(zygote), SIGKILL);
  std::int64_t other = zygote;
  // 1: an old worker, whose zygote is dead already and has not been missed yet.
  while (other == zygote || other == 1) other = value_of(pool.map(numbers(1))->get()[0].value);
  EXPECT_NE(other, -1) << "SIGTERM is blocked";
}

TEST(Pool, RefusesBadOptionsByName) {
  EXPECT_NE(Pool::open(Handler{}).error().message().find("handler"), std::string::npos);
  PoolOptions options;
  options.policies.retry.jitter = 2;
  EXPECT_NE(Pool::open(square, options).error().message().find("jitter"), std::string::npos);
  options = {};
  options.start_deadline = std::chrono::nanoseconds(0);
  EXPECT_NE(Pool::open(square, options).error().message().find("start_deadline"), std::string::npos);
  options = {};
  options.leave_limit = std::chrono::nanoseconds(-1);
  EXPECT_NE(Pool::open(square, options).error().message().find("leave_limit"), std::string::npos);
}

TEST(Pool, ManyThreadsUseOnePool) {
  Pool pool = open_pool(square);
  std::vector<std::thread> threads;
  for (int t = 0; t < 6; ++t) {
    threads.emplace_back([&] {
      for (int round = 0; round < 20; ++round) expect_squares(pool.map(numbers(50), {.chunk_size = 4, .policies = {}})->get(), 50);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace holdfast
