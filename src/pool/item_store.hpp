// What: the encoded items of one job while they may still be sent (or sent again). Owned by Job, under the pool's mutex.
// A lazy job's items come in batches; a batch is freed when all of its items are settled, so a job of any length stays flat.
#pragma once

#include <deque>

#include "pool/payload.hpp"

namespace holdfast::pool {

struct StoredItem {
  ByteSpan inline_bytes;  // when buffer is null
  const std::shared_ptr<ring::SharedBuffer>* buffer = nullptr;
  std::size_t size = 0;
};

class ItemStore {
 public:
  void append(ItemBatch&& batch);
  std::uint64_t count() const { return count_; }
  /// Item `index`, not settled yet. Valid until the next call of append() or settled().
  StoredItem at(ItemIndex index) const;
  /// `count` items from `first` need not be sent again. Frees whole batches.
  void settled(ItemIndex first, std::uint64_t count);

 private:
  struct Part {
    ItemIndex first;
    std::uint64_t unsettled;
    ItemBatch batch;
  };
  const Part& part_of(ItemIndex index) const;
  std::deque<Part> parts_;
  std::uint64_t count_ = 0;
};

}  // namespace holdfast::pool
