// Tests of sys/pidfd.hpp, with real processes.
#include "sys/pidfd.hpp"

#include <cerrno>
#include <csignal>

#include <gtest/gtest.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "support/child.hpp"

namespace holdfast::sys {
namespace {

using test::Child;

TEST(Pidfd, BecomesReadableWhenTheChildIsKilled) {
  Child child(test::sleep_for_ever);
  EXPECT_FALSE(pidfd_exited(child.pidfd()));
  EXPECT_FALSE(pidfd_wait_exited(child.pidfd(), std::chrono::milliseconds(5)));
  child.kill(SIGKILL);
  EXPECT_TRUE(child.wait_exited());
  EXPECT_TRUE(pidfd_exited(child.pidfd()));
}

TEST(Pidfd, StaysReadableAfterTheReap) {
  Child child([] { return 0; });
  ASSERT_TRUE(child.wait_exited());
  EXPECT_EQ(child.reap(), 0);
  EXPECT_TRUE(pidfd_exited(child.pidfd()));
}

TEST(Pidfd, NamesItsPid) {
  Child child(test::sleep_for_ever);
  const auto pid = pidfd_pid(child.pidfd());
  ASSERT_TRUE(pid.ok());
  EXPECT_EQ(pid.value(), child.pid());
  EXPECT_EQ(pidfd_pid(STDIN_FILENO).ok(), false);
}

TEST(PidfdOpen, RefusesAPidThatDoesNotExist) {
  const auto opened = pidfd_open(0x7fffffff);
  ASSERT_FALSE(opened.ok());
  EXPECT_EQ(opened.error().err_no, ESRCH);
}

TEST(PidfdSendSignal, RefusesAReapedProcess) {
  Child child([] { return 0; });
  (void)child.reap();
  const auto sent = pidfd_send_signal(child.pidfd(), SIGTERM);
  ASSERT_FALSE(sent.ok());
  EXPECT_EQ(sent.error().err_no, ESRCH);
}

TEST(WaitPidfd, SaysNotReadyWhileTheChildLives) {
  Child child(test::sleep_for_ever);
  const auto waited = wait_pidfd(child.pidfd(), /*reap=*/false, /*no_hang=*/true);
  ASSERT_TRUE(waited.ok());
  EXPECT_FALSE(waited->ready);
}

TEST(WaitPidfd, GivesTheStatusAgainAndAgainUntilItReaps) {
  Child child([] { return 7; });
  for (int i = 0; i < 3; ++i) {
    const auto seen = wait_pidfd(child.pidfd(), /*reap=*/false, /*no_hang=*/false);
    ASSERT_TRUE(seen.ok());
    EXPECT_TRUE(seen->ready);
    EXPECT_EQ(seen->pid, child.pid());
    EXPECT_TRUE(WIFEXITED(seen->raw_status));
    EXPECT_EQ(WEXITSTATUS(seen->raw_status), 7);
  }
  const auto reaped = wait_pidfd(child.pidfd(), /*reap=*/true, /*no_hang=*/false);
  ASSERT_TRUE(reaped.ok());
  EXPECT_EQ(WEXITSTATUS(reaped->raw_status), 7);
  EXPECT_GT(reaped->maxrss_bytes, 0);
  child.forget();
  const auto gone = wait_pidfd(child.pidfd(), /*reap=*/true, /*no_hang=*/false);
  ASSERT_FALSE(gone.ok());
  EXPECT_EQ(gone.error().err_no, ECHILD);
}

TEST(WaitPidfd, TellsTheSignalAndTheCoreBitAsWaitDoes) {
  Child child([] {
    (void)::raise(SIGKILL);
    return 0;
  });
  const auto seen = wait_pidfd(child.pidfd(), /*reap=*/false, /*no_hang=*/false);
  ASSERT_TRUE(seen.ok());
  EXPECT_TRUE(WIFSIGNALED(seen->raw_status));
  EXPECT_EQ(WTERMSIG(seen->raw_status), SIGKILL);
  EXPECT_EQ(child.reap(), seen->raw_status);
}

TEST(WaitPidfd, CountsTheCpuTimeOfTheChild) {
  Child child([] {
    volatile std::uint64_t sum = 0;
    for (std::uint64_t i = 0; i < 60'000'000; ++i) sum = sum + i;
    return 0;
  });
  const auto seen = wait_pidfd(child.pidfd(), /*reap=*/false, /*no_hang=*/false);
  ASSERT_TRUE(seen.ok());
  EXPECT_GT(seen->utime_us, 1000);
}

TEST(PidfdExitStatus, IsKnownAfterSomebodyElseReaped) {
  Child child([] { return 15; });
  ASSERT_TRUE(child.wait_exited());
  const auto before = pidfd_exit_status(child.pidfd());
  EXPECT_FALSE(before.ok());  // only the reap makes it known
  const int raw = child.reap();
  const auto after = pidfd_exit_status(child.pidfd());
  if (!after.ok() && after.error().code == ErrorCode::unsupported) GTEST_SKIP() << after.error().message();
  ASSERT_TRUE(after.ok()) << after.error().message();
  EXPECT_EQ(after.value(), raw);
  EXPECT_EQ(WEXITSTATUS(after.value()), 15);
}

TEST(PidfdExitStatus, IsNotKnownWhileTheProcessLives) {
  Child child(test::sleep_for_ever);
  EXPECT_FALSE(pidfd_exit_status(child.pidfd()).ok());
}

TEST(ProcessMrelease, IsHarmlessForAnyProcess) {
  Child child(test::sleep_for_ever);
  process_mrelease(child.pidfd());  // not dying: refused
  EXPECT_FALSE(pidfd_exited(child.pidfd()));
  child.kill(SIGKILL);
  process_mrelease(child.pidfd());
  EXPECT_TRUE(child.wait_exited());
}

}  // namespace
}  // namespace holdfast::sys
