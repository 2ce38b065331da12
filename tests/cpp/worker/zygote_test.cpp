// What: the zygote with real processes: births, deaths, reaping on the pool's word only, leftovers, its own end.
#include "worker/zygote.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <csignal>
#include <set>
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
  pool.send_to_zygote(ring::MessageType::start, /*worker=*/1, /*pid=*/0, /*a=*/1);
  EXPECT_EQ(pool.next_from_zygote().type, ring::MessageType::start_failed);
  EXPECT_EQ(pool.run(*pool.start_worker(), "still here").text, "still here");
}

TEST(ZygoteExited, IsToldUnaskedWithStatusAndUseOfResources) {
  FakePool pool(echo);
  auto worker = pool.start_worker();
  ASSERT_EQ(kill(worker->pid, SIGKILL), 0);
  const auto exited = pool.next_from_zygote();
  ASSERT_EQ(exited.type, ring::MessageType::exited);
  EXPECT_EQ(exited.worker, worker->id);
  EXPECT_EQ(exited.pid, worker->pid);
  EXPECT_EQ(exited.a, SIGKILL);
  EXPECT_GT(exited.maxrss_bytes, 0);
}

TEST(ZygoteExited, IsNotToldOfAWorkerThatIsStoppedAndContinued) {
  FakePool pool(echo);
  auto worker = pool.start_worker();
  for (const int signal : {SIGSTOP, SIGCONT}) ASSERT_EQ(kill(worker->pid, signal), 0);
  EXPECT_EQ(pool.run(*worker, "going on").text, "going on");
  ASSERT_EQ(kill(worker->pid, SIGSTOP), 0);
  ASSERT_TRUE(eventually([&] { return sys::read_stat(worker->pid).value().state == 'T'; }));
  auto other = pool.start_worker();  // the next word of the zygote is `started`
  ASSERT_EQ(kill(worker->pid, SIGKILL), 0);
  const auto exited = pool.next_from_zygote();
  EXPECT_EQ(exited.pid, worker->pid);
  EXPECT_EQ(exited.a, SIGKILL);
}

TEST(ZygoteExited, IsToldOnceForEachOfManyThatDieAtOnce) {
  FakePool pool(echo);
  std::vector<std::unique_ptr<FakeWorker>> workers;
  for (int i = 0; i < 20; ++i) workers.push_back(pool.start_worker());  // more than one look of the zygote takes in
  std::set<WorkerId> expected;
  for (const auto& worker : workers) {
    ASSERT_EQ(kill(worker->pid, SIGKILL), 0);
    expected.insert(worker->id);
  }
  for (std::size_t i = 0; i < workers.size(); ++i) EXPECT_EQ(expected.erase(pool.next_from_zygote().worker), 1U);
  EXPECT_EQ(pool.run(*pool.start_worker(), "x").text, "x");  // no second word for any of them
}

TEST(ZygoteReap, LeavesTheZombieUntilItIsToldTo) {
  FakePool pool(echo);
  auto worker = pool.start_worker();
  ASSERT_EQ(kill(worker->pid, SIGKILL), 0);
  EXPECT_EQ(pool.next_from_zygote().type, ring::MessageType::exited);
  EXPECT_EQ(pool.run(*pool.start_worker(), "x").text, "x");  // gives the zygote every chance to reap it
  EXPECT_EQ(sys::read_stat(worker->pid).value().state, 'Z');
  pool.send_to_zygote(ring::MessageType::reap, worker->id, worker->pid, 1);
  EXPECT_TRUE(eventually([&] { return !sys::read_stat(worker->pid).ok(); }));
}

TEST(ZygoteReap, LeavesStrangersAlone) {
  FakePool pool(echo);
  auto worker = pool.start_worker();
  pool.send_to_zygote(ring::MessageType::reap, worker->id, getpid(), 1);
  pool.send_to_zygote(ring::MessageType::reap, worker->id + 1, worker->pid, 1);  // late: the pid is another worker's by now
  EXPECT_EQ(pool.run(*pool.start_worker(), "x").text, "x");
  EXPECT_EQ(pool.run(*worker, "alive").text, "alive");
}

