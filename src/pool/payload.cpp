// What: Payload and ItemBatch, see payload.hpp.
#include "pool/payload.hpp"

#include <new>
#include <utility>

#include "base/allocate.hpp"
#include "base/check.hpp"

namespace holdfast::pool {

Payload Payload::copy_to_heap(ByteSpan bytes) {
  HF_CHECK(bytes.size() <= UINT32_MAX);
  Payload made;
  made.size_ = static_cast<std::uint32_t>(bytes.size());
  made.store_.heap = allocate(bytes.size()).release();
  if (made.store_.heap == nullptr) return lost();
  made.kind_ = Kind::heap;
  std::memcpy(made.store_.heap, bytes.data(), bytes.size());
  return made;
}

Payload Payload::large(std::shared_ptr<LargeResult> result) {
  Payload made;
  made.store_.large = result.get();
  made.store_.large->held_ = std::move(result);
  made.kind_ = Kind::large;
  return made;
}

ByteSpan Payload::bytes() const {
  switch (kind_) {
    case Kind::in_place: return {store_.in_place, size_};
    case Kind::heap: return {store_.heap, size_};
    case Kind::large: return store_.large->bytes();
    case Kind::lost: break;
  }
  return {};
}

Payload Payload::duplicate() const { return is_lost() ? lost() : copy(bytes()); }

void Payload::reset() {
  if (kind_ == Kind::heap) delete[] store_.heap;
  if (kind_ == Kind::large) std::exchange(store_.large->held_, nullptr).reset();
  kind_ = Kind::in_place;
  size_ = 0;
}

void ItemBatch::new_block(std::size_t at_least) {
  block_size_ = next_block_size(blocks_.empty() ? 0 : block_size_, kSpare, at_least);
  block_used_ = 0;
  blocks_.push_back(allocate(block_size_));
  if (!blocks_.back()) {
    blocks_.pop_back();
    block_size_ = 0;
    throw std::bad_alloc();
  }
  if (!packs_.empty()) packs_.back().open = false;
}

void ItemBatch::open_pack() {
  packs_.push_back({.first = count_,
                    .block = static_cast<std::uint32_t>(blocks_.size() - 1),
                    .offset = static_cast<std::uint32_t>(block_used_),
                    .size = 0,
                    .kind = Kind::records,
                    .open = true});
}

std::byte* ItemBatch::add_room(std::size_t size) {
  const bool is_record = size <= ring::kInlineLimit;
  const std::size_t bytes = is_record ? ring::pack::cost(size) : size;
  if (block_size_ - block_used_ < bytes || blocks_.empty()) new_block(bytes);
  std::byte* room = blocks_.back().get() + block_used_;
  if (is_record) {
    keep(size);
    return room + ring::pack::kPrefix;
  }
  open_pack();
  Pack& plain = packs_.back();
  plain.size = static_cast<std::uint32_t>(size);
  plain.kind = Kind::plain;
  plain.open = false;
  block_used_ += size;
  ++count_;
  return room;
}

void ItemBatch::add(ByteSpan bytes) {
  std::byte* room = add_room(bytes.size());
  if (!bytes.empty()) std::memcpy(room, bytes.data(), bytes.size());
}

void ItemBatch::add_large(std::shared_ptr<ring::SharedBuffer> buffer, std::size_t size) {
  packs_.push_back(
      {.first = count_, .block = static_cast<std::uint32_t>(large_.size()), .offset = 0, .size = 0, .kind = Kind::large, .open = false});
  large_.push_back({std::move(buffer), size});
  ++count_;
}

}  // namespace holdfast::pool
