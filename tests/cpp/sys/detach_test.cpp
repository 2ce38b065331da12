// What: a group of one's own without leading it, an empty stdin, and the mark that a fork wipes.
#include "sys/detach.hpp"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>
#include <csignal>

#include "sys/fork_mark.hpp"

namespace holdfast::sys {
namespace {

// Runs `body` in a forked child; its result is the child's exit code.
template <class Body>
int in_child(Body body) {
  const int child = fork();
  if (child == 0) _exit(body());
  int status = -1;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST(JoinNewGroup, LeavesTheWayToSetsidOpen) {
  EXPECT_EQ(in_child([] {
              const auto group = join_new_group();
              if (!group.ok() || getpgrp() != group.value() || group.value() == getpid()) return 1;
              if (waitpid(-1, nullptr, WNOHANG) != -1) return 2;  // the leader is reaped
              return setsid() == getpid() ? 0 : 3;
            }),
            0);
}

TEST(JoinNewGroup, WorksWithSigchldIgnoredAndLeavesItSo) {
  EXPECT_EQ(in_child([] {
              signal(SIGCHLD, SIG_IGN);
              if (!join_new_group().ok()) return 1;
              struct sigaction now = {};
              sigaction(SIGCHLD, nullptr, &now);
              return now.sa_handler == SIG_IGN ? 0 : 2;
            }),
            0);
}

TEST(StdinFromNull, GivesEndOfFileAlsoWhenItWasClosed) {
  for (const bool closed : {false, true}) {
    EXPECT_EQ(in_child([closed] {
                if (closed) close(STDIN_FILENO);
                char byte;
                return stdin_from_null().ok() && read(STDIN_FILENO, &byte, 1) == 0 ? 0 : 1;
              }),
              0);
  }
}

TEST(ForkMark, IsTrueHereAndFalseInAForkedChild) {
  auto mark = ForkMark::create();
  ASSERT_TRUE(mark.ok());
  EXPECT_TRUE(mark->in_original());
  EXPECT_EQ(in_child([&] { return mark->in_original() ? 1 : 0; }), 0);
  EXPECT_TRUE(mark->in_original());
}

}  // namespace
}  // namespace holdfast::sys
