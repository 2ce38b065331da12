// What: what the pool believes of its zygote's word about a worker's end (fake_zygote.hpp). The worker never enrols, so each end is a failed
// start, with a report.
#include <string>

#include "pool/fake_zygote.hpp"

namespace holdfast::pool {
namespace {

using ZygoteWord = test::FakeZygote;

TEST_F(ZygoteWord, GivesStatusAndUseOfResourcesAndIsAnsweredByReap) {
  end_worker(SIGUSR1);
  say(exited(SIGUSR1));
  const ExitReport end = report();
  EXPECT_EQ(end.signal, SIGUSR1);
  EXPECT_EQ(end.pid, pid_);
  EXPECT_DOUBLE_EQ(end.cpu_user_s, 0.0015);
  EXPECT_EQ(end.peak_rss_bytes, 1 << 20);
  const auto reap = next(ring::MessageType::reap);
  EXPECT_EQ(reap.worker, worker_);
  EXPECT_EQ(reap.pid, pid_);
  EXPECT_EQ(reap.a, 1);
}

TEST_F(ZygoteWord, IsNotBelievedOfOneThatLivesOrOfAnotherPid) {
  say(exited(SIGKILL));
  auto foreign = exited(SIGKILL);
  foreign.pid = getpid();
  say(foreign);
  auto unknown = exited(SIGKILL);
  unknown.worker = worker_ + 1000;
  say(unknown);
  EXPECT_EQ(next(ring::MessageType::reap).worker, worker_ + 1000) << "one that was given up may be reaped, and all before it is read";
  EXPECT_TRUE(engine_->worker_info(worker_)->alive);
  end_worker(SIGUSR1);
  say(foreign);
  say(exited(SIGUSR1));
  EXPECT_EQ(report().signal, SIGUSR1);
}

TEST_F(ZygoteWord, CountsOnce) {
  end_worker(SIGUSR1);
  say(exited(SIGUSR1));
  say(exited(SIGKILL));
  EXPECT_EQ(report().signal, SIGUSR1);
  EXPECT_EQ(next(ring::MessageType::start).pid, 0) << "the pool goes on";
}

TEST_F(ZygoteWord, IsNotWaitedForLong) {
  end_worker(SIGUSR1);
  const ExitReport end = report();  // from /proc: the zombie is there
  EXPECT_EQ(end.signal, SIGUSR1);
  EXPECT_EQ(end.peak_rss_bytes, -1);
  say(exited(SIGUSR1));  // late: answered once more, for a zygote that has not read the first `reap` yet
  EXPECT_EQ(next(ring::MessageType::reap).pid, pid_);
  EXPECT_EQ(next(ring::MessageType::reap).pid, pid_);
}

TEST_F(ZygoteWord, IsDoneWithoutWhenItHangsUpInBetween) {
  end_worker(SIGUSR1);
  line_.reset();
  EXPECT_EQ(report().signal, SIGUSR1);
}

TEST_F(ZygoteWord, MayBeThatTheStatusIsGone) {
  end_worker(SIGUSR1);
  ASSERT_EQ(waitpid(pid_, nullptr, 0), pid_);
  say(exited(-1));
  const ExitReport end = report();
  // Where the kernel keeps it for its pidfd (6.15) it is known all the same; it is never made up.
  EXPECT_TRUE(end.signal == SIGUSR1 || (end.signal == 0 && !end.has_exit_code));
}

class LateHello : public test::FakeZygote {
 protected:
  LateHello() { options_.start_deadline = std::chrono::milliseconds(200); }
};

TEST_F(LateHello, IsAFailedStartThatSaysWhereTheWorkerStands) {
  const ExitReport end = report();
  EXPECT_EQ(end.cause, Cause::failed_start);
  EXPECT_NE(end.detail.find("did not say hello within 0.2 s"), std::string::npos) << end.detail;
  EXPECT_NE(end.detail.find("stuck in its start"), std::string::npos) << end.detail;
  EXPECT_EQ(ended_by(), SIGKILL);
  EXPECT_EQ(next(ring::MessageType::start).pid, 0) << "the pool goes on";
}

class PromptHello : public test::FakeZygote {
 protected:
  PromptHello() { options_.start_deadline = std::chrono::seconds(2); }  // also for the hello below, on a busy machine
};

TEST_F(PromptHello, LeavesTheInitializerAllTheTimeItWants) {
  const ring::Message hello{.type = ring::MessageType::hello, .pid = pid_, .a = ring::kProtocolVersion, .b = pid_};
  EXPECT_TRUE(sys::send_pod(socket_.get(), hello).ok());
  std::this_thread::sleep_for(2 * options_.start_deadline);  // that time passes is what is tested
  EXPECT_TRUE(engine_->worker_info(worker_)->alive);
}

}  // namespace
}  // namespace holdfast::pool
