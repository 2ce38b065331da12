// What: fewer at once after each kill, one more after each stretch without (see memory_gate.hpp).
#include "core/memory_gate.hpp"

#include <algorithm>

namespace holdfast::core {

void MemoryGate::killed(std::uint32_t running, std::uint32_t runs, Time now) {
  const std::uint32_t halvings = std::clamp(runs, 1U, 31U);
  allowed_ = std::max(1U, std::min(allowed_, running) >> halvings);
  if (now < tried_until_)
    stretch_ = std::min(2 * stretch_, kLongestStretch);
  else if (raise_at_ == kNever)
    stretch_ = kStretch;
  tried_until_ = Time{0};  // several may die of one raise
  raise_at_ = after(now, stretch_);
}

void MemoryGate::tick(std::uint32_t workers, Time now) {
  if (now < raise_at_) return;
  // Nobody has looked for a while, perhaps: one for each stretch that has passed.
  allowed_ += static_cast<std::uint32_t>(std::min<Nanos::rep>(1 + (now - raise_at_) / stretch_, workers));
  tried_until_ = raise_at_ = after(now, stretch_);
  if (allowed_ < workers) return;
  allowed_ = kNoLimit;
  raise_at_ = kNever;
}

}  // namespace holdfast::core
