// What: the children of a zygote: its workers, and the orphans that it adopted as their subreaper. Decides whose an orphan is and
// ends those that nobody owns. Single-threaded, as the zygote is.
//
// An orphan stays while its worker lives, and after a clean end of that worker (a recycle leaves a user's daemons alone). It is killed
// when its worker died, and also when it belongs to no worker that we know: such a one was started by something that is dead.
#pragma once

#include <cstddef>
#include <deque>
#include <optional>
#include <unordered_map>
#include <vector>

#include "base/types.hpp"
#include "sys/children.hpp"
#include "sys/fd.hpp"
#include "worker/inspection.hpp"
#include "worker/lineage.hpp"

namespace holdfast::worker {

class Brood {
 public:
  struct Worker {
    WorkerId id = 0;
    UniqueFd pidfd;
    bool end_told = false;       // the pool has been told of its end
    std::optional<bool> burial;  // the pool gave it up before its end: it is reaped then. True: with what it left behind
  };

  void add(int pid, Worker worker);
  std::vector<int> pids() const;  // of the workers
  Worker* find(int pid);          // nullptr: no worker of ours
  /// A worker was reaped; its id, or 0 where it was none. `left_alone`: what it started may stay.
  WorkerId remove(int pid, bool left_alone);

  void reap_ended_orphans();
  /// Kills and reaps the orphans that came from `dead`, and those that belong to nobody. One whose look hangs (inspection.hpp) is judged when that ends.
  void kill_leftovers(WorkerId dead, const Lineage& lineage, const sys::ChildSignal& child_signal);
  /// When looks that hung are to be asked about; kNever: none hangs. Then take_late_looks(), which kills what came from dead workers.
  Time next_look() const { return next_look_; }
  void take_late_looks();
  /// The end: everything below this process is killed and reaped, workers too.
  void kill_everything(const sys::ChildSignal& child_signal);
  /// In a forked worker: closes what belongs to the zygote.
  void forget();

 private:
  enum class Owner { dead, other, nobody };
  Owner owner_by(const Lineage::Finding& finding, WorkerId dead) const;
  std::vector<int> orphans() const;

  // So many clean recycles are remembered; an orphan of an older one counts as nobody's.
  static constexpr std::size_t kLeftAloneLimit = 1024;
  std::unordered_map<int, Worker> workers_;
  std::deque<WorkerId> left_alone_;
  std::optional<Inspection> inspection_;  // from the first orphan on
  Time next_look_ = kNever;
  Nanos look_pause_{0};
};

}  // namespace holdfast::worker
