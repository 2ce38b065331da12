// What: a process that is about to end starts nothing more.
#include "sys/process.hpp"

#include <gtest/gtest.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cerrno>
#include <thread>

namespace holdfast::sys::test {
namespace {

// What a process finds that has refused to start others; 0 = all as promised.
int what_it_still_starts() {
  if (!refuse_new_processes().ok()) return 1;
  int inside = 0;
  std::thread([&inside] { inside = fork() == -1 && errno == EPERM ? 1 : 2; }).join();  // threads, yes; they are bound, too
  if (inside != 1) return 2;
  if (fork() != -1 || errno != EPERM) return 3;
  char name[] = "true";
  char* const arguments[] = {name, nullptr};
  pid_t pid = 0;
  if (posix_spawn(&pid, "/bin/true", nullptr, nullptr, arguments, environ) != EPERM) return 4;
  if (execv("/bin/true", arguments) != -1 || errno != EPERM) return 5;
  return 0;
}

TEST(RefuseNewProcesses, StopsForkAndExecAndLeavesThreads) {
  const int pid = fork();
  if (pid == 0) _exit(what_it_still_starts());
  int status = -1;
  ASSERT_EQ(waitpid(pid, &status, 0), pid);
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

}  // namespace
}  // namespace holdfast::sys::test
