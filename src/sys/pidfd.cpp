// What: the pidfd system calls, by number where glibc 2.36 has no wrapper or where the wrapper drops rusage. [pidfd.hpp]
#include "sys/pidfd.hpp"

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <string>

#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sys/clock.hpp"
#include "sys/error.hpp"

namespace holdfast::sys {

namespace {

#ifndef SYS_process_mrelease
constexpr long kSysProcessMrelease = 448;
#else
constexpr long kSysProcessMrelease = SYS_process_mrelease;
#endif
constexpr int kPPidfd = 3;  // P_PIDFD; an enumerator in some headers, missing in others

// struct pidfd_info as of Linux 6.15, from the kernel's documentation: Debian 12's headers do not have it. The kernel fills
// at most as many bytes as the size encoded in the request says, so an older or newer kernel is fine.
struct PidfdInfo {
  std::uint64_t mask;
  std::uint64_t cgroup_id;
  std::uint32_t pid, tgid, ppid;
  std::uint32_t ruid, rgid, euid, egid, suid, sgid, fsuid, fsgid;
  std::int32_t exit_code;
};
static_assert(sizeof(PidfdInfo) == 64 && offsetof(PidfdInfo, exit_code) == 60);
constexpr std::uint64_t kInfoExit = 1U << 3;
constexpr unsigned long kGetInfo = _IOWR(0xFF, 11, PidfdInfo);

std::int64_t microseconds(const timeval& value) { return std::int64_t{value.tv_sec} * 1'000'000 + value.tv_usec; }

// waitid tells (code, status) in parts; everyone else in this project speaks the raw wait status.
int raw_status(const siginfo_t& info) {
  if (info.si_code == CLD_EXITED) return (info.si_status & 0xff) << 8;
  return info.si_status | (info.si_code == CLD_DUMPED ? 0x80 : 0);
}

}  // namespace

Result<UniqueFd> pidfd_open(int pid) {
  const long fd = ::syscall(SYS_pidfd_open, pid, 0);  // CLOEXEC by nature
  if (fd < 0) return last_error("pidfd_open", "pid " + std::to_string(pid));
  return UniqueFd(static_cast<int>(fd));
}

Status pidfd_send_signal(int pidfd, int signal) {
  if (::syscall(SYS_pidfd_send_signal, pidfd, signal, nullptr, 0) != 0) return last_error("pidfd_send_signal");
  return ok_status();
}

bool pidfd_exited(int pidfd) { return pidfd_wait_exited(pidfd, Nanos::zero()); }

bool pidfd_wait_exited(int pidfd, Nanos timeout) {
  const Time start = now();
  while (true) {
    timespec limit{};
    if (timeout != Nanos::max()) {
      const Nanos left = std::max(Nanos::zero(), timeout - (now() - start));
      const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(left);
      limit.tv_sec = static_cast<time_t>(seconds.count());
      limit.tv_nsec = static_cast<long>((left - seconds).count());
    }
    pollfd entry{pidfd, POLLIN, 0};
    const int ready = ::ppoll(&entry, 1, timeout == Nanos::max() ? nullptr : &limit, nullptr);
    if (ready > 0) return (entry.revents & (POLLIN | POLLHUP)) != 0;
    if (ready == 0) return false;
    if (errno != EINTR) return false;
  }
}

Result<WaitResult> wait_pidfd(int pidfd, bool reap, bool no_hang) {
  siginfo_t info{};
  rusage usage{};
  const int options = WEXITED | (reap ? 0 : WNOWAIT) | (no_hang ? WNOHANG : 0);
  long rc = -1;
  do {
    // By number: the library's waitid leaves the fifth argument, rusage, out.
    rc = ::syscall(SYS_waitid, kPPidfd, pidfd, &info, options, &usage);
  } while (rc != 0 && errno == EINTR);
  if (rc != 0) return last_error("waitid(P_PIDFD)");
  WaitResult result;
  if (info.si_pid == 0) return result;  // WNOHANG and nothing yet
  result.ready = true;
  result.pid = info.si_pid;
  result.raw_status = raw_status(info);
  result.utime_us = microseconds(usage.ru_utime);
  result.stime_us = microseconds(usage.ru_stime);
  result.maxrss_bytes = std::int64_t{usage.ru_maxrss} * 1024;
  return result;
}

Result<int> pidfd_exit_status(int pidfd) {
  PidfdInfo info{};
  info.mask = kInfoExit;
  if (::ioctl(pidfd, kGetInfo, &info) != 0) {
    // ESRCH: a zombie that nobody has reaped, on kernels that know the call: the status comes with the reap.
    if (errno == ESRCH) return Error{ErrorCode::timed_out, ESRCH, "ioctl(PIDFD_GET_INFO)", "not reaped yet"};
    return Error{ErrorCode::unsupported, errno, "ioctl(PIDFD_GET_INFO)", "kernel before 6.13"};
  }
  if ((info.mask & kInfoExit) != 0) return info.exit_code;
  if (info.pid != 0) return Error{ErrorCode::timed_out, 0, "ioctl(PIDFD_GET_INFO)", "not reaped yet"};
  return Error{ErrorCode::unsupported, 0, "ioctl(PIDFD_GET_INFO)", "no exit status: kernel before 6.15"};
}

void process_mrelease(int pidfd) {
  (void)::syscall(kSysProcessMrelease, pidfd, 0);  // only a help: refused for a process that is not dying, or by old kernels
}

Result<int> pidfd_pid(int pidfd) {
  const std::string path = "/proc/self/fdinfo/" + std::to_string(pidfd);
  UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) return last_error("open", path);
  char text[512];
  const ssize_t size = ::read(file.get(), text, sizeof text - 1);
  if (size < 0) return last_error("read", path);
  text[size] = '\0';
  const char* line = std::strstr(text, "\nPid:");
  if (line == nullptr) return Error{ErrorCode::invalid_argument, 0, "pidfd_pid", "descriptor " + std::to_string(pidfd) + " is no pidfd"};
  return static_cast<int>(std::strtol(line + 5, nullptr, 10));
}

}  // namespace holdfast::sys