TEST(ZygoteReap, KillsOneThatLivesAndReapsItThen) {
  FakePool pool(echo);
  auto worker = pool.start_worker();
  ASSERT_EQ(kill(worker->pid, SIGSTOP), 0);  // however it is
  pool.send_to_zygote(ring::MessageType::reap, worker->id, worker->pid, 1);
  const auto exited = pool.next_from_zygote();
  EXPECT_EQ(exited.type, ring::MessageType::exited);
  EXPECT_EQ(exited.pid, worker->pid);
  EXPECT_TRUE(eventually([&] { return !sys::read_stat(worker->pid).ok(); }));
}

/// A pool whose first worker has died, so that there is a spare; the second worker is alive.
struct PoolWithSpare {
  FakePool pool{echo, /*initializer=*/{}, /*warm_up=*/[] {}};
  std::unique_ptr<FakeWorker> worker;
  int spare = 0;

  PoolWithSpare() {
    auto first = pool.start_worker();
    EXPECT_EQ(sys::children_of(pool.zygote_pid()), std::vector<int>{first->pid});  // nobody has died yet
    worker = replace(*first);
    find_spare();
  }
  std::unique_ptr<FakeWorker> replace(FakeWorker& victim) {
    EXPECT_EQ(kill(victim.pid, SIGKILL), 0);
    pool.bury(victim, 1);
    return pool.start_worker();
  }
  void find_spare() {
    ASSERT_TRUE(eventually([&] {
      for (const int pid : sys::children_of(pool.zygote_pid())) {
        if (pid != worker->pid) spare = pid;
      }
      // It dies with the zygote from the moment on that it shows this name (below: it waits for its seed).
      return spare != 0 && sys::read_stat(spare).ok() && sys::read_stat(spare).value().state == 'S';
    }));
  }
};

// The look for what the dead worker left behind must not take the spare for it.
TEST(ZygoteSpare, IsTheNextWorkerAndAnotherTakesItsPlace) {
  PoolWithSpare with;
  for (int round = 0; round < 3; ++round) {
    const int expected = with.spare;
    with.worker = with.replace(*with.worker);
    EXPECT_EQ(with.worker->pid, expected);
    EXPECT_EQ(with.pool.run(*with.worker, "hello").text, "hello");
    EXPECT_EQ(sys::read_stat(expected).value().ppid, with.pool.zygote_pid());
    with.spare = 0;
    with.find_spare();
  }
}

TEST(ZygoteSpare, ThatIsKilledIsReapedAndNobodyIsTold) {
  PoolWithSpare with;
  ASSERT_EQ(kill(with.spare, SIGKILL), 0);
  EXPECT_TRUE(eventually([&] { return !sys::read_stat(with.spare).ok(); }));
  auto other = with.pool.start_worker();  // the next word of the zygote is `started`
  EXPECT_EQ(with.pool.run(*other, "x").text, "x");
  EXPECT_EQ(with.pool.run(*with.worker, "y").text, "y");
}

TEST(ZygoteSpare, IsAWorkerLikeAnyOtherFromItsSeedOn) {
  PoolWithSpare with;
  ASSERT_EQ(kill(with.spare, SIGSTOP), 0);
  auto stopped = with.pool.start_worker(/*ready=*/false);
  EXPECT_EQ(stopped->pid, with.spare);
  ASSERT_EQ(kill(with.spare, SIGKILL), 0);
  const auto exited = with.pool.next_from_zygote();
  EXPECT_EQ(exited.type, ring::MessageType::exited);
  EXPECT_EQ(exited.worker, stopped->id);
  EXPECT_EQ(exited.a, SIGKILL);
}

TEST(ZygoteSpare, DiesWithTheZygoteHoweverThatDies) {
  PoolWithSpare with;
  ASSERT_EQ(kill(with.pool.zygote_pid(), SIGKILL), 0);
  EXPECT_EQ(with.pool.await_zygote(), SIGKILL);
  EXPECT_TRUE(eventually([&] { return is_gone_or_zombie(with.spare); }));
  ASSERT_EQ(kill(with.worker->pid, SIGKILL), 0);  // a worker outlives its zygote
}

TEST(ZygoteSpare, IsGoneWhenThePoolEnds) {
  PoolWithSpare with;
  with.pool.send_to_zygote(ring::MessageType::stop_zygote);
  EXPECT_EQ(with.pool.await_zygote(), 0);
  EXPECT_FALSE(sys::read_stat(with.spare).ok());
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
    EXPECT_EQ(pool.run(*pool.start_worker(), "x").text, "x");  // the clean-up after `reap` is over now
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
