// Tests of sys/procfs.hpp and sys/process.hpp, with real processes.
#include "sys/procfs.hpp"

#include <algorithm>
#include <csignal>
#include <fstream>

#include <gtest/gtest.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/child.hpp"
#include "sys/process.hpp"
#include "sys/socket.hpp"

namespace holdfast::sys {
namespace {

using test::Child;
using test::eventually;

TEST(ReadStat, TellsAboutALivingProcess) {
  const auto stat = read_stat(::getpid());
  ASSERT_TRUE(stat.ok());
  EXPECT_EQ(stat->pid, ::getpid());
  EXPECT_EQ(stat->ppid, ::getppid());
  EXPECT_EQ(stat->pgrp, ::getpgrp());
  EXPECT_EQ(stat->session, ::getsid(0));
  EXPECT_EQ(stat->state, 'R');
  EXPECT_GE(stat->threads, 1);
  EXPECT_GT(stat->start_ticks, 0U);
}

TEST(ReadStat, GivesTheRawStatusOfAZombie) {
  Child exited([] { return 15; });
  ASSERT_TRUE(exited.wait_exited());
  const auto stat = read_stat(exited.pid());
  ASSERT_TRUE(stat.ok());
  EXPECT_EQ(stat->state, 'Z');
  EXPECT_EQ(stat->exit_code_raw, exited.reap());

  Child killed(test::sleep_for_ever);
  killed.kill(SIGKILL);
  ASSERT_TRUE(killed.wait_exited());
  EXPECT_EQ(read_stat(killed.pid())->exit_code_raw, SIGKILL);
}

TEST(ReadStat, IsNotFooledByAProcessName) {
  Child child([] {
    (void)::prctl(PR_SET_NAME, "x) Z 1 2 (y");
    return test::sleep_for_ever();
  });
  ASSERT_TRUE(eventually([&child] { return read_stat(child.pid())->state == 'S'; }));
  EXPECT_EQ(read_stat(child.pid())->ppid, ::getpid());
}

TEST(ReadStat, TellsAStoppedProcess) {
  Child child(test::sleep_for_ever);
  child.kill(SIGSTOP);
  EXPECT_TRUE(eventually([&child] { return read_stat(child.pid())->state == 'T'; }));
}

TEST(ReadStat, FailsForAReapedProcess) {
  Child child([] { return 0; });
  (void)child.reap();
  EXPECT_FALSE(read_stat(child.pid()).ok());
  EXPECT_TRUE(children_of(child.pid()).empty());
  EXPECT_FALSE(rss_bytes(child.pid()).ok());
}

TEST(ChildrenOf, ListsLivingOnesAndZombies) {
  Child living(test::sleep_for_ever);
  Child zombie([] { return 0; });
  ASSERT_TRUE(zombie.wait_exited());
  const auto children = children_of(::getpid());
  EXPECT_NE(std::find(children.begin(), children.end(), living.pid()), children.end());
  EXPECT_NE(std::find(children.begin(), children.end(), zombie.pid()), children.end());
}

TEST(DescendantsOf, FindsGrandchildrenThatSetsidEscapedTheGroup) {
  Child child([] {
    if (::fork() == 0) {
      (void)::setsid();
      if (::fork() == 0) return test::sleep_for_ever();
      return test::sleep_for_ever();
    }
    return test::sleep_for_ever();
  });
  std::vector<int> tree;
  EXPECT_TRUE(eventually([&] {
    tree = descendants_of(child.pid());
    return tree.size() == 2;
  }));
  for (const int pid : tree) (void)::kill(pid, SIGKILL);  // the test's own grandchildren, whose parents still live
}

TEST(MapsContain, FindsAMappedFileByPartOfItsName) {
  EXPECT_TRUE(maps_contain(::getpid(), "libc.so"));
  EXPECT_FALSE(maps_contain(::getpid(), "no such name in any map"));
  EXPECT_FALSE(maps_contain(0x7fffffff, "libc"));
}

TEST(CatchesSignal, TellsHandlersFromDefaultAndIgnored) {
  Child child([] {
    (void)std::signal(SIGUSR1, [](int) {});
    (void)std::signal(SIGRTMAX, [](int) {});
    (void)std::signal(SIGUSR2, SIG_IGN);
    pause();
    return 0;
  });
  ASSERT_TRUE(eventually([&child] { return catches_signal(child.pid(), SIGUSR1) && catches_signal(child.pid(), SIGRTMAX); }));
  EXPECT_FALSE(catches_signal(child.pid(), SIGTERM));
  EXPECT_TRUE(eventually([&child] { return read_stat(child.pid())->state == 'S'; }));
  EXPECT_FALSE(catches_signal(child.pid(), SIGUSR2));
  EXPECT_FALSE(catches_signal(child.pid(), 0));
  EXPECT_FALSE(catches_signal(child.pid(), 65));
  child.kill(SIGKILL);
  (void)child.reap();
  EXPECT_FALSE(catches_signal(child.pid(), SIGUSR1));
}

TEST(RssBytes, IsSomethingForALivingProcessAndZeroForAZombie) {
  EXPECT_GT(rss_bytes(::getpid()).value(), 100'000);
  Child zombie([] { return 0; });
  ASSERT_TRUE(zombie.wait_exited());
  EXPECT_EQ(rss_bytes(zombie.pid()).value(), 0);
}

TEST(CpuSeconds, AreNotNegative) { EXPECT_GE(cpu_seconds(::getpid()).value(), 0.0); }

TEST(AllPids, ContainsThisProcess) {
  const auto pids = all_pids();
  EXPECT_NE(std::find(pids.begin(), pids.end(), ::getpid()), pids.end());
}

TEST(ParentDeathSignal, KillsTheChildWhenItsParentGoes) {
  const auto pair = socketpair_seqpacket().value();
  Child parent([&pair] {
    const int child = ::fork();
    if (child == 0) {
      if (!set_parent_death_signal(SIGKILL).ok()) return 1;
      const auto self = pidfd_open(::getpid());
      const int fds[] = {self->get()};
      const int pid = ::getpid();
      if (!send_pod(pair.b.get(), pid, fds).ok()) return 2;
    }
    return test::sleep_for_ever();
  });
  int grandchild = 0;
  const auto hello = receive_pod(pair.a.get(), grandchild);
  ASSERT_TRUE(hello.ok() && hello->fds.size() == 1);
  EXPECT_FALSE(pidfd_exited(hello->fds[0].get()));
  parent.kill(SIGKILL);
  EXPECT_TRUE(pidfd_wait_exited(hello->fds[0].get(), std::chrono::seconds(10)));
}

TEST(ChildSubreaper, AdoptsTheOrphansOfItsDescendants) {
  Child reaper([] {
    if (!set_child_subreaper(true).ok()) return 1;
    const int middle = ::fork();
    if (middle == 0) return ::fork() == 0 ? test::sleep_for_ever() : 0;
    (void)::waitpid(middle, nullptr, 0);
    const auto adopted = children_of(::getpid());
    if (adopted.size() != 1) return 2;
    (void)::kill(adopted[0], SIGKILL);
    return ::waitpid(adopted[0], nullptr, 0) == adopted[0] ? 0 : 3;
  });
  EXPECT_EQ(reaper.reap(), 0);
}

TEST(MemoryReader, SeesWhatAProcessTakesForItself) {
  const MemoryReader reader = MemoryReader::open(::getpid());
  const auto before = reader.own_bytes();
  ASSERT_TRUE(before);
  constexpr std::size_t kSize = 64 << 20;
  const std::vector<char> block(kSize, 'x');
  const auto after = reader.own_bytes();
  ASSERT_TRUE(after);
  EXPECT_GE(*after - *before, static_cast<std::int64_t>(kSize * 9 / 10)) << block.size();
}

TEST(MemoryReader, ReadsNothingOfOneThatHasEnded) {
  Child child([] { return 0; });
  const MemoryReader reader = MemoryReader::open(child.pid());
  ASSERT_TRUE(reader);
  ASSERT_TRUE(child.wait_exited());
  EXPECT_EQ(reader.own_bytes(), std::nullopt) << "a zombie's numbers are zeros";
  EXPECT_FALSE(MemoryReader());
  EXPECT_EQ(MemoryReader().own_bytes(), std::nullopt);
}

int oom_score_adj() {
  int value = -1;
  std::ifstream("/proc/self/oom_score_adj") >> value;
  return value;
}

TEST(RaiseOomScoreAdj, RaisesButNeverLowers) {
  Child child([] {
    if (!raise_oom_score_adj(500).ok() || oom_score_adj() < 500) return 1;
    const int high = oom_score_adj();
    if (!raise_oom_score_adj(100).ok() || oom_score_adj() != high) return 2;
    return 0;
  });
  EXPECT_EQ(child.reap(), 0);
}

TEST(DisableCoreDumps, LowersTheSoftLimit) {
  Child child([] {
    if (!disable_core_dumps().ok()) return 1;
    rlimit limit{};
    return ::getrlimit(RLIMIT_CORE, &limit) == 0 && limit.rlim_cur == 0 ? 0 : 2;
  });
  EXPECT_EQ(child.reap(), 0);
}

TEST(KillGroup, ReachesTheGroupAndRefusesDangerousNumbers) {
  Child leader([] {
    (void)::setpgid(0, 0);
    return test::sleep_for_ever();
  });
  ASSERT_TRUE(eventually([&leader] { return read_stat(leader.pid())->pgrp == leader.pid(); }));
  ASSERT_TRUE(kill_group(leader.pid(), SIGKILL).ok());
  EXPECT_TRUE(leader.wait_exited());
  EXPECT_FALSE(kill_group(0, SIGKILL).ok());
  EXPECT_FALSE(kill_group(1, SIGKILL).ok());
  EXPECT_FALSE(kill_group(-5, SIGKILL).ok());
}

TEST(KillProcess, RefusesNumbersThatMeanMoreThanOneProcess) {
  Child child(test::sleep_for_ever);
  ASSERT_TRUE(kill_process(child.pid(), SIGKILL).ok());
  EXPECT_TRUE(child.wait_exited());
  for (const int pid : {1, 0, -1, -child.pid()}) EXPECT_FALSE(kill_process(pid, SIGKILL).ok());
}

TEST(OwnNumbers, AreThoseOfTheKernel) {
  EXPECT_EQ(own_pid(), ::getpid());
  EXPECT_EQ(own_group(), ::getpgrp());
  EXPECT_GE(usable_cpus(), 1U);
}

int prepared = 0;
int seen_by_parent = 0;
int seen_by_child = 0;

TEST(AtFork, CallsItsHooksOnBothSides) {
  ASSERT_TRUE(at_fork([] { ++prepared; }, [] { ++seen_by_parent; }, [] { ++seen_by_child; }).ok());
  Child child([] { return prepared * 100 + seen_by_parent * 10 + seen_by_child; });
  EXPECT_EQ(WEXITSTATUS(child.reap()), 101);
  EXPECT_EQ(prepared, 1);
  EXPECT_EQ(seen_by_parent, 1);
}

TEST(ExitNow, LeavesWithTheCode) {
  Child child([]() -> int { exit_now(23); });
  EXPECT_EQ(WEXITSTATUS(child.reap()), 23);
}

}  // namespace
}  // namespace holdfast::sys
