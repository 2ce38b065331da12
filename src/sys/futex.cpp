// What: the futex system call. [futex.hpp]
#include "sys/futex.hpp"

#include <cerrno>
#include <ctime>

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace holdfast::sys {

namespace {

static_assert(sizeof(std::atomic<std::uint32_t>) == sizeof(std::uint32_t) && std::atomic<std::uint32_t>::is_always_lock_free,
              "the kernel sees the atomic as a plain 32-bit word");

int operation(int call, FutexUse use) { return use == FutexUse::in_process ? call | FUTEX_PRIVATE_FLAG : call; }

std::uint32_t* address(std::atomic<std::uint32_t>& word) { return reinterpret_cast<std::uint32_t*>(&word); }

}  // namespace

FutexWake futex_wait(std::atomic<std::uint32_t>& word, std::uint32_t seen, Nanos timeout, FutexUse use) {
  timespec limit{};
  const bool limited = timeout != Nanos::max();
  if (limited) {
    if (timeout <= Nanos::zero()) return FutexWake::timed_out;
    const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(timeout);
    limit.tv_sec = static_cast<time_t>(seconds.count());
    limit.tv_nsec = static_cast<long>((timeout - seconds).count());
  }
  // Without PRIVATE the key is the page of the file, the same in every process. The time-out is relative, on CLOCK_MONOTONIC.
  const long rc = ::syscall(SYS_futex, address(word), operation(FUTEX_WAIT, use), seen, limited ? &limit : nullptr, nullptr, 0);
  if (rc == 0) return FutexWake::woken;
  switch (errno) {
    case EAGAIN: return FutexWake::changed;
    case EINTR: return FutexWake::interrupted;
    case ETIMEDOUT: return FutexWake::timed_out;
    default: return FutexWake::changed;  // EFAULT, EINVAL: a word that is no word; the caller looks again and is bounded there
  }
}

void futex_wake(std::atomic<std::uint32_t>& word, int count, FutexUse use) {
  (void)::syscall(SYS_futex, address(word), operation(FUTEX_WAKE, use), count, nullptr, nullptr, 0);  // fails only for a bad address
}

}  // namespace holdfast::sys
