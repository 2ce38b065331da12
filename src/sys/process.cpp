// What: prctl and friends, for the calling process. [process.hpp]
#include "sys/process.hpp"

#include <algorithm>
#include <bit>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <iterator>
#include <string>

#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sys/error.hpp"
#include "sys/fd.hpp"

namespace holdfast::sys {
namespace {

// What starts a process or a program, besides clone. Of the machine's own architecture: other ways into the kernel (32 bit) are not looked at.
constexpr int kStartsProcess[] = {
    SYS_execve,
    SYS_execveat,
#ifdef SYS_fork
    SYS_fork,
    SYS_vfork,
#endif
};
// Where the lower half of clone's flags lies.
#ifdef __s390__
constexpr std::uint32_t kFlagsArgument = 1;
#else
constexpr std::uint32_t kFlagsArgument = 0;
#endif
constexpr std::uint32_t kCloneFlags =
    offsetof(seccomp_data, args) + 8 * kFlagsArgument + (std::endian::native == std::endian::little ? 0 : 4);

}  // namespace

Status set_parent_death_signal(int signal) {
  if (::prctl(PR_SET_PDEATHSIG, signal) != 0) return last_error("prctl(PR_SET_PDEATHSIG)");
  return ok_status();
}

Status set_child_subreaper(bool on) {
  if (::prctl(PR_SET_CHILD_SUBREAPER, on ? 1L : 0L) != 0) return last_error("prctl(PR_SET_CHILD_SUBREAPER)");
  return ok_status();
}

Status raise_oom_score_adj(int at_least) {
  UniqueFd file(::open("/proc/self/oom_score_adj", O_RDWR | O_CLOEXEC));
  if (!file) return last_error("open", "/proc/self/oom_score_adj");
  char text[16] = {};
  if (::read(file.get(), text, sizeof text - 1) < 0) return last_error("read", "/proc/self/oom_score_adj");
  if (std::strtol(text, nullptr, 10) >= at_least) return ok_status();
  const int size = std::snprintf(text, sizeof text, "%d", at_least);
  if (::pwrite(file.get(), text, static_cast<std::size_t>(size), 0) != size) return last_error("write", "/proc/self/oom_score_adj");
  return ok_status();
}

Result<int> thread_id() {
  const long tid = ::syscall(SYS_gettid);
  if (tid < 0) return last_error("gettid");
  return static_cast<int>(tid);
}

void set_thread_name(const char* name) {
  (void)::prctl(PR_SET_NAME, name);  // only for people who look
}

std::string thread_name() {
  char name[16] = {};  // the kernel writes at most 15 bytes and a zero
  (void)::prctl(PR_GET_NAME, name);
  return name;
}

Status refuse_new_processes() {
  sock_filter filter[1 + 2 * std::size(kStartsProcess) + 7];
  std::size_t size = 0;
  const auto refuse = [&](int number, std::uint32_t with) {
    filter[size++] = BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<std::uint32_t>(number), 0, 1);
    filter[size++] = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | with);
  };
  filter[size++] = BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr));
  for (const int number : kStartsProcess) refuse(number, EPERM);
  refuse(SYS_clone3, ENOSYS);  // its flags lie in memory, where no filter can look; the C library then takes clone
  filter[size++] = BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone, 0, 3);
  filter[size++] = BPF_STMT(BPF_LD | BPF_W | BPF_ABS, kCloneFlags);
  filter[size++] = BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, CLONE_THREAD, 1, 0);
  filter[size++] = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM);
  filter[size++] = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
  sock_fprog program{static_cast<unsigned short>(size), filter};
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return last_error("prctl(PR_SET_NO_NEW_PRIVS)");
  // > 0: the thread that has a filter of its own.
  if (::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program) != 0) return last_error("seccomp");
  return ok_status();
}

void kill_self_after(Nanos time) {
  sigevent event = {};
  event.sigev_notify = SIGEV_SIGNAL;
  event.sigev_signo = SIGKILL;
  timer_t timer = {};
  if (::timer_create(CLOCK_MONOTONIC, &event, &timer) != 0) return;
  itimerspec once = {};
  once.it_value.tv_sec = time / std::chrono::seconds(1);
  once.it_value.tv_nsec = (time % std::chrono::seconds(1)).count();
  (void)::timer_settime(timer, 0, &once, nullptr);  // fails for no such timer and no such time only
}

void raise_descriptor_limit() {
  rlimit limit = {};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  (void)::setrlimit(RLIMIT_NOFILE, &limit);
}

bool try_lock_file(int fd) {
  struct flock whole = {};
  whole.l_type = F_WRLCK;
  whole.l_whence = SEEK_SET;
  return ::fcntl(fd, F_SETLK, &whole) == 0 || (errno != EAGAIN && errno != EACCES);
}

Status disable_core_dumps() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_CORE, &limit) != 0) return last_error("getrlimit(RLIMIT_CORE)");
  limit.rlim_cur = 0;
  if (::setrlimit(RLIMIT_CORE, &limit) != 0) return last_error("setrlimit(RLIMIT_CORE)");
  return ok_status();
}

Status kill_group(int pgid, int signal) {
  // 0 and 1 would mean "my own group" and "everything": a caller with such a number has a bug that must not kill the machine.
  if (pgid <= 1) return Error{ErrorCode::invalid_argument, 0, "kill_group", "process group " + std::to_string(pgid)};
  if (::kill(-pgid, signal) != 0) return last_error("kill");
  return ok_status();
}

Result<int> group_of(int pid) {
  const int group = ::getpgid(pid);
  if (group < 0) return last_error("getpgid");
  return group;
}

Status kill_process(int pid, int signal) {
  if (pid <= 1) return Error{ErrorCode::invalid_argument, 0, "kill_process", "pid " + std::to_string(pid)};
  if (::kill(pid, signal) != 0) return last_error("kill");
  return ok_status();
}

int own_pid() { return ::getpid(); }
int own_group() { return ::getpgrp(); }

std::uint32_t usable_cpus() {
  cpu_set_t set;
  if (::sched_getaffinity(0, sizeof set, &set) != 0) return 1;  // more processors than the set has bits: rare, and 1 is safe
  return static_cast<std::uint32_t>(std::max(1, CPU_COUNT(&set)));
}

Status at_fork(void (*prepare)(), void (*parent)(), void (*child)()) {
  if (const int failed = ::pthread_atfork(prepare, parent, child)) return error_from_errno("pthread_atfork", failed);
  return ok_status();
}

void exit_now(int code) { ::_exit(code); }

}  // namespace holdfast::sys
