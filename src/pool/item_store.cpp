// What: see item_store.hpp.
#include "pool/item_store.hpp"

#include <algorithm>

#include "base/check.hpp"

namespace holdfast::pool {

void ItemStore::append(ItemBatch&& batch) {
  if (batch.empty()) return;
  const std::uint64_t added = batch.count();
  parts_.emplace_hint(parts_.end(), count_, Part{count_, added, std::move(batch)});
  count_ += added;
}

const ItemStore::Part& ItemStore::part_of(ItemIndex index) const {
  const auto after = parts_.upper_bound(index);
  HF_CHECK(after != parts_.begin());
  return std::prev(after)->second;
}

/// One behind the last item of a pack, in the job's numbers.
ItemIndex ItemStore::pack_end(const Part& part, std::size_t pack) const {
  const auto& packs = part.batch.packs_;
  return part.first + (pack + 1 < packs.size() ? packs[pack + 1].first : part.batch.count_);
}

/// Moves place_ to item `index`.
void ItemStore::seek(ItemIndex index) const {
  const bool near = place_.part != nullptr && place_.item <= index && index < pack_end(*place_.part, place_.pack);
  if (!near) {
    const Part& part = part_of(index);
    const auto& packs = part.batch.packs_;
    const ItemIndex in_part = index - part.first;
    const auto after = std::upper_bound(packs.begin(), packs.end(), in_part,
                                        [](ItemIndex wanted, const ItemBatch::Pack& pack) { return wanted < pack.first; });
    HF_CHECK(after != packs.begin());
    const auto pack = static_cast<std::size_t>(after - packs.begin()) - 1;
    place_ = {.part = &part, .pack = pack, .item = part.first + packs[pack].first, .offset = 0};
  }
  if (place_.item == index) return;
  const StoredRun skipped = records_behind(index - place_.item);
  place_.offset += static_cast<std::uint32_t>(skipped.records.size());
  place_.item = index;
}

/// `count` records from place_ on, which are there.
StoredRun ItemStore::records_behind(std::uint64_t count) const {
  const ItemBatch& batch = place_.part->batch;
  const ItemBatch::Pack& pack = batch.packs_[place_.pack];
  const ByteSpan records(batch.blocks_[pack.block].get() + pack.offset + place_.offset, pack.size - place_.offset);
  if (place_.item + count == pack_end(*place_.part, place_.pack)) return {static_cast<std::uint32_t>(count), records};
  ring::pack::Reader reader(records);
  ByteSpan record;
  for (std::uint64_t i = 0; i < count; ++i) HF_CHECK(reader.next(record));
  return {static_cast<std::uint32_t>(count), records.first(static_cast<std::size_t>(reader.position() - records.data()))};
}

StoredItem ItemStore::at(ItemIndex index) const {
  seek(index);
  const ItemBatch& batch = place_.part->batch;
  const ItemBatch::Pack& pack = batch.packs_[place_.pack];
  switch (pack.kind) {
    case ItemBatch::Kind::large: {
      const ItemBatch::Large& large = batch.large_[pack.block];
      return {.inline_bytes = {}, .buffer = &large.buffer, .size = large.size};
    }
    case ItemBatch::Kind::plain:
      return {.inline_bytes = {batch.blocks_[pack.block].get() + pack.offset, pack.size}, .buffer = nullptr, .size = pack.size};
    case ItemBatch::Kind::records: break;
  }
  const ByteSpan record = records_behind(1).records.subspan(ring::pack::kPrefix);
  return {.inline_bytes = record, .buffer = nullptr, .size = record.size()};
}

StoredRun ItemStore::run_at(ItemIndex index, std::uint64_t most) const {
  seek(index);
  if (place_.part->batch.packs_[place_.pack].kind != ItemBatch::Kind::records) return {};
  return records_behind(std::min(most, pack_end(*place_.part, place_.pack) - index));
}

void ItemStore::settled(ItemIndex first, std::uint64_t count) {
  while (count > 0 && !parts_.empty()) {
    Part& part = const_cast<Part&>(part_of(first));
    const std::uint64_t in_part = std::min<std::uint64_t>(count, part.first + part.batch.count() - first);
    part.unsettled -= in_part;
    if (part.unsettled == 0) {
      if (place_.part == &part) place_ = {};
      part.batch = ItemBatch{};  // bytes go now; the empty part keeps its place until the ones before it are gone
      while (!parts_.empty() && parts_.begin()->second.unsettled == 0) parts_.erase(parts_.begin());
    }
    first += in_part;
    count -= in_part;
  }
}

}  // namespace holdfast::pool
