// What: how many bytes of result segments views of results may hold at once (shared_memory_limit). Thread-safe. Callers: python/bindings.
#pragma once

#include <atomic>
#include <cstddef>
#include <memory>

#include "pool/payload.hpp"

namespace holdfast::pool {

class ViewBudget {
 public:
  explicit ViewBudget(std::size_t limit) : limit_(limit) {}
  /// What keeps the payload's bytes where they are for as long as a copy of it lives, after the payload, the pool and the worker too. Null: the
  /// payload is not in a segment, or the limit (or memory) does not allow it; its bytes are then to be copied.
  static std::shared_ptr<const void> lend(const std::shared_ptr<ViewBudget>& budget, const Payload& payload);
  std::size_t lent() const { return lent_.load(std::memory_order_relaxed); }

 private:
  class Loan;
  bool take(std::size_t bytes);

  const std::size_t limit_;
  std::atomic<std::size_t> lent_{0};  // relaxed throughout: a count and nothing else
};

}  // namespace holdfast::pool
