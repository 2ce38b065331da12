// What: workers and what they started follow their caller into a stop and out of it.
#include "worker/job_control.hpp"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>
#include <csignal>

#include "support/child.hpp"
#include "sys/clock.hpp"
#include "sys/procfs.hpp"
#include "sys/signals.hpp"

namespace holdfast::worker {
namespace {

using holdfast::test::Child;
using holdfast::test::eventually;

bool is_in(int pid, char state) {
  const auto stat = sys::read_stat(pid);
  return stat.ok() && stat->state == state;
}

/// A worker in a group of its own with a child in a session of its own, both asleep.
int worker_with_a_child() {
  (void)setpgid(0, 0);
  if (fork() == 0) {
    (void)setsid();
    return holdfast::test::sleep_for_ever();
  }
  return holdfast::test::sleep_for_ever();
}

struct JobControlTest : testing::Test {
  sys::BlockAllSignals blocked;
  Child caller{holdfast::test::sleep_for_ever};
  Child worker{worker_with_a_child};
  Result<JobControl> made = JobControl::create(caller.pid());
  JobControl& control = *made;
  int grandchild = 0;

  void SetUp() override {
    ASSERT_TRUE(eventually([&] { return sys::descendants_of(worker.pid()).size() == 1; }));
    grandchild = sys::descendants_of(worker.pid()).front();
    ASSERT_TRUE(eventually([&] { return is_in(grandchild, 'S') && is_in(worker.pid(), 'S'); }));
  }
  void TearDown() override { (void)kill(grandchild, SIGKILL); }
  Nanos look() { return control.look(sys::now(), {worker.pid()}); }
  /// What the terminal does at Ctrl-Z, to us.
  void press() {
    (void)kill(getpid(), SIGTSTP);
    control.on_signal(sys::now());
  }
};

TEST_F(JobControlTest, WorkersAreStoppedOnceTheCallerIs) {
  EXPECT_EQ(control.next_look(), kNever);
  press();
  EXPECT_LE(control.next_look(), sys::now());
  (void)look();
  EXPECT_TRUE(is_in(worker.pid(), 'S'));  // the caller has not stopped yet
  caller.kill(SIGSTOP);
  ASSERT_TRUE(eventually([&] { return is_in(caller.pid(), 'T'); }));
  (void)look();
  EXPECT_TRUE(eventually([&] { return is_in(worker.pid(), 'T') && is_in(grandchild, 'T'); }));
}

TEST_F(JobControlTest, TheyGoOnWithTheCaller) {
  const Time start = sys::now();
  press();
  caller.kill(SIGSTOP);
  ASSERT_TRUE(eventually([&] { return is_in(caller.pid(), 'T'); }));
  (void)look();
  // Each stops by itself, a moment after its signal.
  ASSERT_TRUE(eventually([&] { return is_in(grandchild, 'T') && is_in(worker.pid(), 'T'); }));
  (void)look();  // still stopped: nothing to do
  EXPECT_TRUE(is_in(worker.pid(), 'T'));
  caller.kill(SIGCONT);
  ASSERT_TRUE(eventually([&] { return is_in(caller.pid(), 'S'); }));
  const Nanos pause = look();
  EXPECT_GT(pause, Nanos{0});
  EXPECT_LE(pause, sys::now() - start);
  EXPECT_TRUE(eventually([&] { return is_in(worker.pid(), 'S') && is_in(grandchild, 'S'); }));
  EXPECT_EQ(control.next_look(), kNever);
  EXPECT_EQ(look(), Nanos{0});
}

TEST_F(JobControlTest, AnotherStopOfTheCallerIsNotFollowed) {
  caller.kill(SIGSTOP);  // by a debugger, by an administrator: no Ctrl-Z came to the group
  ASSERT_TRUE(eventually([&] { return is_in(caller.pid(), 'T'); }));
  EXPECT_EQ(control.next_look(), kNever);
}

TEST_F(JobControlTest, WhoWasStoppedBeforeStaysStopped) {
  worker.kill(SIGSTOP);
  ASSERT_TRUE(eventually([&] { return is_in(worker.pid(), 'T'); }));
  press();
  caller.kill(SIGSTOP);
  ASSERT_TRUE(eventually([&] { return is_in(caller.pid(), 'T'); }));
  (void)look();
  caller.kill(SIGCONT);
  ASSERT_TRUE(eventually([&] { return is_in(caller.pid(), 'S'); }));
  (void)look();
  EXPECT_TRUE(is_in(worker.pid(), 'T'));
}

TEST_F(JobControlTest, ACallerThatDoesNotStopIsGivenUp) {
  press();
  (void)control.look(sys::now() + std::chrono::seconds(11), {worker.pid()});
  EXPECT_EQ(control.next_look(), kNever);
  EXPECT_TRUE(is_in(worker.pid(), 'S'));
}

TEST_F(JobControlTest, ACallerThatIsGoneLetsThemGo) {
  press();
  caller.kill(SIGSTOP);
  ASSERT_TRUE(eventually([&] { return is_in(caller.pid(), 'T'); }));
  (void)look();
  caller.kill(SIGKILL);
  ASSERT_TRUE(caller.wait_exited());
  (void)look();
  EXPECT_TRUE(eventually([&] { return is_in(worker.pid(), 'S'); }));
}

}  // namespace
}  // namespace holdfast::worker
