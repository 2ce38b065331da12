// What: the engine in the states that a review found it wrong in: each test failed (abort, hang, lost report) before it was mended.
// Each test runs under ctest's outer time limit: a hang is a failure.
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <csignal>
#include <cstdio>
#include <string>
#include <thread>
#include <utility>

#include <gtest/gtest.h>

#include "pool/bytes.hpp"

namespace holdfast {
namespace {

using test::bytes_of;
using test::numbers;
using test::open_pool;
using test::value_of;

constexpr auto kPatience = std::chrono::hours(1);  // beyond any outer time limit

Bytes size_of(std::span<const std::byte> item) { return bytes_of(static_cast<std::int64_t>(item.size())); }

// A pipe whose reading end says when a worker has got somewhere, or holds it there until its writing end is closed.
struct Pipe {
  Pipe() { EXPECT_EQ(pipe2(ends, O_CLOEXEC), 0); }
  ~Pipe() {
    close(ends[0]);
    if (ends[1] >= 0) close(ends[1]);
  }
  void tell() const { EXPECT_EQ(write(ends[1], "x", 1), 1); }
  void wait() const {
    char byte = 0;
    EXPECT_EQ(read(ends[0], &byte, 1), 1);
  }
  int ends[2] = {-1, -1};
};

// The chunk is larger than its task ring, so the rest of it waits for room; the job's bytes go when terminate() has settled it.
TEST(Engine, TerminateWhileAChunkIsHalfPushed) {
  Pipe begun;
  Pool pool = open_pool(
      [&](std::span<const std::byte>) -> Bytes {
        begun.tell();
        for (;;) pause();
      },
      {.workers = 1, .initializer = {}, .policies = {}, .grace = std::chrono::milliseconds(200)});
  auto job = pool.map(std::vector<Bytes>(60, Bytes(30'000)), {.chunk_size = 60, .policies = {}});
  begun.wait();
  pool.terminate();
  EXPECT_TRUE(pool.join(kPatience));
  for (const Outcome& outcome : job->get()) EXPECT_EQ(outcome.kind, OutcomeKind::terminated);
}

TEST(Engine, ABrokenPoolEndsThoughSomeOfItsWorkersDidStart) {
  Pipe tickets;
  tickets.tell();  // one worker starts
  close(std::exchange(tickets.ends[1], -1));
  PoolOptions options{.workers = 2, .initializer = {}, .policies = {}, .max_restarts = 3};
  options.initializer = [&] {
    char byte = 0;
    if (read(tickets.ends[0], &byte, 1) != 1) _exit(3);
  };
  Pool pool = open_pool(size_of, options);
  while (pool.submit(bytes_of(1)).ok()) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  EXPECT_EQ(pool.submit(bytes_of(1)).error().code, ErrorCode::broken);
  pool.close();
  EXPECT_TRUE(pool.join(kPatience));
}

TEST(Engine, AWorkerThatClosedItsDescriptorsDoesNotHoldUpLargeItems) {
  Pool pool = open_pool(
      [](std::span<const std::byte> item) {
        if (item.size() == 1) {
          for (int fd = 3; fd < 1024; ++fd) close(fd);
        }
        return Bytes(item.begin(), item.end());
      },
      {.workers = 1, .initializer = {}, .policies = {}});
  EXPECT_EQ(pool.submit(Bytes(1))->get().at(0).kind, OutcomeKind::done);
  auto large = pool.submit(Bytes(100'000));
  const auto outcomes = large->get_for(kPatience);
  ASSERT_TRUE(outcomes.has_value());
  EXPECT_EQ(outcomes->at(0).kind, OutcomeKind::done) << outcomes->at(0).error;
}

TEST(Engine, UnreadLargeResultsHoldNoDescriptors) {
  rlimit old{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &old), 0);
  const rlimit few{.rlim_cur = 128, .rlim_max = old.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &few), 0);
  {
    Pool pool = open_pool([](std::span<const std::byte>) { return Bytes(2 << 20); }, {.workers = 1, .initializer = {}, .policies = {}});
    for (const Outcome& outcome : pool.map(numbers(200), {.chunk_size = 1, .policies = {}})->get()) {
      ASSERT_EQ(outcome.kind, OutcomeKind::done) << outcome.error;
    }
  }
  EXPECT_EQ(setrlimit(RLIMIT_NOFILE, &old), 0);
}

// The child's copies of unread results are dropped there; the parent's results, and the worker that wrote them, must not notice.
TEST(Engine, AForkedChildThatDropsAnUnreadResultDoesNotFreeIt) {
  Pool pool =
      open_pool([](std::span<const std::byte> item) { return Bytes(200'000, item[0]); }, {.workers = 1, .initializer = {}, .policies = {}});
  auto unread = std::make_unique<Result<Job>>(pool.submit(bytes_of(65)));
  while (!(*unread)->ready()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  const pid_t child = fork();
  if (child == 0) {
    unread.reset();
    _exit(0);
  }
  ASSERT_EQ(waitpid(child, nullptr, 0), child);
  EXPECT_EQ(pool.submit(bytes_of(66))->get().at(0).kind, OutcomeKind::done);
  const auto outcomes = (*unread)->get();
  EXPECT_EQ(outcomes.at(0).value, Bytes(200'000, std::byte{65}));
}

TEST(Engine, AnOldWorkersDeathIsReportedAmongManyYoungOnes) {
  Pipe begun;
  Pool pool = open_pool(
      [&](std::span<const std::byte> item) -> Bytes {
        if (value_of(item) >= 0) return bytes_of(getpid());
        begun.tell();
        for (;;) pause();
      },
      {.workers = 2, .initializer = {}, .policies = {}, .max_chunks_per_worker = 1});
  auto old = pool.submit(bytes_of(-1));
  begun.wait();
  const int victim = [&] {  // the other worker is replaced after each item; this one stays
    const auto first = pool.workers();
    pool.map(numbers(4), {.chunk_size = 1, .policies = {}})->get();
    for (const WorkerView& before : first) {
      for (const WorkerView& after : pool.workers()) {
        if (before.pid == after.pid) return before.pid;
      }
    }
    return 0;
  }();
  ASSERT_GT(victim, 0);
  for (const Outcome& outcome : pool.map(numbers(1050), {.chunk_size = 1, .policies = {}})->get())
    ASSERT_EQ(outcome.kind, OutcomeKind::done);
  kill(victim, SIGKILL);
  const auto outcomes = old->get();
  EXPECT_EQ(outcomes.at(0).kind, OutcomeKind::died);
  ASSERT_TRUE(outcomes.at(0).report.has_value());
  EXPECT_EQ(outcomes.at(0).report->pid, victim);
  EXPECT_EQ(pool.killed_items().size(), 1U);
}

TEST(Engine, ReadingWhatHasBeenReadEndsAtOnce) {
  Pool pool = open_pool(size_of, {.workers = 1, .initializer = {}, .policies = {}});
  auto job = pool.map(numbers(3));
  EXPECT_EQ(job->get().size(), 3U);
  EXPECT_FALSE(job->next().has_value());
}

TEST(Engine, APoolThatIsAssignedOverEnds) {
  Pool pool = open_pool(size_of, {.workers = 1, .initializer = {}, .policies = {}});
  const int before = pool.workers().at(0).pid;
  pool = open_pool(size_of, {.workers = 1, .initializer = {}, .policies = {}});
  EXPECT_NE(kill(before, 0), 0);
  EXPECT_EQ(pool.map(numbers(3))->get().size(), 3U);
}

}  // namespace
}  // namespace holdfast
