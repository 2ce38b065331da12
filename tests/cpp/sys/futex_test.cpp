// Tests of sys/futex.hpp: between threads and between processes.
#include "sys/futex.hpp"

#include <csignal>
#include <ctime>
#include <new>

#include <gtest/gtest.h>
#include <sys/time.h>

#include "support/child.hpp"
#include "sys/clock.hpp"
#include "sys/memfd.hpp"
#include "sys/procfs.hpp"

namespace holdfast::sys {
namespace {

using Word = std::atomic<std::uint32_t>;

class SharedWord : public ::testing::Test {
 protected:
  void SetUp() override {
    auto memfd = create_memfd("holdfast-test", 4096);
    ASSERT_TRUE(memfd.ok());
    auto mapped = Mapping::map(memfd->get(), 4096, Mapping::Mode::shared);
    ASSERT_TRUE(mapped.ok());
    mapping_ = std::move(mapped).value();
    word_ = new (mapping_.data()) Word(0);
  }
  Mapping mapping_;
  Word* word_ = nullptr;
};

TEST_F(SharedWord, WaitReturnsAtOnceWhenTheWordHasChanged) {
  word_->store(5, std::memory_order_seq_cst);
  EXPECT_EQ(futex_wait(*word_, 4, Nanos::max()), FutexWake::changed);
}

TEST_F(SharedWord, WaitTimesOutNotTooEarly) {
  const Time start = now();
  EXPECT_EQ(futex_wait(*word_, 0, std::chrono::milliseconds(20)), FutexWake::timed_out);
  EXPECT_GE(now() - start, std::chrono::milliseconds(20));
  EXPECT_EQ(futex_wait(*word_, 0, Nanos::zero()), FutexWake::timed_out);
  EXPECT_EQ(futex_wait(*word_, 0, Nanos(-5)), FutexWake::timed_out);
}

TEST_F(SharedWord, WakesASleeperInAnotherProcess) {
  Word& word = *word_;
  test::Child child([&word] {
    while (word.load(std::memory_order_acquire) == 0) (void)futex_wait(word, 0, Nanos::max());
    return static_cast<int>(word.load(std::memory_order_acquire));
  });
  // Asleep in the kernel, so that it is the wake and not the changed word that ends the wait.
  ASSERT_TRUE(test::eventually([&child] { return read_stat(child.pid())->state == 'S'; }));
  word.store(9, std::memory_order_release);
  futex_wake(word, 1);
  ASSERT_TRUE(child.wait_exited());
  EXPECT_EQ(WEXITSTATUS(child.reap()), 9);
}

volatile sig_atomic_t alarms = 0;
void count_alarm(int) { alarms = alarms + 1; }

TEST_F(SharedWord, WaitEndsWhenASignalHandlerRan) {
  struct sigaction action {};
  struct sigaction old {};
  action.sa_handler = count_alarm;
  action.sa_flags = SA_RESTART;  // must not matter
  ASSERT_EQ(::sigaction(SIGALRM, &action, &old), 0);
  const itimerval often{{0, 20'000}, {0, 20'000}};  // the first may come before the wait
  const itimerval never{};
  alarms = 0;
  ASSERT_EQ(::setitimer(ITIMER_REAL, &often, nullptr), 0);
  EXPECT_EQ(futex_wait(*word_, 0, std::chrono::hours(1)), FutexWake::interrupted);
  EXPECT_GE(alarms, 1);
  ASSERT_EQ(::setitimer(ITIMER_REAL, &never, nullptr), 0);
  ASSERT_EQ(::sigaction(SIGALRM, &old, nullptr), 0);
}

}  // namespace
}  // namespace holdfast::sys
