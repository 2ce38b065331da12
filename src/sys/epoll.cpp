// What: epoll with nanosecond time-outs. [epoll.hpp]
#include "sys/epoll.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <limits>

#include <sys/epoll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sys/error.hpp"

namespace holdfast::sys {

namespace {

static_assert(kReadable == EPOLLIN && kWritable == EPOLLOUT && kError == EPOLLERR && kHangup == EPOLLHUP);
constexpr std::size_t kBatch = 64;  // more are ready than that: the next wait() brings them

int wait_in_milliseconds(int fd, epoll_event* events, int room, Nanos timeout) {
  int limit = -1;
  if (timeout != Nanos::max()) {
    // Rounded up: rounded down, a caller with 0.4 ms left would spin until its deadline.
    const auto ms = std::chrono::ceil<std::chrono::milliseconds>(timeout).count();
    limit = static_cast<int>(std::clamp<std::int64_t>(ms, 0, std::numeric_limits<int>::max()));
  }
  return ::epoll_wait(fd, events, room, limit);
}

int wait_precisely(int fd, epoll_event* events, int room, Nanos timeout) {
  timespec limit{};
  const bool limited = timeout != Nanos::max();
  if (limited) {
    const Nanos left = std::max(Nanos::zero(), timeout);
    const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(left);
    limit.tv_sec = static_cast<time_t>(seconds.count());
    limit.tv_nsec = static_cast<long>((left - seconds).count());
  }
  const long ready = ::syscall(SYS_epoll_pwait2, fd, events, room, limited ? &limit : nullptr, nullptr, 0);
  if (ready >= 0 || errno != ENOSYS) return static_cast<int>(ready);
  return wait_in_milliseconds(fd, events, room, timeout);  // Linux before 5.11
}

}  // namespace

Result<Epoll> Epoll::create() {
  UniqueFd fd(::epoll_create1(EPOLL_CLOEXEC));
  if (!fd) return last_error("epoll_create1");
  return Epoll(std::move(fd));
}

Status Epoll::add(int fd, std::uint64_t tag, std::uint32_t events) {
  epoll_event event{};
  event.events = events;
  event.data.u64 = tag;
  if (::epoll_ctl(fd_.get(), EPOLL_CTL_ADD, fd, &event) != 0) return last_error("epoll_ctl(ADD)");
  return ok_status();
}

Status Epoll::modify(int fd, std::uint64_t tag, std::uint32_t events) {
  epoll_event event{};
  event.events = events;
  event.data.u64 = tag;
  if (::epoll_ctl(fd_.get(), EPOLL_CTL_MOD, fd, &event) != 0) return last_error("epoll_ctl(MOD)");
  return ok_status();
}

void Epoll::remove(int fd) {
  (void)::epoll_ctl(fd_.get(), EPOLL_CTL_DEL, fd, nullptr);  // not registered (any more): what was asked for
}

Result<int> Epoll::wait(std::span<Event> out, Nanos timeout) {
  std::array<epoll_event, kBatch> ready{};
  const int room = static_cast<int>(std::min(out.size(), kBatch));
  const int count = wait_precisely(fd_.get(), ready.data(), room, timeout);
  if (count < 0) {
    if (errno == EINTR) return 0;
    return last_error("epoll_pwait2");
  }
  for (int i = 0; i < count; ++i) {
    const auto at = static_cast<std::size_t>(i);
    out[at] = Event{ready[at].data.u64, ready[at].events};
  }
  return count;
}

}  // namespace holdfast::sys
