// What: how many workers may have work at once after the kernel has killed some for lack of memory. PURE; owned by the scheduler, which tells it of
// kills and asks it before it gives work to an idle worker.
//
// Open until the first kill: then nothing is asked of it and nothing is paid for it. A kill halves how many ran; more often where the same item
// was hit before, so that one which fits only alone comes to run alone within few attempts, however many workers there are. One is added back
// after each stretch without a kill; a kill soon after that makes the stretches twice as long. So a map whose items fit one at a time completes,
// and a worker that is stuck in an item for ever holds the others up for no longer than a stretch.
#pragma once

#include <cstdint>

#include "base/types.hpp"

namespace holdfast::core {

class MemoryGate {
 public:
  static constexpr Nanos kStretch = std::chrono::seconds(5);
  static constexpr Nanos kLongestStretch = std::chrono::minutes(5);

  bool open() const { return allowed_ == kNoLimit; }
  /// Workers that may have work; never 0.
  std::uint32_t allowed() const { return allowed_; }
  /// When one more may; kNever while open.
  Time next_raise() const { return raise_at_; }

  /// A worker was killed for lack of memory while `running` of them had work, itself included; its item has now been run `runs` times.
  void killed(std::uint32_t running, std::uint32_t runs, Time now);
  /// Adds back what is due; open again where all `workers` may have work.
  void tick(std::uint32_t workers, Time now);

 private:
  static constexpr std::uint32_t kNoLimit = ~std::uint32_t{0};
  std::uint32_t allowed_ = kNoLimit;
  Time raise_at_ = kNever;
  Nanos stretch_ = kStretch;
  Time tried_until_{0};  // a kill before this is the answer to the last raise
};

}  // namespace holdfast::core
