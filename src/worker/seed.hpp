// What: what a newborn worker is given by its zygote. A value with owned descriptors; it lives until the worker's end.
#pragma once

#include <csignal>
#include <cstdint>
#include <string>

#include "base/types.hpp"
#include "sys/fd.hpp"

namespace holdfast::worker {

/// The environment variable by which exec'd descendants of a worker are known (see tree.hpp).
inline constexpr const char* kTagVariable = "HOLDFAST_WORKER";

struct WorkerSeed {
  WorkerId worker = 0;
  std::int64_t identity = 0;  // 1, 2, ...: for names
  UniqueFd socket;            // to the pool
  UniqueFd ring;              // memfd of its channel
  int bell_fd = -1;           // memfd of the pool's bell page; inherited
  int parent_pidfd = -1;      // the process that owns the pool; inherited
  int zygote_pid = 0;         // getppid() is this for as long as the zygote lives
  std::string tag;            // value of HOLDFAST_WORKER for this worker: unique on the machine
  sigset_t mask = {};         // the caller's signal mask, to be restored once enrolled
};

}  // namespace holdfast::worker
