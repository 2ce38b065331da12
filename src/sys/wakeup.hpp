// What: an eventfd: any thread (or signal handler) wakes the one that polls it. Callers: the supervisor's loop.
#pragma once

#include <utility>

#include "base/result.hpp"
#include "sys/fd.hpp"

namespace holdfast::sys {

class Wakeup {
 public:
  static Result<Wakeup> create();

  /// Readable while a signal() has not been drained.
  int fd() const { return fd_.get(); }
  /// Never blocks; keeps errno; async-signal-safe; any thread. Many signals before a drain are one.
  void signal() const;
  /// Takes back all signals so far. Drain first, then look at what they were about.
  void drain() const;
  /// Nobody sleeps on it any more: signal() does nothing from here on. Not while another thread may be in signal().
  void close() { fd_.reset(); }

 private:
  explicit Wakeup(UniqueFd fd) : fd_(std::move(fd)) {}
  UniqueFd fd_;
};

}  // namespace holdfast::sys
