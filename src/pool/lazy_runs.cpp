// What: see lazy_runs.hpp.
#include "pool/lazy_runs.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/allocate.hpp"
#include "base/check.hpp"

namespace holdfast::pool {

namespace {
constexpr std::size_t kRoom = 16 * 1024;
}

MutableByteSpan LazyRuns::room() {
  if (!room_) room_ = allocate(kRoom);
  return room_ ? MutableByteSpan(room_.get(), kRoom) : MutableByteSpan();
}

void LazyRuns::add(Settled&& piece) {
  const ItemIndex first = piece.item;
  if (unordered_) order_.push_back(first);
  pieces_.emplace_hint(pieces_.end(), first, std::move(piece));
}

void LazyRuns::settle(ItemIndex item, OutcomeKind kind, Payload&& payload, bool keep) {
  settled_.add({item, item + 1});
  if (!keep) return;
  Settled piece;
  piece.item = item;
  piece.kind = kind;
  piece.payload = std::move(payload);
  add(std::move(piece));
}

bool LazyRuns::all_pending(ItemIndex first, std::uint32_t count) const {
  return first + count <= size_ && settled_.first_within({first, first + count}).empty();
}

bool LazyRuns::settle_run(ItemIndex first, std::uint32_t count, std::size_t bytes, bool keep) {
  HF_CHECK(all_pending(first, count) && bytes <= kRoom);
  Settled piece;
  if (keep) {
    piece.records = allocate(bytes);
    if (!piece.records) return false;
    std::memcpy(piece.records.get(), room_.get(), bytes);
  }
  settled_.add({first, first + count});
  if (!keep) return true;
  piece.item = first;
  piece.kind = OutcomeKind::done;
  piece.count = count;
  piece.records_end = static_cast<std::uint32_t>(bytes);
  add(std::move(piece));
  return true;
}

bool LazyRuns::take(ItemIndex item, Settled& out, Take what) {
  const auto found = pieces_.find(item);
  if (found == pieces_.end()) return false;
  if (what == Take::item && found->second.is_run()) {
    split(item, out);
    return true;
  }
  out = std::move(found->second);
  pieces_.erase(found);
  return true;
}

/// The first item of a run into `out`; the rest, if there is one, is a piece of its own.
void LazyRuns::split(ItemIndex item, Settled& out) {
  auto node = pieces_.extract(item);
  Settled& piece = node.mapped();
  ring::pack::Reader reader(piece.run());
  ByteSpan record;
  HF_CHECK(reader.next(record));
  out = Settled();
  out.item = item;
  out.payload = Payload::copy(record);
  out.kind = out.payload.is_lost() ? OutcomeKind::raised : OutcomeKind::done;
  if (--piece.count == 0) return;
  piece.records_at += static_cast<std::uint32_t>(ring::pack::cost(record.size()));
  node.key() = ++piece.item;
  pieces_.insert(std::move(node));
}

bool LazyRuns::take_any(Settled& out, Take what) {
  if (order_.empty()) return false;
  const ItemIndex first = order_.front();
  const std::uint32_t count = pieces_.at(first).count;
  HF_CHECK(take(first, out, what));
  if (what == Take::item && count > 1)
    order_.front() = first + 1;
  else
    order_.pop_front();
  return true;
}

std::map<ItemIndex, Settled> LazyRuns::take_pieces() {
  order_.clear();
  return std::exchange(pieces_, {});
}

}  // namespace holdfast::pool
