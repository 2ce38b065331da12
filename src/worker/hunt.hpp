// What: finding and killing what comes from a pool's workers when nobody has adopted it for us: the zygote, their subreaper, has died, and daemons of
// theirs belong to a stranger now. Only their lineage tells whose they were.
// Callers: zygote that succeeds a dead one, watcher (caller and zygote dead), pool (the end without a zygote). Each object belongs to one thread.
#pragma once

#include <optional>
#include <span>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "base/types.hpp"
#include "sys/fd.hpp"
#include "worker/inspection.hpp"
#include "worker/lineage.hpp"

namespace holdfast::worker {

class Hunt {
 public:
  /// `lineage` outlives this object.
  explicit Hunt(const Lineage& lineage) : lineage_(lineage) {}

  /// SIGKILL to each process on the machine that comes from one of these workers of the pool (none named: from any), and to what hangs below it,
  /// except this process. Scans /proc until two looks have shown nothing new: about 0.1 ms of processor time for each process on the
  /// machine, and for some 0.6 s at most; some tens of processes that hang so that they cannot be looked at (inspection.hpp) are passed by.
  /// Two descriptors are enough for it; without those or memory it ends early.
  void kill(std::span<const WorkerId> workers = {}) noexcept;

 private:
  void sweep();
  void look_at_all();
  void take_hold(int pid);
  void ask_about_batch();
  void keep_spare();
  void judge(const std::vector<Inspection::Answer>& answers);
  void end(int pid, int pidfd, bool is_worker);
  void wait_for_late_ones();
  bool is_wanted(WorkerId worker) const;

  const Lineage& lineage_;
  std::optional<Inspection> inspection_;    // from the first kill() on: looks that hang are not begun again by the next
  std::unordered_map<int, UniqueFd> held_;  // asked about and not answered yet: held fast, so that an answer is about nobody else
  UniqueFd spare_descriptor_;               // a look needs one, too
  std::size_t waited_for_ = 0;              // so many hung when late answers were last waited for

  // Of one kill().
  std::span<const WorkerId> workers_;
  Time limit_{0};
  std::unordered_set<int> known_;  // strangers, and those that were killed
  std::vector<int> batch_;         // who is to be asked about next
  std::vector<int> spared_;
  bool workers_too_ = false;
  bool undecided_ = false;
  bool news_ = false;
};

}  // namespace holdfast::worker
