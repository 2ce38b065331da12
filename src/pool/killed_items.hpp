// What: the items whose outcome was a death or a time-out, with their encoded arguments, for get_killed_tasks(): the last of them, within
// bounds, so that a pool which loses tasks for months does not grow. Owned by Engine::Impl, guarded by its mutex.
#pragma once

#include <cstddef>
#include <deque>

#include "pool/engine.hpp"

namespace holdfast::pool {

class KilledItems {
 public:
  static constexpr std::size_t kMost = 100'000;
  static constexpr std::size_t kMostBytes = std::size_t{256}
                                            << 20;  // of arguments and tracebacks; the newest item is kept whatever its size
  static constexpr std::size_t kMostBuffers = 64;   // arguments in shared buffers: each holds a descriptor

  /// Drops the oldest ones where a bound is passed.
  void add(KilledItem&& item);
  const std::deque<KilledItem>& all() const { return items_; }

 private:
  void drop_oldest();
  std::deque<KilledItem> items_;
  std::size_t bytes_ = 0;
  std::size_t buffers_ = 0;
};

}  // namespace holdfast::pool
