// What: closing, duplicating and flagging descriptors. [fd.hpp]
#include "sys/fd.hpp"

#include <cerrno>

#include <fcntl.h>
#include <unistd.h>

#include "sys/error.hpp"

namespace holdfast {

void UniqueFd::reset(int fd) {
  if (fd_ >= 0) {
    const int saved = errno;
    // Never retried: after EINTR Linux has closed it all the same, and the number may be another thread's by now.
    (void)::close(fd_);
    errno = saved;
  }
  fd_ = fd;
}

namespace sys {

namespace {

Status change_flag(int fd, int get, int set, int bit, bool on) {
  const int old = ::fcntl(fd, get);
  if (old < 0) return last_error("fcntl");
  const int wanted = on ? (old | bit) : (old & ~bit);
  if (wanted != old && ::fcntl(fd, set, wanted) < 0) return last_error("fcntl");
  return ok_status();
}

}  // namespace

Result<UniqueFd> duplicate(int fd) {
  const int copy = ::fcntl(fd, F_DUPFD_CLOEXEC, 0);
  if (copy < 0) return last_error("fcntl(F_DUPFD_CLOEXEC)");
  return UniqueFd(copy);
}

Status set_nonblocking(int fd, bool on) { return change_flag(fd, F_GETFL, F_SETFL, O_NONBLOCK, on); }
Status set_cloexec(int fd, bool on) { return change_flag(fd, F_GETFD, F_SETFD, FD_CLOEXEC, on); }

}  // namespace sys
}  // namespace holdfast
