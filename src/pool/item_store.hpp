// What: the encoded items of one job while they may still be sent (or sent again). Owned by Job, under the pool's mutex.
// A lazy job's items come in batches; a batch is freed when all of its items are settled, so a job of any length stays flat.
#pragma once

#include <map>

#include "pool/payload.hpp"

namespace holdfast::pool {

struct StoredItem {
  ByteSpan inline_bytes;  // when buffer is null
  const std::shared_ptr<ring::SharedBuffer>* buffer = nullptr;
  std::size_t size = 0;
};

/// Consecutive items as the records of a pack.
struct StoredRun {
  std::uint32_t count = 0;
  ByteSpan records;
};

class ItemStore {
 public:
  void append(ItemBatch&& batch);
  std::uint64_t count() const { return count_; }
  /// Item `index`, not settled yet. Valid until the next call of append() or settled(). O(1) behind the last one asked for.
  StoredItem at(ItemIndex index) const;
  /// Items from `index` on that lie in one pack, at most `most`. count 0: item `index` is larger than a record. Valid and cost as at().
  StoredRun run_at(ItemIndex index, std::uint64_t most) const;
  /// `count` items from `first` need not be sent again. Frees whole batches.
  void settled(ItemIndex first, std::uint64_t count);

 private:
  struct Part {
    ItemIndex first;
    std::uint64_t unsettled;
    ItemBatch batch;
  };
  /// Where an item lies. Kept behind each answer: items are nearly always asked for one behind the other.
  struct Place {
    const Part* part = nullptr;
    std::size_t pack = 0;
    ItemIndex item = 0;        // in the job
    std::uint32_t offset = 0;  // in the pack: of the item's record
  };
  const Part& part_of(ItemIndex index) const;
  ItemIndex pack_end(const Part& part, std::size_t pack) const;
  void seek(ItemIndex index) const;
  StoredRun records_behind(std::uint64_t count) const;

  std::map<ItemIndex, Part> parts_;  // by the first item. References to its elements stay good while others are added and taken
  std::uint64_t count_ = 0;
  mutable Place place_;
};

}  // namespace holdfast::pool
