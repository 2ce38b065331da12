// What: the one owner of a file descriptor. Move-only; not thread-safe (as an int). Callers: everyone who holds a descriptor.
//
// Invariants:
//   1. A descriptor has one UniqueFd; its destructor closes it, exactly once, and leaves errno as it was.
//   2. Every descriptor made in src/sys is CLOEXEC from its first moment (no window in which another thread's fork+exec leaks it).
#pragma once

#include "base/result.hpp"

namespace holdfast {

class UniqueFd {
 public:
  UniqueFd() = default;
  explicit UniqueFd(int fd) : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(other.release()) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    if (this != &other) reset(other.release());
    return *this;
  }
  UniqueFd(const UniqueFd&) = delete;
  UniqueFd& operator=(const UniqueFd&) = delete;
  ~UniqueFd() { reset(); }

  int get() const { return fd_; }
  int release() {
    const int fd = fd_;
    fd_ = -1;
    return fd;
  }
  /// Closes what is held (if anything) and holds `fd` from now on. Async-signal-safe.
  void reset(int fd = -1);
  explicit operator bool() const { return fd_ >= 0; }

 private:
  int fd_ = -1;
};

namespace sys {

/// A second descriptor for the same open file, CLOEXEC.
Result<UniqueFd> duplicate(int fd);
Status set_nonblocking(int fd, bool on);
Status set_cloexec(int fd, bool on);

}  // namespace sys
}  // namespace holdfast
