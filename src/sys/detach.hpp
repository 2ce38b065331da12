// What: cutting a new worker loose from its starter's terminal: a process group of its own and no standard input.
// Callers: src/worker/enrol. Call it while the process has one thread and all signals blocked.
#pragma once

#include "base/result.hpp"

namespace holdfast::sys {

/// Moves this process into a new process group that it does NOT lead, and returns the group's number. A leader could never call
/// setsid() (EPERM), which tasks may want to. So a vforked child leads the group, and is gone again once we have joined; the number
/// stays ours, since the kernel keeps a pid in use while it names a group.
Result<int> join_new_group();

/// Descriptor 0 becomes /dev/null: a worker that read the terminal would be stopped (SIGTTIN), or steal the caller's input.
Status stdin_from_null();

}  // namespace holdfast::sys
