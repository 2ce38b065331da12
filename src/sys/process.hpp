// What: what a process sets for itself: parent-death signal, subreaper, OOM score, leaving. Callers: src/worker, the zygote.
// All are async-signal-safe except raise_oom_score_adj.
#pragma once

#include <string>

#include <cstdint>

#include "base/result.hpp"
#include "base/types.hpp"

namespace holdfast::sys {

/// The signal this process gets when the *thread* that forked it ends; 0 = none. Cleared by the kernel on credential changes.
Status set_parent_death_signal(int signal);
/// Orphans below this process become its children instead of PID 1's.
Status set_child_subreaper(bool on);
/// /proc/self/oom_score_adj = max(current, at_least). Raising needs no privilege.
Status raise_oom_score_adj(int at_least);
/// The kernel's id of the calling thread.
Result<int> thread_id();
/// The name of the calling thread as top and gdb show it (at most 15 bytes are kept).
void set_thread_name(const char* name);
std::string thread_name();
/// The soft limit of core dump size to 0 (the hard one stays).
Status disable_core_dumps();
/// kill(-pgid): every process of the group. The caller holds the group's leader (unreaped), so the number is not recycled.
Status kill_group(int pgid, int signal);

/// kill(pid). The caller holds the process unreaped, or is its parent's only reaper; refuses 0, 1 and negative numbers.
Status kill_process(int pid, int signal);

int own_pid();
int own_group();
/// The process group of `pid`, also of a zombie, which the caller (or its zygote) holds.
Result<int> group_of(int pid);
/// The processors this process may run on, >= 1.
std::uint32_t usable_cpus();
/// pthread_atfork: `prepare` before each fork() of this process, then `parent` in it and `child` in the new one. For ever.
Status at_fork(void (*prepare)(), void (*parent)(), void (*child)());

/// From here on no thread of this process starts a process or a program any more (threads, yes): EPERM (seccomp, for all threads; for ever). For a process that is
/// about to end. Errors: os_error where the kernel or a sandbox does not have it.
Status refuse_new_processes();
/// SIGKILL to this process after that time, whatever its threads do then. Not on a kernel without POSIX timers.
void kill_self_after(Nanos time);

/// The soft limit of descriptors to the hard one. Best effort.
void raise_descriptor_limit();
/// A POSIX write lock on the whole file: this process's, until it ends or closes the file. False: another process has it. True also where the
/// descriptor can have none.
bool try_lock_file(int fd);

/// Ends the process at once: no destructors, no atexit, no stdio flush.
[[noreturn]] void exit_now(int code);

}  // namespace holdfast::sys
