// What: RunSet's operations (see run_set.hpp).
#include "core/run_set.hpp"

#include <algorithm>
#include <iterator>

namespace holdfast::core {

void RunSet::add(Run run) {
  if (run.empty()) return;
  auto it = runs_.upper_bound(run.first);
  if (it != runs_.begin() && std::prev(it)->second >= run.first) --it;
  while (it != runs_.end() && it->first <= run.end) {
    run.first = std::min(run.first, it->first);
    run.end = std::max(run.end, it->second);
    count_ -= it->second - it->first;
    it = runs_.erase(it);
  }
  runs_.emplace(run.first, run.end);
  count_ += run.count();
}

Run RunSet::take_front(std::uint64_t most) {
  const Run whole = front();
  runs_.erase(runs_.begin());
  const std::uint64_t n = std::min(most, whole.count());
  if (n < whole.count()) runs_.emplace_hint(runs_.begin(), whole.first + n, whole.end);
  count_ -= n;
  return {whole.first, whole.first + n};
}

bool RunSet::contains(ItemIndex item) const {
  auto it = runs_.upper_bound(item);
  return it != runs_.begin() && std::prev(it)->second > item;
}

Run RunSet::first_within(Run range) const {
  auto it = runs_.upper_bound(range.first);
  if (it != runs_.begin() && std::prev(it)->second > range.first) --it;
  return it == runs_.end() ? Run{} : intersect(range, {it->first, it->second});
}

void RunSet::clear() {
  runs_.clear();
  count_ = 0;
}

}  // namespace holdfast::core
