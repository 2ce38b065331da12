// What: see killed_items.hpp.
#include "pool/killed_items.hpp"

#include <utility>

namespace holdfast::pool {

namespace {
std::size_t bytes_of(const KilledItem& item) {
  return item.report.traceback.size() + (item.large_item ? item.large_size : item.item.bytes().size());
}
}  // namespace

void KilledItems::add(KilledItem&& item) {
  bytes_ += bytes_of(item);
  buffers_ += item.large_item ? 1 : 0;
  items_.push_back(std::move(item));
  while (items_.size() > 1 && (items_.size() > kMost || bytes_ > kMostBytes || buffers_ > kMostBuffers)) drop_oldest();
}

void KilledItems::drop_oldest() {
  const KilledItem& oldest = items_.front();
  bytes_ -= bytes_of(oldest);
  buffers_ -= oldest.large_item ? 1 : 0;
  items_.pop_front();
}

}  // namespace holdfast::pool
