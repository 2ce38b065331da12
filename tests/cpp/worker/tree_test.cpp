// What: killing what hangs below a process, and what comes from a pool wherever it has gone.
#include "worker/tree.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <utility>
#include <vector>

#include "ring/channel.hpp"
#include "sys/process.hpp"
#include "sys/procfs.hpp"
#include "worker/fake_pool.hpp"
#include "worker/hunt.hpp"
#include "worker/seed.hpp"

namespace holdfast::worker::test {
namespace {

[[noreturn]] void sleep_for_ever() {
  for (;;) pause();
}

TEST(TreeKill, TakesAllBelowButNotTheRoot) {
  int line[2];
  ASSERT_EQ(pipe2(line, O_CLOEXEC), 0);
  const int root = fork();
  if (root == 0) {
    for (int i = 0; i < 2; ++i) {
      if (fork() == 0) {
        setsid();
        (void)fork();
        const int self = getpid();
        (void)!write(line[1], &self, sizeof self);
        sleep_for_ever();
      }
    }
    sleep_for_ever();
  }
  int below[4] = {};
  for (int& pid : below) ASSERT_EQ(read(line[0], &pid, sizeof pid), static_cast<ssize_t>(sizeof pid));
  EXPECT_EQ(kill_below(root), 4);
  for (const int pid : below) EXPECT_TRUE(eventually([pid] { return is_gone_or_zombie(pid); }));
  EXPECT_FALSE(is_gone_or_zombie(root));
  EXPECT_EQ(kill_tree(root), 1);
  EXPECT_EQ(waitpid(root, nullptr, 0), root);
  close(line[0]);
  close(line[1]);
}

// A program that execs itself without end: at most moments it shows neither its mappings nor its environment.
constexpr const char* kExecsForEver = "exec sh -c \"$0\" \"$0\"";

TEST(TreeLineage, KillsDaemonsOfOneWorkerOrOfAll) {
  auto bell = ring::BellPage::create();
  const int fd = bell.value().fd();
  const Lineage lineage = Lineage::of_pool(fd).value();
  int line[2];
  ASSERT_EQ(pipe2(line, O_CLOEXEC), 0);
  ASSERT_TRUE(sys::set_child_subreaper(true).ok());  // the test can wait for them
  for (const WorkerId id : {WorkerId{1}, WorkerId{2}}) {
    const int worker = fork();
    if (worker == 0) {
      if (!Lineage::mark_this_process(fd, id).ok() || setenv(kTagVariable, lineage.tag(id).c_str(), 1) != 0) _exit(1);
      for (int i = 0; i < 4; ++i) {
        if (fork() != 0) continue;
        setsid();
        const int self = getpid();
        (void)!write(line[1], &self, sizeof self);
        if (i == 1) execl("/bin/sleep", "sleep", "1000", nullptr);
        if (i > 1) execl("/bin/sh", "sh", "-c", kExecsForEver, kExecsForEver, nullptr);
        sleep_for_ever();
      }
      _exit(0);
    }
    int status = -1;
    ASSERT_EQ(waitpid(worker, &status, 0), worker);
    ASSERT_EQ(status, 0);
  }
  int daemons[8] = {};
  for (int& pid : daemons) ASSERT_EQ(read(line[0], &pid, sizeof pid), static_cast<ssize_t>(sizeof pid));
  const auto living = [] { return std::ranges::count_if(sys::children_of(getpid()), [](int pid) { return !is_gone_or_zombie(pid); }); };
  const WorkerId first[] = {1};
  Hunt hunt(lineage);
  hunt.kill(first);
  EXPECT_TRUE(eventually([&] { return living() == 4; }));
  hunt.kill();
  for (const int pid : daemons) EXPECT_EQ(waitpid(pid, nullptr, 0), pid);  // hangs when one was forgotten; the limit from outside tells
  ASSERT_TRUE(sys::set_child_subreaper(false).ok());
  close(line[0]);
  close(line[1]);
}

TEST(TreeLineage, NeedsTwoDescriptorsOnly) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "UBSan opens a pipe to see whether an object's memory can be read, and takes a failure of that for a bad object";
#endif
  auto bell = ring::BellPage::create();
  const int fd = bell.value().fd();
  const Lineage lineage = Lineage::of_pool(fd).value();
  constexpr int kDaemons = 40;  // more than are looked at together
  ASSERT_TRUE(sys::set_child_subreaper(true).ok());
  const int worker = fork();
  if (worker == 0) {
    if (!Lineage::mark_this_process(fd, 1).ok()) _exit(1);
    for (int i = 0; i < kDaemons; ++i) {
      if (fork() == 0) sleep_for_ever();
    }
    _exit(0);
  }
  int status = -1;
  ASSERT_EQ(waitpid(worker, &status, 0), worker);
  ASSERT_EQ(status, 0);
  rlimit limit = {};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
  const rlim_t before = std::exchange(limit.rlim_cur, 64);
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
  std::vector<UniqueFd> taken;
  while (const int one = dup(fd) + 1) taken.emplace_back(one - 1);
  ASSERT_GT(taken.size(), 2U);
  taken.resize(taken.size() - 2);
  Hunt(lineage).kill();
  taken.clear();
  limit.rlim_cur = before;
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
  for (int i = 0; i < kDaemons; ++i) EXPECT_GT(wait(nullptr), 0);  // hangs when one was forgotten; the limit from outside tells
  ASSERT_TRUE(sys::set_child_subreaper(false).ok());
}

}  // namespace
}  // namespace holdfast::worker::test
