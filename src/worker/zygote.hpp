// What: the zygote's loop. The zygote is a single-threaded process that runs no task: it starts workers when the pool asks, is the only
// one that reaps them, adopts what they leave behind (subreaper) and kills everything when the pool's process is gone.
//
// Invariants:
//   1. A worker's end is told at once (`exited`), but it is reaped only on the pool's word (`reap`): until then its pid and its group's number
//      are nobody else's.
//   2. Whatever ends the loop (the parent's death, EOF, `stop_zygote`, a broken message), nothing below the zygote is alive after it; and, where
//      it succeeds one that died, nothing that came from that one's workers either.
//   3. A spare (see `warm_up`) is no worker before it is given a seed: the pool has not asked for it, hears nothing of it, and is not told when it
//      ends. It has run nothing but the fork with its hooks and warm_up(), so a worker made of it is what a fork at that moment would be: the zygote runs no
//      tasks, its state is the same. It dies with the zygote (SIGKILL as its parent-death signal), and is killed by it at its end.
//   4. All signals are blocked, SIGCHLD is at its default; the worker gets the caller's mask and SIGCHLD disposition back.
// Callers: cpp_zygote.cpp (C++ pools), python/bindings/bind_worker.cpp (Python pools).
#pragma once

#include <csignal>
#include <functional>

#include "sys/fd.hpp"
#include "worker/seed.hpp"

namespace holdfast::worker {

struct ZygoteConfig {
  UniqueFd pool_socket;
  int bell_fd = -1;
  int parent_pidfd = -1;
  sigset_t worker_mask = {};                    // the caller's, before the launcher blocked all signals
  std::function<int()> fork;                    // as fork(), by fork_bound(); empty = that itself
  std::function<int(WorkerSeed&&)> run_worker;  // in the child: its whole life; returns the exit code
  // Set: once a worker has died, the next one is forked ahead, and runs this before it waits for its seed. A death is then repaired without a fork,
  // which costs milliseconds where there is an interpreter. A pool whose workers live has no spare.
  std::function<void()> warm_up;
};

/// In the zygote: fork() of a worker, which is bound to the zygote's life (SIGKILL as its parent-death signal) before any code of the user's, a fork
/// hook above all, runs in it.
int fork_bound();

/// Serves until the end; returns the zygote's exit code. In a forked worker it does not return: the child leaves with _exit.
/// Call it with all signals blocked and one thread.
int zygote_main(ZygoteConfig& config);

}  // namespace holdfast::worker
