// What: telling whether a process comes from a worker of a pool, and from which, wherever it has gone: other sessions, other parents.
//
// Each worker leaves two things on all that it starts: a page of the pool's bell file mapped at an offset that is its id (what is forked keeps
// it until it execs) and its tag in the environment (what is exec'd keeps that). Nobody but a worker maps that page, not even the pool's
// own process or its zygote: so what the caller forks, a next zygote among it, is never taken for a worker's. A second page, which is not
// inherited, tells the worker itself from what it forked.
// Callers: zygote (whose an orphan is), watcher and pool (the end of a pool whose zygote has died). A value; thread-safe.
#pragma once

#include <string>

#include "base/types.hpp"
#include "sys/origin.hpp"

namespace holdfast::worker {

class Lineage {
 public:
  /// Nobody's: every process is a stranger to it.
  Lineage() = default;
  /// Of the pool that owns this bell file. The same from every process that holds the file, also when the pool's own has died.
  static Result<Lineage> of_pool(int bell_fd);

  /// The value of HOLDFAST_WORKER for what this worker execs: no other pool's that lives now (the file's number is in it).
  std::string tag(WorkerId worker) const { return prefix_ + std::to_string(worker); }
  /// In a worker, before any code of the user's: maps the pages.
  static Status mark_this_process(int bell_fd, WorkerId worker);

  enum class Kin {
    ours,       // comes from a worker of this pool, or is one
    stranger,   // does not; also: is a zombie, or not ours to read
    gone,       // there is no such process any more
    undecided,  // shows nothing at all: in the middle of an exec (ask again), or exec'd with an empty environment
  };
  struct Finding {
    Kin kin = Kin::stranger;
    WorkerId worker = 0;     // ours: whose
    bool is_worker = false;  // it is that worker (or, for a moment, its vfork'ed child)
  };
  /// Reads /proc/<pid>/maps and environ: some 50 us; long ones longer. Throws std::bad_alloc.
  Finding look(int pid) const;

 private:
  std::string prefix_;
  sys::FileId bell_;
};

}  // namespace holdfast::worker
