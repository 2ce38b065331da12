// What: see item_store.hpp.
#include "pool/item_store.hpp"

#include <algorithm>

#include "base/check.hpp"

namespace holdfast::pool {

void ItemStore::append(ItemBatch&& batch) {
  if (batch.empty()) return;
  const std::uint64_t added = batch.count();
  parts_.push_back({count_, added, std::move(batch)});
  count_ += added;
}

const ItemStore::Part& ItemStore::part_of(ItemIndex index) const {
  HF_CHECK(!parts_.empty());
  if (parts_.size() == 1) return parts_.front();
  const auto after =
      std::upper_bound(parts_.begin(), parts_.end(), index, [](ItemIndex wanted, const Part& part) { return wanted < part.first; });
  HF_CHECK(after != parts_.begin());
  return *std::prev(after);
}

StoredItem ItemStore::at(ItemIndex index) const {
  const Part& part = part_of(index);
  const ItemBatch::Item& item = part.batch.items_.at(index - part.first);
  if (item.block != ItemBatch::kLarge) {
    return {.inline_bytes = {part.batch.blocks_[item.block].get() + item.offset, item.size}, .buffer = nullptr, .size = item.size};
  }
  const ItemBatch::Large& large = part.batch.large_[item.offset];
  return {.inline_bytes = {}, .buffer = &large.buffer, .size = large.size};
}

void ItemStore::settled(ItemIndex first, std::uint64_t count) {
  while (count > 0 && !parts_.empty()) {
    Part& part = const_cast<Part&>(part_of(first));
    const std::uint64_t in_part = std::min<std::uint64_t>(count, part.first + part.batch.count() - first);
    part.unsettled -= in_part;
    if (part.unsettled == 0) {
      part.batch = ItemBatch{};  // bytes go now; the empty part keeps its place until the ones before it are gone
      if (&part == &parts_.front()) {
        while (!parts_.empty() && parts_.front().unsettled == 0) parts_.pop_front();
      }
    }
    first += in_part;
    count -= in_part;
  }
}

}  // namespace holdfast::pool
