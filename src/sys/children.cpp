#include "sys/children.hpp"

#include <poll.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cerrno>
#include <csignal>
#include <ctime>

#include "sys/error.hpp"

namespace holdfast::sys {

Result<ChildSignal> ChildSignal::create() {
  sigset_t only_child;
  sigemptyset(&only_child);
  sigaddset(&only_child, SIGCHLD);
  UniqueFd fd(signalfd(-1, &only_child, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!fd) return last_error("signalfd");
  return ChildSignal(std::move(fd));
}

void ChildSignal::drain() const {
  signalfd_siginfo info;
  while (read(fd_.get(), &info, sizeof info) > 0) {}
}

void ChildSignal::wait(Nanos timeout) const {
  pollfd entry{fd_.get(), POLLIN, 0};
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(timeout);
  const timespec limit{static_cast<time_t>(seconds.count()), static_cast<long>((timeout - seconds).count())};
  (void)ppoll(&entry, 1, &limit, nullptr);  // an early return is harmless: callers look again
}

Reaped reap_child(int pid) {
  int status = 0;
  pid_t got = 0;
  do { got = waitpid(pid, &status, WNOHANG); } while (got < 0 && errno == EINTR);
  if (got == pid) return Reaped::yes;
  return got == 0 ? Reaped::still_alive : Reaped::no_child;
}

}  // namespace holdfast::sys
