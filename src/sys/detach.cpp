#include "sys/detach.hpp"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cerrno>
#include <csignal>

#include "sys/error.hpp"
#include "sys/fd.hpp"

namespace holdfast::sys {
namespace {

// The child shares our memory until it exits (vfork), so nothing but the two system calls may stand in it. vfork also leaves out the
// fork handlers of libraries: they must not run for a process that lives for microseconds.
pid_t vfork_group_leader() {
  const pid_t leader = vfork();  // NOLINT(clang-analyzer-security.insecureAPI.vfork): only async-signal-safe calls follow
  if (leader == 0) {
    (void)setpgid(0, 0);  // a failure shows in our own setpgid, as EPERM
    _exit(0);
  }
  return leader;
}

void reap_leader(pid_t leader) {
  int status = 0;
  while (waitpid(leader, &status, 0) < 0 && errno == EINTR) {}
}

}  // namespace

Result<int> join_new_group() {
  // With SIGCHLD ignored the kernel would reap the leader by itself and its group with it, before we have joined.
  struct sigaction standard = {};
  standard.sa_handler = SIG_DFL;
  struct sigaction before = {};
  if (sigaction(SIGCHLD, &standard, &before) != 0) return last_error("sigaction");
  const pid_t leader = vfork_group_leader();
  if (leader < 0) {
    Error error = last_error("vfork");
    (void)sigaction(SIGCHLD, &before, nullptr);  // cannot fail: it is what was there
    return error;
  }
  const bool joined = setpgid(0, leader) == 0;
  Error error = last_error("setpgid");
  reap_leader(leader);
  (void)sigaction(SIGCHLD, &before, nullptr);  // as above
  if (!joined) return error;
  return leader;
}

Status stdin_from_null() {
  UniqueFd null(open("/dev/null", O_RDONLY | O_CLOEXEC));
  if (!null) return last_error("open", "/dev/null");
  if (null.get() == STDIN_FILENO) {
    (void)null.release();  // 0 was closed, and now it is /dev/null
    return set_cloexec(STDIN_FILENO, false);
  }
  if (dup2(null.get(), STDIN_FILENO) < 0) return last_error("dup2", "/dev/null to 0");
  return ok_status();
}

}  // namespace holdfast::sys
