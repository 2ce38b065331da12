// What: the end of a pool, and what must not be left of it: deadlines, descriptors, a zygote that was stopped.
#include <unistd.h>
#include <algorithm>
#include <csignal>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "pool/bytes.hpp"
#include "pool/fake_zygote.hpp"
#include "support/stopwatch.hpp"
#include "sys/procfs.hpp"

namespace holdfast::pool {
namespace {

using holdfast::test::bytes_of;
using holdfast::test::numbers;
using holdfast::test::open_pool;
using holdfast::test::value_of;
using test::kPatience;

class EngineEnd : public test::FakeZygote {};

std::vector<std::string> open_files() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    std::error_code gone;  // the directory's own descriptor
    const auto name = std::filesystem::read_symlink(entry.path(), gone);
    if (!gone) names.push_back(name.string());
  }
  return names;
}

template <class Holds>
bool eventually(Holds holds) {
  while (!holds()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  return true;
}

TEST_F(EngineEnd, ASecondTerminateShortensTheGrace) {
  enrol();
  engine_->terminate(std::chrono::hours(1));
  engine_->terminate(std::chrono::milliseconds(20));
  EXPECT_EQ(ended_by(), SIGKILL);
}

TEST_F(EngineEnd, AClosedWorkerThatDoesNotLeaveIsKilledAtItsLimit) {
  enrol();
  engine_->close();
  EXPECT_EQ(ended_by(), SIGKILL);
  say(exited(SIGKILL));
  const ExitReport end = report();
  EXPECT_EQ(end.cause, Cause::stopped_by_pool);
  EXPECT_NE(end.detail.find("did not end in time"), std::string::npos) << end.detail;
}

TEST(PoolEnd, LeavesNoDescriptorWhileItsHandleLives) {
  const std::size_t before = open_files().size();
  Pool pool = open_pool([](std::span<const std::byte> item) { return Bytes(item.begin(), item.end()); },
                        {.workers = 2, .initializer = {}, .policies = {}});
  EXPECT_EQ(pool.map(numbers(10))->get().size(), 10U);
  pool.terminate();
  ASSERT_TRUE(pool.join(kPatience));
  EXPECT_TRUE(eventually([&] { return open_files().size() <= before; })) << open_files().size() << " open, " << before << " before";
}

TEST(PoolEnd, AStoppedZygoteDoesNotHoldItUp) {
  Pool pool = open_pool([](std::span<const std::byte> item) { return Bytes(item.begin(), item.end()); },
                        {.workers = 2, .initializer = {}, .policies = {}, .grace = Nanos{0}});
  int zygote = 0;
  for (const int child : sys::children_of(getpid())) zygote = std::max(zygote, child);
  ASSERT_GT(zygote, 0);
  ASSERT_EQ(kill(zygote, SIGSTOP), 0);
  ASSERT_TRUE(eventually([&] { return sys::read_stat(zygote)->state == 'T'; }));
  const holdfast::test::Stopwatch watch;
  pool.terminate();
  EXPECT_TRUE(pool.join(kPatience));
  EXPECT_TRUE(watch.within(std::chrono::seconds(1)));
}

// Its workers die, and it neither says so nor starts others. Also in the middle of a job: whoever waits for that has set no time limit.
TEST(PoolZygote, IsReplacedWhenItIsStopped) {
  PoolOptions options{.workers = 2, .initializer = {}, .policies = {}};
  options.start_deadline = std::chrono::milliseconds(500);
  options.max_restarts = 1000;
  Pool pool = open_pool([](std::span<const std::byte>) { return bytes_of(getppid()); }, options);
  const auto zygote = static_cast<pid_t>(value_of(pool.map(numbers(1))->get()[0].value));
  ASSERT_EQ(kill(zygote, SIGSTOP), 0);
  for (const WorkerView& worker : pool.workers()) {
    if (worker.alive) kill(worker.pid, SIGKILL);  // one that has not started has no pid
  }
  // All of them may be lost to the two kills; the next job needs new workers.
  (void)pool.map(numbers(2), {.chunk_size = 1, .policies = {}})->get();
  const auto outcomes = pool.map(numbers(20), {.chunk_size = 1, .policies = {}})->get();
  for (const Outcome& outcome : outcomes) {
    ASSERT_EQ(outcome.kind, OutcomeKind::done);
    EXPECT_NE(value_of(outcome.value), zygote);
  }
}

// Two pools: the second one's workers must hold nothing of the first one either.
TEST(PoolWorker, HoldsOnlyTheDescriptorsThatItNeeds) {
  const auto count_in = [](const std::string& list, const std::string& name) {
    std::size_t count = 0;
    for (std::size_t at = list.find(name); at != std::string::npos; at = list.find(name, at + 1)) ++count;
    return count;
  };
  const Handler list_files = [](std::span<const std::byte>) {
    std::string list;
    for (const std::string& name : open_files()) list += name + "\n";
    const auto bytes = std::as_bytes(std::span<const char>(list));
    return Bytes(bytes.begin(), bytes.end());
  };
  Pool first = open_pool(list_files, {.workers = 2, .initializer = {}, .policies = {}});
  Pool second = open_pool(list_files, {.workers = 2, .initializer = {}, .policies = {}});
  const auto outcomes = second.submit(bytes_of(1))->get();
  const Bytes& value = outcomes.at(0).value;
  const std::string list(reinterpret_cast<const char*>(value.data()), value.size());
  EXPECT_EQ(count_in(list, "[pidfd]"), 2U) << "the pool's process and the zygote:\n" << list;
  EXPECT_EQ(count_in(list, "[eventpoll]"), 1U) << "the watcher's:\n" << list;
  EXPECT_EQ(count_in(list, "[eventfd]"), 1U) << "the watcher's:\n" << list;
  EXPECT_EQ(count_in(list, "holdfast-bell"), 1U) << list;
  EXPECT_EQ(count_in(list, "holdfast-ring"), 1U) << list;
  EXPECT_EQ(count_in(list, "socket:"), 1U) << list;
}

TEST(PoolJob, MayBeWaitedForForCenturies) {
  Pool pool = open_pool([](std::span<const std::byte> item) { return Bytes(item.begin(), item.end()); },
                        {.workers = 1, .initializer = {}, .policies = {}});
  const auto outcomes = pool.submit(bytes_of(1))->get_for(std::chrono::hours(24 * 365 * 290));
  ASSERT_TRUE(outcomes.has_value());
  EXPECT_EQ(outcomes->at(0).kind, OutcomeKind::done);
}

}  // namespace
}  // namespace holdfast::pool
