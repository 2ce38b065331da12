// What: looks at many processes, of which one may never end. Reading what a process has mapped waits for its memory lock, and a process that hangs in a
// dead file system (NFS, FUSE) can hold that for ever. So a thread of its own looks; one that does not come back is given up, and another goes on
// with the rest. What it brings when it comes back after all is still taken: a look may have been slow, not hung.
// Callers: hunt (whose is it?), brood. An object belongs to one thread. Between two calls no thread is left but those that hang.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "base/types.hpp"
#include "worker/lineage.hpp"

namespace holdfast::worker {

class Inspection {
 public:
  using Look = std::function<Lineage::Finding(int pid)>;
  struct Answer {
    int pid = 0;
    Lineage::Finding finding;
  };

  /// `look` is called in other threads, one process at a time or, when one has hung, several; it may outlive this object by what it waits for, so it
  /// owns what it uses. A bad_alloc out of it counts as "gone" for that process.
  explicit Inspection(Look look);
  /// Waits for no look that hangs.
  ~Inspection() = default;

  /// Findings about these processes, in any order, and about those asked for earlier whose look has ended since; of a process whose look hangs nothing
  /// comes now, and asking again is no second look. A look hangs when it takes longer than 50 ms, or 10 ms once some hang. What is not
  /// looked at until `limit`, or because no more threads can hang (64) or be started, has no answer either: ask again. Where
  /// there is not even one thread, this one looks, without a limit. About 50 us and the looks' own time. Throws std::bad_alloc.
  std::vector<Answer> ask(std::span<const int> pids, Time limit);
  /// Waits, to `limit` at most, until one of the looks that hung has ended, and takes what there is.
  std::vector<Answer> late_answers(Time limit);
  /// How many looks hang now.
  std::size_t hanging() const;

  Inspection(const Inspection&) = delete;
  Inspection& operator=(const Inspection&) = delete;

 private:
  struct Desk;
  void look_here();
  std::shared_ptr<Desk> desk_;
};

}  // namespace holdfast::worker
