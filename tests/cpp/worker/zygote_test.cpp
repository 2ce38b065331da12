// What: the zygote with real processes: births, deaths, reaping on the pool's word only, leftovers, its own end.
#include "worker/zygote.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <csignal>
#include <stdexcept>

#include "sys/pidfd.hpp"
#include "sys/process.hpp"
#include "sys/procfs.hpp"
#include "worker/fake_pool.hpp"

namespace holdfast::worker::test {
namespace {

std::vector<std::byte> echo(ByteSpan item) { return {item.begin(), item.end()}; }

void sleep_for_ever() {
  for (;;) pause();
}

// Forks twice, so that the grandchild is an orphan at once; its pid is the result. `fresh` execs, so that no mapping tells its origin.
std::vector<std::byte> daemonise(bool fresh) {
  int line[2];
  if (pipe2(line, O_CLOEXEC) != 0) throw std::runtime_error("pipe");
  const int child = fork();
  if (child == 0) {
    setsid();
    const int daemon = fork();
    if (daemon != 0) {
      (void)!write(line[1], &daemon, sizeof daemon);
      _exit(0);
    }
    if (fresh) execl("/bin/sleep", "sleep", "1000", nullptr);
    sleep_for_ever();
  }
  int daemon = 0;
  (void)!read(line[0], &daemon, sizeof daemon);
  close(line[0]);
  close(line[1]);
  waitpid(child, nullptr, 0);
  return bytes_of(std::to_string(daemon));
}

std::vector<std::byte> daemonise_on_request(ByteSpan item) {
  const std::string text = text_of(item);
  if (text == "forked" || text == "exec") return daemonise(text == "exec");
  return echo(item);
}

TEST(ZygoteStart, TellsPidAndPidfdAndTheWorkerRunsAnItem) {
  FakePool pool(echo);
  auto worker = pool.start_worker();
  EXPECT_EQ(pool.run(*worker, "hello").text, "hello");
  EXPECT_EQ(sys::read_stat(worker->pid).value().ppid, pool.zygote_pid());
}

TEST(ZygoteStart, FailsWithAReasonWhenTheDescriptorsAreMissing) {
  FakePool pool(echo);
  pool.send_to_zygote(ring::MessageType::start, /*pid=*/0, /*a=*/1);
  EXPECT_EQ(pool.next_from_zygote().type, ring::MessageType::start_failed);
  EXPECT_EQ(pool.run(*pool.start_worker(), "still here").text, "still here");
}

TEST(ZygoteReap, LeavesTheZombieUntilItIsToldTo) {
  FakePool pool(echo);
  auto worker = pool.start_worker();
  ASSERT_EQ(kill(worker->pid, SIGKILL), 0);
  ASSERT_TRUE(sys::pidfd_wait_exited(worker->pidfd.get(), kPatience));
  EXPECT_EQ(pool.run(*pool.start_worker(), "x").text, "x");  // gives the zygote every chance to reap it
  EXPECT_EQ(sys::read_stat(worker->pid).value().state, 'Z');
  const auto reaped = pool.bury(*worker, 1);
  ASSERT_EQ(reaped.type, ring::MessageType::reaped);
  EXPECT_EQ(reaped.pid, worker->pid);
  ASSERT_GE(reaped.a, 0);
  EXPECT_EQ(WTERMSIG(static_cast<int>(reaped.a)), SIGKILL);
  EXPECT_GT(reaped.maxrss_bytes, 0);
  EXPECT_FALSE(sys::read_stat(worker->pid).ok());
}

TEST(ZygoteReap, SaysMinusOneForAStranger) {
  FakePool pool(echo);
  pool.send_to_zygote(ring::MessageType::reap, getpid(), 1);
  const auto reaped = pool.next_from_zygote();
  EXPECT_EQ(reaped.type, ring::MessageType::reaped);
  EXPECT_EQ(reaped.a, -1);
}

TEST(ZygoteReap, SaysMinusOneForALiveWorkerAndKeepsIt) {
  FakePool pool(echo);
  auto worker = pool.start_worker();
  pool.send_to_zygote(ring::MessageType::reap, worker->pid, 1);
  EXPECT_EQ(pool.next_from_zygote().a, -1);
  EXPECT_EQ(pool.run(*worker, "alive").text, "alive");
}

class ZygoteLeftovers : public ::testing::TestWithParam<const char*> {};

TEST_P(ZygoteLeftovers, OfADeadWorkerAreKilledAndOfALiveOneStay) {
  FakePool pool(daemonise_on_request);
  auto dead = pool.start_worker();
  auto alive = pool.start_worker();
  const int doomed = std::stoi(pool.run(*dead, GetParam()).text);
  const int kept = std::stoi(pool.run(*alive, GetParam()).text);
  ASSERT_EQ(kill(dead->pid, SIGKILL), 0);
  ASSERT_EQ(pool.bury(*dead, 1).pid, dead->pid);
  EXPECT_TRUE(eventually([&] { return !sys::read_stat(doomed).ok(); })) << "killed and reaped";
  EXPECT_FALSE(is_gone_or_zombie(kept));
  EXPECT_EQ(pool.run(*alive, "x").text, "x");
}

TEST_P(ZygoteLeftovers, OfACleanlyRecycledWorkerStayUntilThePoolEnds) {
  int daemon = 0;
  {
    FakePool pool(daemonise_on_request);
    auto recycled = pool.start_worker();
    auto other = pool.start_worker();
    daemon = std::stoi(pool.run(*recycled, GetParam()).text);
    recycled->channel->set_closed();
    ASSERT_EQ(pool.bury(*recycled, 0).a, 0);
    ASSERT_EQ(kill(other->pid, SIGKILL), 0);
    ASSERT_EQ(pool.bury(*other, 1).pid, other->pid);
    EXPECT_EQ(pool.run(*pool.start_worker(), "x").text, "x");  // the clean-up after `reaped` is over now
    EXPECT_FALSE(is_gone_or_zombie(daemon));
  }
  EXPECT_TRUE(is_gone_or_zombie(daemon));
}

INSTANTIATE_TEST_SUITE_P(Daemons, ZygoteLeftovers, ::testing::Values("forked", "exec"));

TEST(ZygoteEnd, StopKillsWorkersAndOrphansAndExitsZero) {
  FakePool pool(daemonise_on_request);
  auto worker = pool.start_worker();
  const int daemon = std::stoi(pool.run(*worker, "forked").text);
  ASSERT_EQ(kill(worker->pid, SIGSTOP), 0);  // a stopped one, too
  pool.send_to_zygote(ring::MessageType::stop_zygote);
  EXPECT_EQ(pool.await_zygote(), 0);
  EXPECT_TRUE(sys::pidfd_exited(worker->pidfd.get()));
  EXPECT_TRUE(is_gone_or_zombie(daemon));
}

TEST(ZygoteEnd, EndOfFileOnItsLineIsAStop) {
  FakePool pool(echo);
  auto worker = pool.start_worker();
  pool.hang_up();
  EXPECT_EQ(pool.await_zygote(), 0);
  EXPECT_TRUE(sys::pidfd_exited(worker->pidfd.get()));
}

}  // namespace
}  // namespace holdfast::worker::test
