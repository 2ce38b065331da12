// What: a pool's engine whose zygote is the test: it holds the other end of the line. Its one worker is a forked child that does nothing, is
// deaf to SIGTERM, and enrols only if the test does it for it.
#pragma once

#include <sys/wait.h>
#include <unistd.h>
#include <csignal>
#include <memory>
#include <thread>

#include <gtest/gtest.h>

#include "pool/engine.hpp"
#include "ring/control.hpp"
#include "sys/clock.hpp"
#include "sys/pidfd.hpp"
#include "sys/socket.hpp"

namespace holdfast::pool::test {

inline constexpr Nanos kPatience = std::chrono::hours(1);  // beyond any outer time limit

class FakeZygote : public testing::Test {
 protected:
  void SetUp() override {
    auto engine = Engine::create(options_);
    ASSERT_TRUE(engine.ok());
    engine_ = *std::move(engine);
    auto seed = engine_->prepare_zygote();
    ASSERT_TRUE(seed.ok());
    line_ = std::move(seed->socket);
    ASSERT_TRUE(engine_->zygote_running(/*pid=*/0, /*is_our_child=*/false).ok());
    ASSERT_TRUE(engine_->start().ok());
    std::vector<UniqueFd> fds;
    worker_ = next(ring::MessageType::start, &fds).worker;
    ASSERT_EQ(fds.size(), 2U);
    socket_ = std::move(fds[0]);
    ring_ = std::move(fds[1]);
    const auto before = signal(SIGTERM, SIG_IGN);  // deaf from its first instruction on
    pid_ = fork();
    while (pid_ == 0) pause();
    (void)signal(SIGTERM, before);
    if (tells_pid_at_once_) tell_pid();
  }
  void tell_pid() const {
    auto pidfd = sys::pidfd_open(pid_);
    ASSERT_TRUE(pidfd.ok());
    const int pass[] = {pidfd->get()};
    say({.type = ring::MessageType::started, .worker = worker_, .pid = pid_}, pass);
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
  ring::Message next(ring::MessageType type, std::vector<UniqueFd>* fds = nullptr) const {
    ring::Message message;
    do {
      auto got = sys::receive_pod(line_.get(), message);
      if (!got.ok() || got->eof) {
        ADD_FAILURE() << "the pool has hung up";
        break;
      }
      if (fds != nullptr) *fds = std::move(got->fds);
    } while (message.type != type);
    return message;
  }
  ring::Message exited(int status) const {
    return {.type = ring::MessageType::exited, .worker = worker_, .pid = pid_, .a = status, .utime_us = 1500, .maxrss_bytes = 1 << 20};
  }
  // As if it had enrolled and were ready for work.
  void enrol() const {
    const ring::Message hello{.type = ring::MessageType::hello, .pid = pid_, .a = ring::kProtocolVersion, .b = pid_};
    EXPECT_TRUE(sys::send_pod(socket_.get(), hello).ok());
    EXPECT_TRUE(sys::send_pod(socket_.get(), ring::Message{.type = ring::MessageType::ready, .pid = pid_}).ok());
    while (!engine_->worker_info(worker_)->ready) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  // Waits until the worker is a zombie; the signal that ended it.
  int ended_by() const {
    siginfo_t info{};
    EXPECT_EQ(waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOWAIT), 0);
    return info.si_status;
  }
  void end_worker(int signal) const {
    ASSERT_EQ(kill(pid_, signal), 0);
    ASSERT_EQ(ended_by(), signal);
  }
  ExitReport report() const {
    for (;;) {
      const auto info = engine_->worker_info(worker_);
      if (info && !info->alive) return info->report;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }

  EngineOptions options_{.workers = 1, .max_restarts = 100, .leave_limit = std::chrono::milliseconds(50)};
  bool tells_pid_at_once_ = true;
  std::shared_ptr<Engine> engine_;
  UniqueFd line_;
  UniqueFd socket_;  // the worker's end of its own line
  UniqueFd ring_;    // of its channel
  WorkerId worker_ = 0;
  int pid_ = 0;
};

}  // namespace holdfast::pool::test
