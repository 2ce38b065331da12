// What: whose a process is, by mapping and by environment, and killing what hangs below one.
#include "worker/tree.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>
#include <csignal>

#include "sys/fd.hpp"
#include "sys/memfd.hpp"
#include "worker/fake_pool.hpp"
#include "worker/seed.hpp"

namespace holdfast::worker::test {
namespace {

[[noreturn]] void sleep_for_ever() {
  for (;;) pause();
}

void end(int pid) {
  EXPECT_EQ(kill(pid, SIGKILL), 0);
  EXPECT_EQ(waitpid(pid, nullptr, 0), pid);
}

Origin origin_of(int fd) { return {"tree-test-" + std::to_string(getpid()), sys::file_id(fd).value()}; }

TEST(TreeOrigin, IsSeenInTheMappingsOfAForkedProcess) {
  auto memfd = sys::create_memfd("same-name", 4096);
  auto other = sys::create_memfd("same-name", 4096);
  auto mapping = sys::Mapping::map(memfd.value().get(), 4096, sys::Mapping::Mode::shared);
  ASSERT_TRUE(mapping.ok());
  const int child = fork();
  if (child == 0) sleep_for_ever();
  EXPECT_TRUE(comes_from(child, origin_of(memfd.value().get())));
  EXPECT_FALSE(comes_from(child, origin_of(other.value().get())));
  end(child);
}

TEST(TreeOrigin, IsSeenInTheEnvironmentOfAnExecdProcess) {
  auto memfd = sys::create_memfd("x", 4096);
  const Origin origin = origin_of(memfd.value().get());
  const int child = fork();
  if (child == 0) {
    setenv(kTagVariable, origin.tag.c_str(), 1);
    execl("/bin/sleep", "sleep", "1000", nullptr);
    _exit(1);
  }
  EXPECT_TRUE(eventually([&] { return comes_from(child, origin); }));
  EXPECT_FALSE(comes_from(child, Origin{origin.tag + "1", origin.ring}));
  end(child);
}

TEST(TreeOrigin, NotFilledInIsNobodys) {
  EXPECT_FALSE(comes_from(getpid(), Origin{}));
  EXPECT_FALSE(comes_from(getppid(), Origin{}));
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

}  // namespace
}  // namespace holdfast::worker::test
