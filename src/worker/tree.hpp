// What: finding and killing what a worker started, wherever it has gone: children, grandchildren, own sessions, daemons.
//
// While its starters live a process hangs in the tree. When they end it is handed to the zygote (the subreaper), or, when that has died, to a
// stranger, and then only its lineage tells whose it was.
// Callers: zygote (leftovers of a dead worker, the end), watcher (the parent's death), pool (the end without a zygote). Thread-safe: no state.
#pragma once

#include <optional>

#include "worker/lineage.hpp"

namespace holdfast::worker {

/// SIGKILL to everything below `pid`, not to `pid` itself. Each is stopped before its children are read, so that it can neither
/// start another meanwhile nor reap one whose number would then be somebody else's. Returns how many were killed.
int kill_below(int pid);

/// The same, `pid` included. `pid` must be held by the caller (an unreaped child of it).
int kill_tree(int pid);

/// SIGKILL to each process on the machine that comes from `worker` of this pool (none named: from any), and to what hangs below it, except
/// this process. For when nobody adopted the orphans for us. Scans /proc, several times if need be: milliseconds, at worst 100.
void kill_by_lineage(const Lineage& lineage, std::optional<WorkerId> worker = {});

}  // namespace holdfast::worker
