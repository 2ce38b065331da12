// What: finding and killing what a worker started, wherever it has gone: children, grandchildren, own sessions, daemons.
//
// While its starters live a process hangs in the tree. When they end it is handed to the zygote (the subreaper), and then only its
// origin tells whose it was: the worker's ring among its mappings (forked, never exec'd) or the worker's tag in its environment (exec'd).
// Callers: zygote (leftovers of a dead worker, the end), watcher (the parent's death). Thread-safe: no state.
#pragma once

#include <string>

#include "sys/origin.hpp"

namespace holdfast::worker {

/// What a worker leaves on everything below it.
struct Origin {
  std::string tag;
  sys::FileId ring;
};

bool comes_from(int pid, const Origin& origin);

/// SIGKILL to everything below `pid`, not to `pid` itself. Each is stopped before its children are read, so that it can neither
/// start another meanwhile nor reap one whose number would then be somebody else's. Returns how many were killed.
int kill_below(int pid);

/// The same, `pid` included. `pid` must be held by the caller (an unreaped child of it).
int kill_tree(int pid);

/// SIGKILL to each process on the machine that comes from `origin`, except this one. For when nobody adopted the orphans for us.
void kill_by_origin(const Origin& origin);

}  // namespace holdfast::worker
