// What: processes by descriptor: a pidfd means one process for ever, a pid does not. Opening, signalling, waiting, the exit
// status. Callers: src/pool (supervisor), src/worker (zygote, watcher). Thread-safe per call.
//
// Facts relied on (os-mechanisms.md, section 1): a pidfd polls readable when the last thread of its process is gone, for any
// holder; a status may be read any number of times with WNOWAIT; PIDFD_GET_INFO has it only after the reap, kernel >= 6.15.
#pragma once

#include <cstdint>

#include "base/result.hpp"
#include "base/types.hpp"
#include "sys/fd.hpp"

namespace holdfast::sys {

/// Only safe when `pid` cannot be reaped meanwhile: by the process itself, or by its only reaper.
Result<UniqueFd> pidfd_open(int pid);

/// os_error with ESRCH when the process was reaped already.
Status pidfd_send_signal(int pidfd, int signal);

/// True once the process is a zombie or reaped. Never blocks.
bool pidfd_exited(int pidfd);

/// Waits until it has exited, at most `timeout` (Nanos::max(): no limit); false = still alive. EINTR is retried.
bool pidfd_wait_exited(int pidfd, Nanos timeout);

struct WaitResult {
  bool ready = false;  // false only with no_hang: it is still alive
  int pid = 0;
  int raw_status = 0;         // as wait(2) gives it: WIFEXITED and so on apply
  std::int64_t utime_us = 0;  // rusage of the process and the children it waited for
  std::int64_t stime_us = 0;
  std::int64_t maxrss_bytes = 0;
};
/// waitid on our own child (or, as subreaper, an adopted one). Without `reap` it stays a zombie and can be asked again.
/// Errors: os_error with ECHILD: no child of ours, or somebody reaped it. EINTR is retried.
Result<WaitResult> wait_pidfd(int pidfd, bool reap, bool no_hang);

/// The raw wait status from PIDFD_GET_INFO: for a process that somebody else has reaped. Errors: unsupported (kernel < 6.15),
/// timed_out (not reaped yet: the kernel does not say before).
Result<int> pidfd_exit_status(int pidfd);

/// Best effort: lets the kernel free a killed process's memory at once (saves up to half of the time to its end).
void process_mrelease(int pidfd);

/// The pid that `pidfd` means, from /proc/self/fdinfo; -1: reaped. For messages and checks, never to signal.
Result<int> pidfd_pid(int pidfd);

}  // namespace holdfast::sys
