// What: a forked child with an owner, for tests with real processes: killed and reaped with its object, whatever the test does.
// Single-threaded tests only. The child runs `body` and leaves by _exit with its return value.
#pragma once

#include <csignal>
#include <functional>

#include <sys/wait.h>
#include <unistd.h>

#include "sys/pidfd.hpp"

namespace holdfast::test {

class Child {
 public:
  explicit Child(const std::function<int()>& body) : pid_(::fork()) {
    if (pid_ == 0) ::_exit(body());
    auto opened = sys::pidfd_open(pid_);  // no race: only this object reaps
    if (opened.ok()) pidfd_ = std::move(opened).value();
  }
  ~Child() {
    if (reaped_ || pid_ <= 0) return;
    (void)::kill(pid_, SIGKILL);  // unreaped, so the number is still its own
    (void)::waitpid(pid_, nullptr, 0);
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  int pid() const { return pid_; }
  int pidfd() const { return pidfd_.get(); }
  void kill(int signal) const { (void)sys::pidfd_send_signal(pidfd(), signal); }
  /// Until it is a zombie. A hang is the outer time limit's, which shows where (tools/run_limited.py).
  bool wait_exited() const { return sys::pidfd_wait_exited(pidfd(), Nanos::max()); }
  /// Reaps it; the raw wait status, -1 when it was not there any more.
  int reap() {
    int status = -1;
    if (::waitpid(pid_, &status, 0) != pid_) status = -1;
    reaped_ = true;
    return status;
  }
  /// Somebody else has reaped it.
  void forget() { reaped_ = true; }

 private:
  int pid_ = -1;
  bool reaped_ = false;
  UniqueFd pidfd_;
};

/// A child's body that does nothing until it is killed.
inline int sleep_for_ever() {
  while (true) ::pause();
}

/// Asks `ready` again and again, with short pauses, until the outer time limit. For what has no descriptor to wait for (states in /proc).
inline bool eventually(const std::function<bool()>& ready) {
  while (!ready()) ::usleep(1000);
  return true;
}

}  // namespace holdfast::test
