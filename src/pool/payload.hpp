// What: where payload bytes live in the parent: results waiting to be read, and the items of a job waiting to be sent.
// Values; thread safety is the owner's. Used by src/pool and by python/bindings (which encodes straight into an ItemBatch).
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

#include "base/types.hpp"
#include "ring/buffer.hpp"
#include "ring/channel.hpp"
#include "ring/pack.hpp"

namespace holdfast::pool {

/// A result buffer that a worker filled and that goes back to it (or is unmapped, when the worker is gone) with this object.
class LargeResult {
 public:
  LargeResult() = default;
  LargeResult(const LargeResult&) = delete;
  LargeResult& operator=(const LargeResult&) = delete;
  virtual ~LargeResult() = default;
  virtual ByteSpan bytes() const = 0;
  virtual std::size_t segment_bytes() const = 0;  // of memory that it keeps

 private:
  friend class Payload;
  std::shared_ptr<LargeResult> held_;  // by its Payload, which has room for a bare pointer only
};

/// Bytes of one settled item. Up to 16 bytes in place, more on the heap, large ones where the worker wrote them. Move-only.
class Payload {
 public:
  Payload() = default;
  /// lost() when there is no memory.
  static Payload copy(ByteSpan bytes) {
    if (bytes.size() > kInPlace) return copy_to_heap(bytes);
    Payload made;
    made.size_ = static_cast<std::uint32_t>(bytes.size());
    // Two fixed-size copies that overlap, instead of a call of memcpy with a variable size: this runs once per result.
    if (bytes.size() >= 8) {
      std::memcpy(made.store_.in_place, bytes.data(), 8);
      std::memcpy(made.store_.in_place + bytes.size() - 8, bytes.data() + bytes.size() - 8, 8);
    } else {
      for (std::size_t i = 0; i < bytes.size(); ++i) made.store_.in_place[i] = bytes[i];
    }
    return made;
  }
  static Payload large(std::shared_ptr<LargeResult> result);
  /// In place of bytes that this process had no memory for.
  static Payload lost() {
    Payload made;
    made.kind_ = Kind::lost;
    return made;
  }
  Payload(Payload&& other) noexcept { steal(other); }
  Payload& operator=(Payload&& other) noexcept {
    if (this != &other) {
      reset();
      steal(other);
    }
    return *this;
  }
  ~Payload() { reset(); }
  ByteSpan bytes() const;  // valid while this object lives
  bool is_large() const { return kind_ == Kind::large; }
  /// Another owner of a large one, which may outlive this object; null when it is not large.
  std::shared_ptr<LargeResult> large_result() const { return is_large() ? store_.large->held_ : nullptr; }
  bool is_lost() const { return kind_ == Kind::lost; }  // then bytes() is empty
  Payload duplicate() const;                            // a private copy
  void reset();

 private:
  enum class Kind : std::uint8_t { in_place, heap, large, lost };
  static constexpr std::size_t kInPlace = 16;
  static Payload copy_to_heap(ByteSpan bytes);
  void steal(Payload& other) noexcept {
    std::memcpy(&store_, &other.store_, sizeof store_);
    size_ = other.size_;
    kind_ = other.kind_;
    other.size_ = 0;
    other.kind_ = Kind::in_place;
  }
  union {
    std::byte in_place[kInPlace];
    std::byte* heap;
    LargeResult* large;
  } store_ = {};
  std::uint32_t size_ = 0;  // in_place and heap (heap payloads are <= ring::kInlineLimit)
  Kind kind_ = Kind::in_place;
};

/// The encoded items of a job, in order: those that fit into the ring in packs (ring/pack.hpp) in blocks of memory, larger ones in a block or
/// an argument buffer of their own. Filled by the submitting thread without any lock, then moved into the job.
class ItemBatch {
 public:
  ItemBatch() = default;
  ItemBatch(ItemBatch&&) = default;
  ItemBatch& operator=(ItemBatch&&) = default;

  /// Up to this size an item waits in ordinary memory and is staged in a shared buffer when it is sent: thousands of middle-sized arguments
  /// would else hold a descriptor each.
  static constexpr std::size_t kStagedLimit = std::size_t{1} << 20;
  static constexpr std::size_t kSpare = 64;  // what spare() gives at least, with a record's prefix: a job of one small item stays small

  // These throw std::bad_alloc, as all that grows a batch does: they run in the caller's own thread, before anything is submitted.
  void add(ByteSpan bytes);                                                      // size <= kStagedLimit
  std::byte* add_room(std::size_t size);                                         // the same, filled by the caller at once
  void add_large(std::shared_ptr<ring::SharedBuffer> buffer, std::size_t size);  // larger: sealed already
  /// Room for the next item, which the caller may fill in place, and then keep() with its size. Not large: add_room() else.
  MutableByteSpan spare() {
    if (block_size_ - block_used_ < kSpare) new_block(kSpare);
    const std::size_t room = std::min(block_size_ - block_used_ - ring::pack::kPrefix, ring::kInlineLimit);
    return {blocks_.back().get() + block_used_ + ring::pack::kPrefix, room};
  }
  void keep(std::size_t size) {
    std::byte* record = blocks_.back().get() + block_used_;
    ring::pack::put_prefix(record, size);
    const std::size_t bytes = ring::pack::cost(size);
    if (packs_.empty() || !packs_.back().open || packs_.back().size + bytes > kPackBytes) open_pack();
    packs_.back().size += static_cast<std::uint32_t>(bytes);
    block_used_ += bytes;
    ++count_;
  }
  /// As new, with the memory of one small block kept for the next items.
  void reuse() {
    packs_.clear();
    large_.clear();
    count_ = block_used_ = 0;
    if (blocks_.size() == 1 && block_size_ <= kKept) return;
    blocks_.clear();
    block_size_ = 0;
  }
  std::uint64_t count() const { return count_; }
  bool empty() const { return count_ == 0; }
  /// Whether the first item is one of those that fit into the ring, and its bytes.
  bool is_record() const { return !packs_.empty() && packs_.front().kind == Kind::records; }
  ByteSpan first_record() const {
    ByteSpan record;
    (void)ring::pack::Reader({blocks_[packs_.front().block].get() + packs_.front().offset, packs_.front().size}).next(record);
    return record;
  }
  /// On the average; of a batch that is not empty.
  std::size_t bytes_per_item() const {
    std::size_t bytes = block_used_;
    if (blocks_.size() > 1) bytes += (blocks_.size() - 1) * block_size_;  // at most: they grow
    for (const Large& each : large_) bytes += each.size;
    return bytes / count_;
  }

 private:
  friend class ItemStore;
  static constexpr std::size_t kKept = 4096;
  static constexpr std::size_t kPackBytes = 4096;  // small against a ring: a worker starts on the first while the next ones are written
  enum class Kind : std::uint8_t { records, plain, large };
  struct Pack {
    std::uint64_t first;  // index of its first item; the next one's first, or count(), ends it
    std::uint32_t block;  // large: index into large_
    std::uint32_t offset;
    std::uint32_t size;
    Kind kind;
    bool open;  // records may be added behind the last one
  };
  struct Large {
    std::shared_ptr<ring::SharedBuffer> buffer;
    std::size_t size;
  };
  void open_pack();
  void new_block(std::size_t at_least);

  std::vector<Pack> packs_;
  std::vector<std::unique_ptr<std::byte[]>> blocks_;
  std::size_t block_used_ = 0;
  std::size_t block_size_ = 0;
  std::vector<Large> large_;
  std::uint64_t count_ = 0;
};

}  // namespace holdfast::pool
