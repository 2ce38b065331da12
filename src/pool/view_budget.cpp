// What: see view_budget.hpp.
#include "pool/view_budget.hpp"

#include <new>
#include <utility>

namespace holdfast::pool {

class ViewBudget::Loan {
 public:
  Loan(std::shared_ptr<ViewBudget> budget, std::shared_ptr<LargeResult> result, std::size_t bytes)
      : budget_(std::move(budget)), result_(std::move(result)), bytes_(bytes) {}
  ~Loan() { budget_->lent_.fetch_sub(bytes_, std::memory_order_relaxed); }
  Loan(const Loan&) = delete;
  Loan& operator=(const Loan&) = delete;

 private:
  std::shared_ptr<ViewBudget> budget_;
  std::shared_ptr<LargeResult> result_;
  std::size_t bytes_;
};

bool ViewBudget::take(std::size_t bytes) {
  std::size_t before = lent_.load(std::memory_order_relaxed);
  do {
    if (bytes > limit_ || before > limit_ - bytes) return false;
  } while (!lent_.compare_exchange_weak(before, before + bytes, std::memory_order_relaxed));
  return true;
}

std::shared_ptr<const void> ViewBudget::lend(const std::shared_ptr<ViewBudget>& budget, const Payload& payload) {
  std::shared_ptr<LargeResult> result = payload.large_result();
  if (!result) return nullptr;
  const std::size_t bytes = result->segment_bytes();
  if (!budget->take(bytes)) return nullptr;
  try {
    return std::make_shared<Loan>(budget, std::move(result), bytes);
  } catch (const std::bad_alloc&) {
    budget->lent_.fetch_sub(bytes, std::memory_order_relaxed);
    return nullptr;
  }
}

}  // namespace holdfast::pool
