// What: a worker's first acts after the fork, before any user code, and the messages of its birth to the pool. After enrol() the worker
// is in its own process group, dies with the pool's process in any state, is the first choice of the OOM killer, and has said hello.
// Callers: cpp_zygote.cpp, python/bindings/bind_worker.cpp. Call with all signals blocked and one thread.
#pragma once

#include <memory>
#include <optional>
#include <string_view>

#include "base/result.hpp"
#include "ring/channel.hpp"
#include "worker/seed.hpp"
#include "worker/watcher.hpp"

namespace holdfast::worker {

/// An enrolled worker: its seed, its channel, its watcher. Lives as long as the process.
struct Enrolment {
  WorkerSeed seed;
  int group = 0;
  std::unique_ptr<Watcher> watcher;
  std::unique_ptr<ring::WorkerChannel> channel;
  ring::BellPage bell;
};

/// What of an enrolment needs no seed. From here on the process dies with the zygote and is in a group of its own.
struct Groundwork {
  int group = 0;
  ring::BellPage bell;
};
/// A spare does this ahead (zygote.hpp). Leaves the process when the zygote is dead.
Result<Groundwork> lay_ground(int bell_fd, int zygote_pid);

/// `ground`: what was done ahead; without it, it is done here. An error means that the worker must leave; the pool has been told why
/// (init_failed), where it could be told.
Result<std::unique_ptr<Enrolment>> enrol(WorkerSeed&& seed, std::optional<Groundwork>&& ground = std::nullopt);

/// After the initializer: the parent-death signal again (a change of credentials clears it), then `ready`.
Status report_ready(const Enrolment& enrolment);

/// The initializer failed: `text` for a person, cut at 32 KiB.
void report_init_failed(int socket, std::string_view text);

}  // namespace holdfast::worker
