// What: the outcomes of a lazy job with long chunks: what was done lies in runs of records as it came out of the ring (ring/pack.hpp), and a
// reader gets a run at a time. Owned by ManyItems, guarded by the pool's mutex.
//
// Invariants: 1. An item enters `settled_` once (P1). 2. What is settled and unread is in one piece of `pieces_`; a piece of more than one item
// is done. 3. Memory follows what is unread: what was read leaves nothing but the bounds of `settled_`, which are few, for chunks end nearly
// in order.
#pragma once

#include <deque>
#include <map>
#include <memory>

#include "core/run_set.hpp"
#include "holdfast/outcome.hpp"
#include "pool/harvest.hpp"
#include "pool/payload.hpp"

namespace holdfast::pool {

class LazyRuns {
 public:
  explicit LazyRuns(bool unordered) : unordered_(unordered) {}

  void grow(std::uint64_t items) { size_ += items; }
  std::uint64_t size() const { return size_; }
  bool is_pending(ItemIndex item) const { return item < size_ && !settled_.contains(item); }

  /// Of an item that is pending. Not kept: nobody will read it.
  void settle(ItemIndex item, OutcomeKind kind, Payload&& payload, bool keep);
  /// Memory for the records of a run that is about to come; empty when there is none to be had.
  MutableByteSpan room();
  bool all_pending(ItemIndex first, std::uint32_t count) const;
  /// The first `bytes` of room() hold `count` records: the results of the items from `first` on, which are all pending. False: there is no memory
  /// for them, and nothing has changed.
  bool settle_run(ItemIndex first, std::uint32_t count, std::size_t bytes, bool keep);
  ByteSpan records_in_room(std::size_t bytes) const { return {room_.get(), bytes}; }

  /// Whether a piece begins with item `item`.
  bool has(ItemIndex item) const { return pieces_.contains(item); }
  bool has_any() const { return !order_.empty(); }  // of an unordered job
  /// Moves the piece that begins with `item` out, or the first item of it.
  bool take(ItemIndex item, Settled& out, Take what);
  /// The same of the one that was settled first, of an unordered job.
  bool take_any(Settled& out, Take what);
  /// All pieces, for a job that nobody will read.
  std::map<ItemIndex, Settled> take_pieces();

 private:
  void split(ItemIndex item, Settled& out);
  void add(Settled&& piece);

  const bool unordered_;
  std::uint64_t size_ = 0;
  core::RunSet settled_;
  std::map<ItemIndex, Settled> pieces_;  // by their first item
  std::deque<ItemIndex> order_;          // of pieces, as they were settled; of an unordered job
  std::unique_ptr<std::byte[]> room_;
};

}  // namespace holdfast::pool
