// What: the zygote of a C++ pool: a plain fork of the caller, whose workers run a handler that was given to the pool. Called by src/pool.
#pragma once

#include <csignal>
#include <functional>

#include "base/result.hpp"
#include "sys/fd.hpp"
#include "worker/cpp_runner.hpp"

namespace holdfast::worker {

struct CppZygote {
  UniqueFd pool_socket;  // the zygote's end
  int bell_fd = -1;      // both stay the caller's
  int parent_pidfd = -1;
  Handler handler;
  std::function<void()> initializer;  // in each worker before its first item; may throw: the worker's start has failed
  sigset_t worker_mask = {};          // the signals that initializer and handler find blocked: the mask of the one who opened the pool
  std::function<void()> warm_up;      // see ZygoteConfig; empty = no spare
  std::function<void()> in_zygote;    // first thing in the forked zygote: drop the descriptors that belong to the pool alone
};

/// Forks the zygote; returns its pid (a child of the caller, to be waited for). stdio is flushed first, or unflushed text would be
/// printed twice.
Result<int> fork_cpp_zygote(CppZygote zygote);

}  // namespace holdfast::worker
