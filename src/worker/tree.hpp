// What: finding and killing what a worker started, wherever it has gone: children, grandchildren, own sessions, daemons.
//
// While its starters live a process hangs in the tree. When they end it is handed to the zygote (the subreaper), or, when that has died, to a
// stranger, and then only its lineage tells whose it was.
// Callers: zygote (leftovers of a dead worker, the end), watcher (the parent's death), pool (the end without a zygote). Thread-safe: no state.
#pragma once

#include <span>

#include "worker/lineage.hpp"

namespace holdfast::worker {

/// SIGKILL to everything below `pid`, not to `pid` itself. Each is stopped before its children are read, so that it can neither
/// start another meanwhile nor reap one whose number would then be somebody else's. Returns how many were killed.
int kill_below(int pid);

/// The same, `pid` included. `pid` must be held by the caller (an unreaped child of it).
int kill_tree(int pid);

/// SIGKILL to each process on the machine that comes from one of these workers of the pool (none named: from any), and to what hangs below it,
/// except this process. For when nobody adopted the orphans for us. Scans /proc until two looks have shown nothing new: about 0.1 ms of processor
/// time for each process on the machine, and for at most a second, also when a process hangs so that it cannot be looked at (inspection.hpp); without
/// memory or descriptors it ends early.
void kill_by_lineage(const Lineage& lineage, std::span<const WorkerId> workers = {});

}  // namespace holdfast::worker
