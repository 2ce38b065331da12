// What: news of ended children without a signal handler, and reaping one of them by pid. For a process that is the only reaper of its
// children (the zygote), so that their pids are safe. Callers: src/worker (zygote, watcher).
#pragma once

#include <utility>

#include "base/result.hpp"
#include "base/types.hpp"
#include "sys/fd.hpp"

namespace holdfast::sys {

/// A descriptor that is readable when a child has ended since the last drain (signalfd on SIGCHLD). SIGCHLD must be blocked in every
/// thread and at its default disposition.
class ChildSignal {
 public:
  static Result<ChildSignal> create();
  int fd() const { return fd_.get(); }
  void drain() const;
  /// Sleeps until a child has ended, at most `timeout`.
  void wait(Nanos timeout) const;

 private:
  explicit ChildSignal(UniqueFd fd) : fd_(std::move(fd)) {}
  UniqueFd fd_;
};

enum class Reaped { yes, still_alive, no_child };

/// Reaps the child `pid` if it has ended; never blocks.
Reaped reap_child(int pid);

}  // namespace holdfast::sys
