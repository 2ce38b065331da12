// Tests of sys/signals.hpp and sys/thread.hpp.
#include "sys/signals.hpp"

#include <atomic>

#include <gtest/gtest.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "support/child.hpp"
#include "sys/process.hpp"
#include "sys/thread.hpp"

namespace holdfast::sys {
namespace {

sigset_t current_mask() {
  sigset_t mask;
  (void)::pthread_sigmask(SIG_SETMASK, nullptr, &mask);
  return mask;
}

bool blocked(int signal) {
  const sigset_t mask = current_mask();
  return ::sigismember(&mask, signal) == 1;
}

TEST(BlockAllSignals, BlocksAndRestoresTheMaskThatWas) {
  ASSERT_FALSE(blocked(SIGUSR1));
  {
    const BlockAllSignals outer;
    EXPECT_TRUE(blocked(SIGUSR1));
    EXPECT_TRUE(blocked(SIGINT));
    EXPECT_EQ(::sigismember(&outer.old_mask(), SIGUSR1), 0);
    { const BlockAllSignals inner; }
    EXPECT_TRUE(blocked(SIGUSR1));
  }
  EXPECT_FALSE(blocked(SIGUSR1));
}

TEST(SetDefault, MakesASignalDeadlyAgainAndIgnoredHarmless) {
  test::Child child([] {
    if (!set_ignored(SIGTERM).ok()) return 1;
    (void)::raise(SIGTERM);
    if (!set_default(SIGTERM).ok()) return 2;
    (void)::raise(SIGTERM);
    return 3;
  });
  const int status = child.reap();
  ASSERT_TRUE(WIFSIGNALED(status));
  EXPECT_EQ(WTERMSIG(status), SIGTERM);
  EXPECT_FALSE(set_default(SIGKILL + 1000).ok());
}

TEST(FreeRealtimeSignal, IsOneThatNobodyUsesAndIfPossibleNotBlocked) {
  test::Child child([] {
    const int first = free_realtime_signal();
    if (first < SIGRTMIN || first > SIGRTMAX) return 1;
    if (free_realtime_signal() != first) return 2;  // looking changes nothing
    if (!set_ignored(first).ok()) return 3;
    const int second = free_realtime_signal();
    if (second == first || second == 0) return 4;
    const BlockAllSignals all;
    if (free_realtime_signal() != second || !blocked(second)) return 5;  // none is better
    unblock(second - 1);
    if (blocked(second - 1) || free_realtime_signal() != second - 1) return 6;
    for (int signal = SIGRTMIN; signal <= SIGRTMAX; ++signal) (void)set_ignored(signal);
    return free_realtime_signal() == 0 ? 0 : 7;
  });
  EXPECT_EQ(child.reap(), 0);
}

TEST(SignalName, KnowsTheUsualAndTheUnusual) {
  EXPECT_EQ(signal_name(SIGKILL), "SIGKILL");
  EXPECT_EQ(signal_name(SIGSEGV), "SIGSEGV");
  EXPECT_EQ(signal_name(SIGRTMIN), "SIGRTMIN");
  EXPECT_EQ(signal_name(SIGRTMIN + 3), "SIGRTMIN+3");
  EXPECT_EQ(signal_name(777), "signal 777");
}

TEST(NativeThread, RunsWithEverySignalBlocked) {
  std::atomic<bool> all_blocked{false};
  auto thread = NativeThread::start({}, [&all_blocked] {
    all_blocked = blocked(SIGINT) && blocked(SIGUSR1) && blocked(SIGTERM) && blocked(SIGALRM) && blocked(SIGRTMIN);
  });
  ASSERT_TRUE(thread.ok());
  thread->join();
  EXPECT_TRUE(all_blocked);
  EXPECT_FALSE(blocked(SIGINT));  // the starter's own mask is as it was
}

TEST(NativeThread, HasItsNameAndASmallStack) {
  std::string name;
  NativeThread::Options options;
  options.name = "hf-test";
  options.stack_bytes = 64 * 1024;
  std::size_t stack = 0;
  auto thread = NativeThread::start(options, [&name, &stack] {
    char text[16] = {};
    (void)::prctl(PR_GET_NAME, text);
    name = text;
    pthread_attr_t attributes;
    if (::pthread_getattr_np(::pthread_self(), &attributes) == 0) {
      (void)::pthread_attr_getstacksize(&attributes, &stack);
      (void)::pthread_attr_destroy(&attributes);
    }
  });
  ASSERT_TRUE(thread.ok());
  thread->join();
  EXPECT_EQ(name, "hf-test");
  EXPECT_GE(stack, 64U * 1024);
  EXPECT_LT(stack, 1024U * 1024);
}

TEST(NativeThread, IsJoinedByItsDestructorAndMoves) {
  std::atomic<int> runs{0};
  {
    NativeThread holder;
    EXPECT_FALSE(holder.joinable());
    holder = NativeThread::start({}, [&runs] { ++runs; }).value();
    EXPECT_TRUE(holder.joinable());
    NativeThread other(std::move(holder));
    EXPECT_TRUE(other.joinable());
  }
  EXPECT_EQ(runs, 1);
}

TEST(ThreadId, IsThePidInTheMainThreadOnly) {
  EXPECT_EQ(thread_id().value(), ::getpid());
  int other = 0;
  NativeThread::start({}, [&other] { other = thread_id().value(); }).value().join();
  EXPECT_NE(other, ::getpid());
  EXPECT_GT(other, 0);
}

}  // namespace
}  // namespace holdfast::sys
