// What: waiting for many descriptors at once. One owner thread waits; add, modify and remove may come from any thread.
// Callers: the supervisor's loop, the zygote's loop.
#pragma once

#include <cstdint>
#include <span>
#include <utility>

#include "base/result.hpp"
#include "base/types.hpp"
#include "sys/fd.hpp"

namespace holdfast::sys {

/// The event bits, so that callers need no <sys/epoll.h> (checked against it in epoll.cpp).
inline constexpr std::uint32_t kReadable = 0x001;
inline constexpr std::uint32_t kWritable = 0x004;
inline constexpr std::uint32_t kError = 0x008;
inline constexpr std::uint32_t kHangup = 0x010;

struct Event {
  std::uint64_t tag = 0;
  std::uint32_t events = 0;
};

class Epoll {
 public:
  static Result<Epoll> create();

  /// `tag` comes back with each event; level-triggered. kError and kHangup are always reported.
  Status add(int fd, std::uint64_t tag, std::uint32_t events);
  Status modify(int fd, std::uint64_t tag, std::uint32_t events);
  /// Before the descriptor is closed: a copy of it in another process would keep the registration alive.
  void remove(int fd);

  /// Number of events written to `out` (0: time-out or a signal). `timeout` Nanos::max(): no limit; <= 0: only look. With
  /// nanosecond precision (epoll_pwait2), on kernels before 5.11 rounded up to milliseconds.
  Result<int> wait(std::span<Event> out, Nanos timeout);

  int fd() const { return fd_.get(); }
  /// Nothing is waited for any more: every call fails from here on.
  void close() { fd_.reset(); }

 private:
  explicit Epoll(UniqueFd fd) : fd_(std::move(fd)) {}
  UniqueFd fd_;
};

}  // namespace holdfast::sys
