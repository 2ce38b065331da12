// What: the outcomes of a job that is read all at once (a map of long chunks): what was done lies in runs of records as it came out of the
// ring (ring/pack.hpp), so a million small results cost a few thousand copies and no object each. Owned by Job, guarded by the pool's mutex.
//
// Invariants: 1. An item has one state byte, which leaves `pending` once (P1). 2. A run's items are `done` and lie in no other run.
// 3. A payload that is no record (raised, or in a shared buffer) is in `others`; a raised item without one has lost its result for lack of
// memory.
#pragma once

#include <memory>
#include <unordered_map>
#include <vector>

#include "holdfast/outcome.hpp"
#include "pool/payload.hpp"

namespace holdfast::pool {

class OutcomeRuns {
 public:
  void grow(std::uint64_t items) { kinds_.resize(kinds_.size() + items, OutcomeKind::pending); }
  std::uint64_t size() const { return kinds_.size(); }
  OutcomeKind kind(ItemIndex item) const { return kinds_[item]; }

  /// Of an item that is pending. `payload`: done or raised. Needs no memory for one that is empty or lost.
  void settle(ItemIndex item, OutcomeKind kind, Payload&& payload);
  /// Memory for the records of a run that is about to come; empty when there is none to be had.
  MutableByteSpan room();
  /// `bytes` of room() hold `count` records: the results of the items from `first` on. Returns how many of them had been pending; the others
  /// keep what they have.
  std::uint64_t settle_run(ItemIndex first, std::uint32_t count, std::size_t bytes);

  /// All payloads; the states stay. For a job that nobody will read.
  OutcomeRuns take_payloads();

  // For the reader, who owns this object by then.
  void sort_for_reading();
  /// The record of item `item`, empty if it is in no run: other(). Items are asked for in ascending order (the same one again is fine). A block
  /// of memory is freed when the last of its runs has been read.
  ByteSpan read(ItemIndex item);
  Payload* other(ItemIndex item) { return others_.empty() ? nullptr : find_other(item); }  // nullptr: it has none

 private:
  Payload* find_other(ItemIndex item);
  struct Run {
    ItemIndex first;
    std::uint32_t count;
    std::uint32_t block;
    std::uint32_t offset;
    std::uint32_t size;
  };
  struct Block {
    std::unique_ptr<std::byte[]> bytes;
    std::size_t size = 0;
    std::size_t used = 0;
    std::size_t runs = 0;  // that have not been read
  };
  struct Reading {
    std::size_t run = 0;
    bool opened = false;
    ItemIndex next = 0;  // of the record that `records` gives next
    ring::pack::Reader records;
    ByteSpan record;
  };
  MutableByteSpan room(std::size_t at_least);
  bool add_run(ItemIndex first, std::uint32_t count, std::size_t bytes);

  std::vector<OutcomeKind> kinds_;
  std::vector<Run> runs_;
  std::vector<Block> blocks_;
  std::unordered_map<ItemIndex, Payload> others_;
  std::uint32_t starved_ = 0;
  Reading reading_;
};

}  // namespace holdfast::pool
