// What: how far a lazy job's input may be read ahead of its consumer (P9: backpressure). Owned by Job, under the pool's mutex.
//
// Small by default, so that little is held. For items of some microseconds that is too small: the consumer, the feeder and the workers then take turns
// instead of running side by side. So the window doubles each time that the feeder has waited for room, and after it the consumer for a result, and a worker
// was idle (the three together mean: it is the window that they wait for), up to a limit that the job's maker has set, and as
// long as what lies in it is small: kBytes at the size of the largest item or result seen so far.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace holdfast::pool {

class Window {
 public:
  static constexpr std::uint64_t kBytes = std::uint64_t{8} << 20;

  /// `items`: to begin with; 0: no window at all. `widest`: it never gets wider than this (or than `items`).
  Window(std::uint64_t items, std::uint64_t widest, std::uint64_t chunk_size)
      : base_(items), widest_(std::max(items, widest)), chunk_size_(chunk_size), size_(items) {}

  bool limited() const { return base_ != 0; }
  /// How many items may have been taken and not yet been consumed.
  std::uint64_t size() const { return size_; }
  /// Room that is worth waking the feeder for: a chunk, or half a window.
  std::uint64_t worth_feeding() const { return std::min(size_, std::max(chunk_size_, size_ / 2)); }

  /// Items or results of so many bytes each are held.
  void saw(std::size_t bytes) {
    if (bytes <= largest_) return;
    largest_ = bytes;
    size_ = std::max(base_, std::min(size_, kBytes / largest_));
  }
  /// The feeder has found too little room, and waits.
  void blocks() { blocking_ = true; }
  /// The consumer waits while a worker is idle.
  void starves() { starving_ = starving_ || blocking_; }
  /// Before the feeder looks for room.
  void widen_if_starving() {
    if (!starving_) return;
    starving_ = blocking_ = false;
    const std::uint64_t twice = size_ > widest_ / 2 ? widest_ : size_ * 2;
    size_ = std::max(base_, std::min(twice, kBytes / std::max<std::uint64_t>(largest_, 1)));
  }

 private:
  std::uint64_t base_;
  std::uint64_t widest_;
  std::uint64_t chunk_size_;
  std::uint64_t size_;
  std::uint64_t largest_ = 0;
  bool blocking_ = false;
  bool starving_ = false;
};

}  // namespace holdfast::pool
