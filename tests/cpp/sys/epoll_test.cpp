// Tests of sys/epoll.hpp, wakeup.hpp and clock.hpp.
#include "sys/epoll.hpp"

#include <algorithm>
#include <array>
#include <csignal>

#include <gtest/gtest.h>
#include <sys/epoll.h>
#include <sys/time.h>

#include "support/child.hpp"
#include "sys/clock.hpp"
#include "sys/socket.hpp"
#include "sys/wakeup.hpp"

namespace holdfast::sys {
namespace {

class EpollTest : public ::testing::Test {
 protected:
  EpollTest() : epoll_(Epoll::create().value()), wakeup_(Wakeup::create().value()) {}
  int wait(Nanos timeout) { return epoll_.wait(events_, timeout).value(); }

  Epoll epoll_;
  Wakeup wakeup_;
  std::array<Event, 4> events_{};
};

TEST_F(EpollTest, TimesOutWithSubMillisecondPrecision) {
  Nanos shortest = Nanos::max();
  for (int i = 0; i < 10'000 && shortest >= std::chrono::milliseconds(1); ++i) {  // a busy machine makes many a wait longer, never shorter
    const Time start = now();
    EXPECT_EQ(wait(std::chrono::microseconds(300)), 0);
    shortest = std::min<Nanos>(shortest, now() - start);
    ASSERT_GE(shortest, std::chrono::microseconds(300));
  }
  EXPECT_LT(shortest, std::chrono::milliseconds(1));
}

TEST_F(EpollTest, OnlyLooksWithATimeoutOfZeroOrLess) {
  EXPECT_EQ(wait(Nanos::zero()), 0);
  EXPECT_EQ(wait(Nanos(-1)), 0);
}

TEST_F(EpollTest, ReportsTheTagUntilDrained) {
  ASSERT_TRUE(epoll_.add(wakeup_.fd(), 77, kReadable).ok());
  EXPECT_EQ(wait(Nanos::zero()), 0);
  wakeup_.signal();
  wakeup_.signal();
  EXPECT_EQ(wait(Nanos::max()), 1);
  EXPECT_EQ(events_[0].tag, 77U);
  EXPECT_EQ(events_[0].events, kReadable);
  wakeup_.drain();
  EXPECT_EQ(wait(Nanos::zero()), 0);
}

TEST_F(EpollTest, ForgetsARemovedDescriptorAndFollowsModify) {
  ASSERT_TRUE(epoll_.add(wakeup_.fd(), 1, kReadable).ok());
  wakeup_.signal();
  ASSERT_TRUE(epoll_.modify(wakeup_.fd(), 2, kReadable).ok());
  EXPECT_EQ(wait(Nanos::zero()), 1);
  EXPECT_EQ(events_[0].tag, 2U);
  epoll_.remove(wakeup_.fd());
  EXPECT_EQ(wait(Nanos::zero()), 0);
  epoll_.remove(wakeup_.fd());  // again: harmless
  EXPECT_FALSE(epoll_.add(-1, 0, kReadable).ok());
}

TEST_F(EpollTest, SeesAChildsDeathByItsPidfd) {
  test::Child child(test::sleep_for_ever);
  ASSERT_TRUE(epoll_.add(child.pidfd(), 5, kReadable).ok());
  EXPECT_EQ(wait(Nanos::zero()), 0);
  child.kill(SIGKILL);
  EXPECT_EQ(wait(Nanos::max()), 1);
  EXPECT_EQ(events_[0].tag, 5U);
}

TEST_F(EpollTest, ReportsHangupWhenThePeerCloses) {
  auto pair = socketpair_seqpacket().value();
  ASSERT_TRUE(epoll_.add(pair.a.get(), 6, kReadable).ok());
  pair.b.reset();
  EXPECT_EQ(wait(std::chrono::seconds(10)), 1);
  EXPECT_NE(events_[0].events & kHangup, 0U);
}

TEST_F(EpollTest, GivesNoMoreThanThereIsRoomFor) {
  auto other = Wakeup::create().value();
  ASSERT_TRUE(epoll_.add(wakeup_.fd(), 1, kReadable).ok());
  ASSERT_TRUE(epoll_.add(other.fd(), 2, kReadable).ok());
  wakeup_.signal();
  other.signal();
  EXPECT_EQ(epoll_.wait(std::span(events_).first(1), Nanos::zero()).value(), 1);
  EXPECT_EQ(wait(Nanos::zero()), 2);
}

void ignore_alarm(int) {}

TEST_F(EpollTest, ASignalEndsTheWaitWithoutAnError) {
  struct sigaction action {};
  struct sigaction old {};
  action.sa_handler = ignore_alarm;
  ASSERT_EQ(::sigaction(SIGALRM, &action, &old), 0);
  const itimerval often{{0, 10'000}, {0, 10'000}};  // the first may come before the wait
  const itimerval never{};
  ASSERT_EQ(::setitimer(ITIMER_REAL, &often, nullptr), 0);
  EXPECT_EQ(wait(Nanos::max()), 0);
  ASSERT_EQ(::setitimer(ITIMER_REAL, &never, nullptr), 0);
  ASSERT_EQ(::sigaction(SIGALRM, &old, nullptr), 0);
}

TEST(Clock, GoesForward) {
  const Time first = now();
  const Time second = now();
  EXPECT_GE(second, first);
  EXPECT_GT(realtime_ns(), std::int64_t{1'700'000'000} * 1'000'000'000);
}

}  // namespace
}  // namespace holdfast::sys
