// What: the account of oom_kill counts (see oom_account.hpp).
#include "core/oom_account.hpp"

#include <algorithm>

namespace holdfast::core {

namespace {
constexpr std::uint64_t kMost = 4096;  // as many as a pool has workers: more rises than that at once are nobody's news
}

void OomAccount::look(std::optional<std::uint64_t> count, Time now) {
  if (!count) return;
  if (!last_) {
    last_ = count;
    return;
  }
  // A counter that falls is another one: nothing is known about what lies between.
  const std::uint64_t rise = *count > *last_ ? std::min(*count - *last_, kMost) : 0;
  last_ = count;
  for (std::uint64_t i = 0; i < rise; ++i) rises_.push_back(now);
  while (!rises_.empty() && now - rises_.front() > kClaimWithin) rises_.pop_front();
}

void OomAccount::write_off(std::optional<std::uint64_t> count) {
  if (count) last_ = count;
  rises_.clear();
}

bool OomAccount::claim(std::int64_t memory, std::span<const std::int64_t> others) {
  const auto larger = static_cast<std::size_t>(std::count_if(others.begin(), others.end(), [memory](auto each) { return each > memory; }));
  if (rises_.size() <= larger) return false;
  rises_.pop_front();
  return true;
}

}  // namespace holdfast::core
