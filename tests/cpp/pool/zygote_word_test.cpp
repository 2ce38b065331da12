// What: what the pool believes of its zygote's word about a worker's end. The test is the zygote: it holds the other end of the line, and its
// workers are children that never enrol, so each end is a failed start, with a report.
#include <sys/wait.h>
#include <unistd.h>
#include <csignal>
#include <thread>

#include <gtest/gtest.h>

#include "pool/engine.hpp"
#include "ring/control.hpp"
#include "sys/clock.hpp"
#include "sys/pidfd.hpp"
#include "sys/socket.hpp"

namespace holdfast::pool {
namespace {

constexpr Nanos kPatience = std::chrono::seconds(20);

class ZygoteWord : public testing::Test {
 protected:
  void SetUp() override {
    auto engine = Engine::create({.workers = 1, .max_restarts = 100});
    ASSERT_TRUE(engine.ok());
    engine_ = *std::move(engine);
    auto seed = engine_->prepare_zygote();
    ASSERT_TRUE(seed.ok());
    line_ = std::move(seed->socket);
    ASSERT_TRUE(engine_->zygote_running(/*pid=*/0, /*is_our_child=*/false).ok());
    ASSERT_TRUE(engine_->start().ok());
    worker_ = next(ring::MessageType::start).worker;
    pid_ = fork();
    if (pid_ == 0) {
      for (;;) pause();
    }
    auto pidfd = sys::pidfd_open(pid_);
    ASSERT_TRUE(pidfd.ok());
    const int fds[] = {pidfd->get()};
    say({.type = ring::MessageType::started, .worker = worker_, .pid = pid_}, fds);
  }
  void TearDown() override {
    (void)kill(pid_, SIGKILL);
    (void)waitpid(pid_, nullptr, 0);
    line_.reset();
  }

  void say(const ring::Message& message, std::span<const int> fds = {}) const {
    EXPECT_TRUE(sys::send_pod(line_.get(), message, fds).ok());
  }
  // The pool's next message of that type; others are passed over.
  ring::Message next(ring::MessageType type) const {
    ring::Message message;
    do {
      const auto got = sys::receive_pod(line_.get(), message);
      if (!got.ok() || got->eof) {
        ADD_FAILURE() << "the pool has hung up";
        break;
      }
    } while (message.type != type);
    return message;
  }
  ring::Message exited(int status) const {
    return {.type = ring::MessageType::exited, .worker = worker_, .pid = pid_, .a = status, .utime_us = 1500, .maxrss_bytes = 1 << 20};
  }
  // Kills the worker and waits until it is a zombie.
  void end_worker(int signal) const {
    siginfo_t info{};
    ASSERT_EQ(kill(pid_, signal), 0);
    ASSERT_EQ(waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOWAIT), 0);
  }
  ExitReport report() const {
    const Time limit = sys::now() + kPatience;
    while (sys::now() < limit) {
      const auto info = engine_->worker_info(worker_);
      if (info && !info->alive) return info->report;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    ADD_FAILURE() << "no report came";
    return {};
  }

  std::shared_ptr<Engine> engine_;
  UniqueFd line_;
  WorkerId worker_ = 0;
  int pid_ = 0;
};

TEST_F(ZygoteWord, GivesStatusAndUseOfResourcesAndIsAnsweredByReap) {
  end_worker(SIGTERM);
  say(exited(SIGTERM));
  const ExitReport end = report();
  EXPECT_EQ(end.signal, SIGTERM);
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
  end_worker(SIGTERM);
  say(foreign);
  say(exited(SIGTERM));
  EXPECT_EQ(report().signal, SIGTERM);
}

TEST_F(ZygoteWord, CountsOnce) {
  end_worker(SIGTERM);
  say(exited(SIGTERM));
  say(exited(SIGKILL));
  EXPECT_EQ(report().signal, SIGTERM);
  EXPECT_EQ(next(ring::MessageType::start).pid, 0) << "the pool goes on";
}

TEST_F(ZygoteWord, IsNotWaitedForLong) {
  end_worker(SIGTERM);
  const ExitReport end = report();  // from /proc: the zombie is there
  EXPECT_EQ(end.signal, SIGTERM);
  EXPECT_EQ(end.peak_rss_bytes, -1);
  say(exited(SIGTERM));  // late: answered once more, for a zygote that has not read the first `reap` yet
  EXPECT_EQ(next(ring::MessageType::reap).pid, pid_);
  EXPECT_EQ(next(ring::MessageType::reap).pid, pid_);
}

TEST_F(ZygoteWord, IsDoneWithoutWhenItHangsUpInBetween) {
  end_worker(SIGTERM);
  line_.reset();
  EXPECT_EQ(report().signal, SIGTERM);
}

TEST_F(ZygoteWord, MayBeThatTheStatusIsGone) {
  end_worker(SIGTERM);
  ASSERT_EQ(waitpid(pid_, nullptr, 0), pid_);
  say(exited(-1));
  const ExitReport end = report();
  // Where the kernel keeps it for its pidfd (6.15) it is known all the same; it is never made up.
  EXPECT_TRUE(end.signal == SIGTERM || (end.signal == 0 && !end.has_exit_code));
}

}  // namespace
}  // namespace holdfast::pool
