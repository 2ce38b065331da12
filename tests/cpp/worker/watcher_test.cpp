// What: the death of the pool's process: its workers and all that they started go with it, in whatever state; also without the zygote.
// A process forked here plays the caller: it owns the pool, reports pids through a pipe and is then killed.
#include "worker/watcher.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>
#include <csignal>
#include <string>
#include <utility>

#include "support/stopwatch.hpp"
#include "sys/pidfd.hpp"
#include "sys/process.hpp"
#include "sys/procfs.hpp"
#include "worker/fake_pool.hpp"

namespace holdfast::worker::test {
namespace {

// P5 asks for 1 s.
constexpr Nanos kGoneWithin = std::chrono::seconds(1);

enum class Who : int { zygote, worker, member, complete };
struct Report {
  Who who;
  int pid;
};

struct Line {
  int read_end = -1;
  int write_end = -1;
  Line() {
    int ends[2] = {-1, -1};
    EXPECT_EQ(pipe2(ends, O_CLOEXEC), 0);
    read_end = ends[0];
    write_end = ends[1];
  }
  void put(Who who, int pid) const {
    const Report report{who, pid};
    EXPECT_EQ(write(write_end, &report, sizeof report), static_cast<ssize_t>(sizeof report));
  }
  Report take() const {
    Report report{Who::complete, -1};
    EXPECT_EQ(read(read_end, &report, sizeof report), static_cast<ssize_t>(sizeof report));
    return report;
  }
  ~Line() {
    close(read_end);
    close(write_end);
  }
};

[[noreturn]] void sleep_for_ever() {
  for (;;) pause();
}

// A child in the worker's group, one in a session of its own, a daemon, and an exec'd daemon: all tell their pids.
std::vector<std::byte> start_family(const Line& line) {
  if (fork() == 0) {
    line.put(Who::member, getpid());
    sleep_for_ever();
  }
  if (fork() == 0) {
    setsid();
    line.put(Who::member, getpid());
    sleep_for_ever();
  }
  for (const bool fresh : {false, true}) {
    const int child = fork();
    if (child == 0) {
      setsid();
      if (fork() != 0) _exit(0);
      line.put(Who::member, getpid());
      if (fresh) execl("/bin/sleep", "sleep", "1000", nullptr);
      sleep_for_ever();
    }
    waitpid(child, nullptr, 0);
  }
  return {};
}
constexpr int kFamily = 4;

struct Scene {
  UniqueFd caller;
  UniqueFd zygote;
  std::vector<UniqueFd> others;  // two workers and their families
  std::vector<int> worker_pids;
};

UniqueFd hold(int pid) {
  auto pidfd = sys::pidfd_open(pid);
  EXPECT_TRUE(pidfd.ok());
  return pidfd.ok() ? std::move(pidfd).value() : UniqueFd();
}

// The caller's life: a pool of two workers that have started their families; then it waits to be killed.
[[noreturn]] void play_caller(const Line& line) {
  FakePool pool([&line](ByteSpan item) {
    if (text_of(item) == "family") return start_family(line);
    sleep_for_ever();
  });
  line.put(Who::zygote, pool.zygote_pid());
  std::vector<std::unique_ptr<FakeWorker>> workers;
  for (int i = 0; i < 2; ++i) {
    workers.push_back(pool.start_worker());
    line.put(Who::worker, workers.back()->pid);
    pool.run(*workers.back(), "family");
  }
  pool.submit(*workers.back(), {"busy"});
  line.put(Who::complete, 0);
  sleep_for_ever();
}

Scene set_scene() {
  EXPECT_TRUE(sys::set_child_subreaper(true).ok());  // orphans of the zygote end here, so that the test leaves no zombie
  const Line line;
  const int caller = fork();
  if (caller == 0) play_caller(line);
  Scene scene;
  scene.caller = hold(caller);
  // In any order: families tell their pids when they get to it.
  constexpr int kReports = 1 + 2 + 2 * kFamily + 1;
  for (int i = 0; i < kReports; ++i) {
    const Report report = line.take();
    if (report.who == Who::zygote) scene.zygote = hold(report.pid);
    if (report.who == Who::worker) scene.worker_pids.push_back(report.pid);
    if (report.who == Who::worker || report.who == Who::member) scene.others.push_back(hold(report.pid));
  }
  EXPECT_EQ(scene.others.size(), 2U + 2 * kFamily);
  return scene;
}

// Called right after the kill. One that stays is the outer time limit's, which kills it.
void expect_all_gone(const Scene& scene) {
  const holdfast::test::Stopwatch watch;
  for (const UniqueFd& process : scene.others) EXPECT_TRUE(sys::pidfd_wait_exited(process.get(), kPatience));
  EXPECT_TRUE(sys::pidfd_wait_exited(scene.zygote.get(), kPatience));
  EXPECT_TRUE(watch.within(kGoneWithin));
  while (waitpid(-1, nullptr, 0) > 0) {}
  EXPECT_TRUE(sys::set_child_subreaper(false).ok());
}

TEST(ParentDeath, TakesWorkersAndAllTheyStartedAlong) {
  const Scene scene = set_scene();
  ASSERT_TRUE(sys::pidfd_send_signal(scene.caller.get(), SIGKILL).ok());
  expect_all_gone(scene);
}

TEST(ParentDeath, TakesStoppedWorkersAlong) {
  const Scene scene = set_scene();
  for (const int pid : scene.worker_pids) ASSERT_EQ(kill(pid, SIGSTOP), 0);
  ASSERT_TRUE(sys::pidfd_send_signal(scene.caller.get(), SIGKILL).ok());
  expect_all_gone(scene);
}

TEST(ParentDeath, TogetherWithTheZygotesIsNoWayOut) {
  const Scene scene = set_scene();
  for (const int pid : scene.worker_pids) ASSERT_EQ(kill(pid, SIGSTOP), 0);
  ASSERT_TRUE(sys::pidfd_send_signal(scene.zygote.get(), SIGSTOP).ok());  // so that it can do nothing in between
  ASSERT_TRUE(sys::pidfd_send_signal(scene.caller.get(), SIGKILL).ok());
  ASSERT_TRUE(sys::pidfd_send_signal(scene.zygote.get(), SIGKILL).ok());
  expect_all_gone(scene);
}

TEST(ZygoteDeath, LeavesWorkersAlive) {
  const Scene scene = set_scene();
  ASSERT_TRUE(sys::pidfd_send_signal(scene.zygote.get(), SIGKILL).ok());
  ASSERT_TRUE(sys::pidfd_wait_exited(scene.zygote.get(), kPatience));
  for (const UniqueFd& process : scene.others) EXPECT_FALSE(sys::pidfd_wait_exited(process.get(), std::chrono::milliseconds(5)));
  ASSERT_TRUE(sys::pidfd_send_signal(scene.caller.get(), SIGKILL).ok());
  expect_all_gone(scene);
}

TEST(WatcherExit, HappensAtTheLatestWhenTold) {
  const int child = fork();
  if (child == 0) {
    auto self = sys::pidfd_open(getppid());
    Watcher::Charge charge;
    charge.parent_pidfd = self.value().get();
    auto watcher = Watcher::start(std::move(charge));
    watcher.value()->exit_at_latest(std::chrono::hours(1), 8);
    watcher.value()->exit_at_latest(std::chrono::milliseconds(10), 9);
    sleep_for_ever();
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(WEXITSTATUS(status), 9);
}

TEST(WatcherStop, LetsTheProcessGoOn) {
  auto self = sys::pidfd_open(getppid());
  for (int i = 0; i < 10; ++i) {
    Watcher::Charge charge;
    charge.parent_pidfd = self.value().get();
    ASSERT_TRUE(Watcher::start(std::move(charge)).ok());
  }
}

}  // namespace
}  // namespace holdfast::worker::test
