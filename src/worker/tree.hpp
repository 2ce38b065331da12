// What: killing what hangs below a process: children, grandchildren, own sessions. While its starters live a process hangs in the tree; when they end
// it is handed to the zygote (the subreaper), or, when that has died, to a stranger: then hunt.hpp finds it.
// Callers: zygote (leftovers of a dead worker, the end), watcher (the parent's death), hunt. Thread-safe: no state.
#pragma once

namespace holdfast::worker {

/// SIGKILL to everything below `pid`, not to `pid` itself. Each is stopped before its children are read, so that it can neither
/// start another meanwhile nor reap one whose number would then be somebody else's. Returns how many were killed.
int kill_below(int pid);

/// The same, `pid` included. `pid` must be held by the caller (an unreaped child of it).
int kill_tree(int pid);

}  // namespace holdfast::worker
