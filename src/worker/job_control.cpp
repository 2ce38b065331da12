#include "worker/job_control.hpp"

#include <sys/signalfd.h>
#include <unistd.h>
#include <csignal>

#include "sys/error.hpp"
#include "sys/process.hpp"
#include "sys/procfs.hpp"

namespace holdfast::worker {
namespace {

// A handler of the caller's (an editor that restores the terminal) may take its time before it stops itself.
constexpr Nanos kExpectedFor = std::chrono::seconds(10);
constexpr Nanos kSoon = std::chrono::milliseconds(100);  // most stop within a moment of the signal
constexpr Nanos kQuickLook = std::chrono::milliseconds(2);
// SIGCONT comes to the whole group from a shell, and wakes us; to the caller alone it comes from `kill -CONT`.
constexpr Nanos kSlowLook = std::chrono::milliseconds(50);

bool is_stopped(int pid) {
  const auto stat = sys::read_stat(pid);
  return stat.ok() && stat->state == 'T';
}

/// Stops `root` and all below it, adds whom it stopped. Twice over: a process that was just forking has a new child by the second time.
void stop_tree(int root, std::vector<int>& stopped) {
  if (is_stopped(root)) return;
  if (sys::kill_process(root, SIGSTOP)) stopped.push_back(root);
  for (int round = 0; round < 2; ++round) {
    for (const int pid : sys::descendants_of(root)) {
      if (!is_stopped(pid) && sys::kill_process(pid, SIGSTOP)) stopped.push_back(pid);
    }
  }
}

}  // namespace

Result<JobControl> JobControl::create(int caller) {
  sigset_t both;
  sigemptyset(&both);
  sigaddset(&both, SIGTSTP);
  sigaddset(&both, SIGCONT);
  UniqueFd fd(signalfd(-1, &both, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!fd) return sys::last_error("signalfd");
  return JobControl(caller, std::move(fd));
}

void JobControl::on_signal(Time now) {
  signalfd_siginfo info;
  while (read(signals_.get(), &info, sizeof info) == static_cast<ssize_t>(sizeof info)) {
    if (info.ssi_signo == SIGTSTP && state_ == State::idle) {
      state_ = State::expecting;
      expected_since_ = now;
    }
  }
  if (state_ != State::idle) next_look_ = now;
}

Nanos JobControl::look(Time now, const std::vector<int>& workers) {
  const bool caller_stopped = is_stopped(caller_);
  Nanos pause{0};
  if (state_ == State::expecting && caller_stopped) {
    state_ = State::stopped;
    stopped_since_ = now;
    for (const int worker : workers) stop_tree(worker, stopped_);
  } else if (state_ == State::stopped && !caller_stopped) {
    go_on();
    pause = now - stopped_since_;
  } else if (state_ == State::expecting && now - expected_since_ > kExpectedFor) {
    state_ = State::idle;
  }
  const bool soon = state_ == State::expecting && now - expected_since_ < kSoon;
  next_look_ = state_ == State::idle ? kNever : now + (soon ? kQuickLook : kSlowLook);
  return pause;
}

// Grandchildren first, so that a worker that waits for its program finds it running. One that has ended meanwhile is not there; that its
// number belongs to somebody else by now is next to impossible while its parent is stopped, and SIGCONT harms nobody.
void JobControl::go_on() {
  for (auto pid = stopped_.rbegin(); pid != stopped_.rend(); ++pid) (void)sys::kill_process(*pid, SIGCONT);
  stopped_.clear();
  state_ = State::idle;
}

}  // namespace holdfast::worker
