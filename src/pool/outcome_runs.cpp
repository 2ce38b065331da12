// What: see outcome_runs.hpp.
#include "pool/outcome_runs.hpp"

#include <algorithm>
#include <new>
#include <utility>

#include "base/allocate.hpp"
#include "base/check.hpp"

namespace holdfast::pool {

namespace {
constexpr std::size_t kFirstBlock = 16 * 1024;
constexpr std::size_t kLeastRoom = 4096;     // what is left of a block is given up below this
constexpr std::uint32_t kStarvedFor = 1000;  // calls that are refused after a lack of memory: asking the system again costs microseconds
constexpr std::size_t kPadding = 8;          // ParentChannel::take_done_run() writes whole words
}  // namespace

MutableByteSpan OutcomeRuns::room() { return room(kLeastRoom); }

MutableByteSpan OutcomeRuns::room(std::size_t at_least) {
  if (blocks_.empty() || blocks_.back().size - blocks_.back().used < at_least) {
    if (starved_ > 0) {
      --starved_;
      return {};
    }
    const std::size_t size = next_block_size(blocks_.empty() ? 0 : blocks_.back().size, kFirstBlock, at_least);
    auto bytes = allocate(size);
    if (!bytes) {
      starved_ = kStarvedFor;
      return {};
    }
    blocks_.push_back({.bytes = std::move(bytes), .size = size});
  }
  Block& block = blocks_.back();
  return {block.bytes.get() + block.used, block.size - block.used};
}

void OutcomeRuns::settle(ItemIndex item, OutcomeKind kind, Payload&& payload) {
  kinds_[item] = kind;
  const ByteSpan bytes = payload.bytes();
  if (kind != OutcomeKind::done || payload.is_large()) {
    if (!bytes.empty()) others_.emplace(item, std::move(payload));
    return;
  }
  const std::size_t record = ring::pack::cost(bytes.size());
  std::byte* const to = room(record + kPadding).data();
  if (to == nullptr) {
    kinds_[item] = OutcomeKind::raised;  // without a payload: lost
    return;
  }
  ring::pack::put_prefix(to, bytes.size());
  if (!bytes.empty()) std::memcpy(to + ring::pack::kPrefix, bytes.data(), bytes.size());
  if (!add_run(item, 1, record)) kinds_[item] = OutcomeKind::raised;
  blocks_.back().used += record;
}

std::uint64_t OutcomeRuns::settle_run(ItemIndex first, std::uint32_t count, std::size_t bytes) {
  HF_CHECK(first + count <= kinds_.size());
  const auto begin = kinds_.begin() + static_cast<std::ptrdiff_t>(first);
  const auto end = begin + count;
  std::uint64_t settled = count;
  if (std::all_of(begin, end, [](OutcomeKind kind) { return kind == OutcomeKind::pending; })) {
    std::fill(begin, end, add_run(first, count, bytes) ? OutcomeKind::done : OutcomeKind::raised);
    blocks_.back().used += bytes;
    return settled;
  }
  // Rare: some were cancelled or terminated meanwhile.
  Block& block = blocks_.back();
  ring::pack::Reader reader(ByteSpan(block.bytes.get() + block.used, bytes));
  ByteSpan record;
  for (ItemIndex item = first; reader.next(record); ++item) {
    if (kinds_[item] == OutcomeKind::pending) {
      kinds_[item] = add_run(item, 1, ring::pack::cost(record.size())) ? OutcomeKind::done : OutcomeKind::raised;
    } else {
      --settled;
    }
    block.used += ring::pack::cost(record.size());
  }
  return settled;
}

/// The records lie at the end of what is used of the last block. False: there is no memory to list them, they are lost.
bool OutcomeRuns::add_run(ItemIndex first, std::uint32_t count, std::size_t bytes) {
  Block& block = blocks_.back();
  const auto index = static_cast<std::uint32_t>(blocks_.size() - 1);
  const auto offset = static_cast<std::uint32_t>(block.used);
  const auto size = static_cast<std::uint32_t>(bytes);
  if (!runs_.empty()) {
    Run& last = runs_.back();
    if (last.block == index && last.offset + last.size == offset && last.first + last.count == first) {
      last.count += count;
      last.size += size;
      return true;
    }
  }
  try {
    runs_.push_back({.first = first, .count = count, .block = index, .offset = offset, .size = size});
  } catch (const std::bad_alloc&) { return false; }
  ++block.runs;
  return true;
}

OutcomeRuns OutcomeRuns::take_payloads() {
  OutcomeRuns taken;
  taken.runs_ = std::exchange(runs_, {});
  taken.blocks_ = std::exchange(blocks_, {});
  taken.others_ = std::exchange(others_, {});
  return taken;
}

Payload* OutcomeRuns::find_other(ItemIndex item) {
  const auto found = others_.find(item);
  return found == others_.end() ? nullptr : &found->second;
}

void OutcomeRuns::sort_for_reading() {
  std::sort(runs_.begin(), runs_.end(), [](const Run& a, const Run& b) { return a.first < b.first; });
}

ByteSpan OutcomeRuns::read(ItemIndex item) {
  Reading& at = reading_;
  while (at.run < runs_.size() && runs_[at.run].first + runs_[at.run].count <= item) {
    Block& block = blocks_[runs_[at.run].block];
    if (--block.runs == 0) block.bytes.reset();
    ++at.run;
    at.opened = false;
  }
  if (at.run == runs_.size() || item < runs_[at.run].first) return {};
  const Run& run = runs_[at.run];
  if (!at.opened) {
    at.records = ring::pack::Reader(ByteSpan(blocks_[run.block].bytes.get() + run.offset, run.size));
    at.next = run.first;
    at.opened = true;
  }
  while (at.next <= item && at.records.next(at.record)) ++at.next;
  return at.record;
}

}  // namespace holdfast::pool
