// What: a set of item indexes kept as disjoint, merged runs in order. For the unusual items of a job (queued again, cancelled
// while in flight), so that a job's usual case needs no set at all. A value; not thread-safe.
#pragma once

#include <cstdint>
#include <map>

#include "base/types.hpp"

namespace holdfast::core {

/// Items [first, end).
struct Run {
  ItemIndex first = 0;
  ItemIndex end = 0;
  std::uint64_t count() const { return end - first; }
  bool empty() const { return first >= end; }
  friend bool operator==(const Run&, const Run&) = default;
};

inline Run intersect(const Run& a, const Run& b) {
  const Run both{a.first > b.first ? a.first : b.first, a.end < b.end ? a.end : b.end};
  return both.empty() ? Run{} : both;
}

class RunSet {
 public:
  bool empty() const { return runs_.empty(); }
  std::uint64_t count() const { return count_; }
  Run front() const { return {runs_.begin()->first, runs_.begin()->second}; }  // not when empty

  /// Adds `run`; what overlaps or touches is merged.
  void add(Run run);
  /// Takes the lowest items: at most `most` of the first run. Not when empty.
  Run take_front(std::uint64_t most);
  /// Removes what lies in `range` and hands each removed run to `each(Run)`, in order.
  template <class Each>
  void remove(Run range, Each&& each);
  bool contains(ItemIndex item) const;
  /// The lowest piece of `range` that is in the set; empty when none is.
  Run first_within(Run range) const;
  void clear();
  auto begin() const { return runs_.begin(); }
  auto end() const { return runs_.end(); }

 private:
  std::map<ItemIndex, ItemIndex> runs_;  // first -> end; O(log runs) per operation, runs are few
  std::uint64_t count_ = 0;
};

template <class Each>
void RunSet::remove(Run range, Each&& each) {
  if (range.empty()) return;
  auto it = runs_.upper_bound(range.first);
  if (it != runs_.begin()) --it;
  while (it != runs_.end() && it->first < range.end) {
    const Run whole{it->first, it->second};
    const Run cut = intersect(whole, range);
    if (cut.empty()) {
      ++it;
      continue;
    }
    it = runs_.erase(it);
    if (whole.first < cut.first) runs_.emplace(whole.first, cut.first);
    if (cut.end < whole.end) it = runs_.emplace(cut.end, whole.end).first;
    count_ -= cut.count();
    each(cut);
  }
}

}  // namespace holdfast::core
