// What: looks at many processes, of which one may never end. Reading what a process has mapped waits for its memory lock, and a process that hangs in a
// dead file system (NFS, FUSE) can hold that for ever. So a thread of its own looks; one that does not come back is given up, and another goes on
// with the rest. What it brings when it comes back after all is still taken.
// Callers: tree (whose is it?), brood. An object belongs to one thread.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "base/types.hpp"
#include "sys/clock.hpp"
#include "worker/lineage.hpp"

namespace holdfast::worker {

class Inspection {
 public:
  using Look = std::function<Lineage::Finding(int pid)>;
  /// `look` is called in other threads, one process at a time or, when one has hung, several; it may outlive this object by what it waits for, so it
  /// owns what it uses. A bad_alloc out of it counts as "gone" for that process. Nothing is started before the first question.
  explicit Inspection(Look look);
  /// Waits for no look that hangs.
  ~Inspection();

  struct Answer {
    int pid = 0;
    Lineage::Finding finding;
  };
  /// Findings about these processes, in any order, and about those asked for earlier whose look has ended since. Of a process whose look takes
  /// longer than 100 ms while no other ends, nothing comes now. With so many of those that no more threads are started (16), or can be, the
  /// questions that are left are dropped; where not even one can be, this thread looks, without a limit. About 10 us and the looks' own time. Throws std::bad_alloc.
  std::vector<Answer> ask(std::span<const int> pids);
  /// Waits, to `limit` at most, until one of the looks that hung has ended, and takes what there is.
  std::vector<Answer> late_answers(Time limit);

  Inspection(const Inspection&) = delete;
  Inspection& operator=(const Inspection&) = delete;

 private:
  struct Desk;
  bool hire();
  void look_here(std::span<const int> pids);
  std::shared_ptr<Desk> desk_;
};

}  // namespace holdfast::worker
