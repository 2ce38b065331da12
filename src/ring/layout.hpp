// What: every word that two processes share: where it lies, who may write it, what it means. Two kinds of memfd: the channel (one per
// worker) and the bell page (one per pool). Frames, the rings' contents, are laid out in frame.hpp. Nothing here is a decision.
//
//   channel                                    writer   read by
//   +0     magic, version, geometry, index     parent   worker, once (the parent never reads them back)
//   +64    task_tail, orders, overdue,         parent   worker
//          stacks_wanted
//   +128   result_head                         parent   worker
//   +192   task_head                           worker   parent: a hint within [what it saw last, what it committed], else a fault
//   +256   result_tail                         worker   parent: checked against what it has read
//   +320   sleeping (futex)                    both     see wait.hpp; a wrong value costs a wake-up or a late one, no more
//   +384   free_buffers                        both     worker: which of its result buffers it may fill
//   +448   progress, soft_signal,              worker   parent: hints for stats, time limits and reports
//          stacks_signal, stacks_taken, crash_signal
//   +512   chunk words [64]                    both     by compare-exchange; the parent checks all but `next` against its own copy
//   +4096  task ring   [task_ring_bytes]       parent   worker
//   +....  result ring [result_ring_bytes]     worker   parent: every frame is checked (frame.hpp)
//   +....  stacks [kMaxStacksText]             worker   parent: a text for a person, up to its first zero
//
//   bell page
//   +0     magic, version                      parent   worker, once
//   +64    bell (futex)                        all      the drainer sleeps on it
//   +128   drainer_sleeping                    all
//   +192   supervisor_sleeping                 all
//   +256   ready [64 x 64 bits]                all      a hint: which workers have committed results
//
// Invariants:
//   1. Words written by the parent and words written by the worker never share a cache line (64 bytes), but for those that both write.
//   2. Positions (heads, tails) are byte counts since the start, multiples of kFrameAlign; they never wrap (2^64 bytes).
//   3. A change of anything here changes kLayoutVersion: attach() refuses another one.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "ring/channel.hpp"
#include "ring/control.hpp"

namespace holdfast::ring {

inline constexpr std::uint32_t kLayoutVersion = 6;
inline constexpr std::uint32_t kChannelMagic = 0x48464348;  // "HFCH"
inline constexpr std::uint32_t kBellMagic = 0x4846424c;     // "HFBL"
inline constexpr std::size_t kCacheLine = 64;
inline constexpr std::size_t kFrameAlign = 8;
inline constexpr std::size_t kRingOffset = 4096;
inline constexpr std::uint32_t kMinRingBytes = 4 * kInlineLimit;
inline constexpr std::uint32_t kMaxRingBytes = 16U << 20;

using Word32 = std::atomic<std::uint32_t>;
using Word64 = std::atomic<std::uint64_t>;
static_assert(Word32::is_always_lock_free && Word64::is_always_lock_free, "a lock inside an atomic would be per process");
static_assert(sizeof(Word32) == 4 && sizeof(Word64) == 8);

/// `orders` bits.
inline constexpr std::uint32_t kOrderClosed = 1;
inline constexpr std::uint32_t kOrderCancelled = 2;
inline constexpr std::uint32_t kOrderLeaving = 4;
/// A bit of `stacks_wanted`: the worker will be killed then.
inline constexpr std::uint32_t kLastLook = 1U << 31;

/// What the worker is running. A seqlock: `version` is odd while the worker writes, so that a reader never pairs a new item with an
/// old start time (a time limit would kill too early). Every store is a release, every load an acquire: no fence is needed.
struct ProgressWords {
  Word64 items_done;  // outside the seqlock
  Word64 version;
  Word64 chunk;
  Word32 item;
  Word32 phase;
  Word64 started_ns;
};

/// Which item has used up its soft time limit, as item_number() has it (0 = none yet), and how long that limit was.
struct OverdueWords {
  Word64 item;
  Word64 limit_ns;
};

struct ChannelPage {
  alignas(kCacheLine) std::uint32_t magic;
  std::uint32_t version;
  std::uint32_t task_ring_bytes;
  std::uint32_t result_ring_bytes;
  std::uint32_t worker_index;

  alignas(kCacheLine) Word64 task_tail;
  Word32 orders;
  OverdueWords overdue;
  Word32 stacks_wanted;  // number of the last request, and kLastLook
  alignas(kCacheLine) Word64 result_head;
  alignas(kCacheLine) Word64 task_head;
  alignas(kCacheLine) Word64 result_tail;
  alignas(kCacheLine) Word32 sleeping;
  alignas(kCacheLine) Word64 free_buffers;
  alignas(kCacheLine) ProgressWords progress;
  Word32 soft_signal;
  Word32 stacks_signal;  // asks for the worker's stacks; 0 = it cannot be asked
  Word32 stacks_taken;   // number of the last request that was answered
  Word32 crash_signal;   // the stacks are those of its crash by this signal
  alignas(kCacheLine) Word64 chunks[kChunkSlots];
};
static_assert(offsetof(ChannelPage, task_tail) == 64);
static_assert(offsetof(ChannelPage, result_head) == 128);
static_assert(offsetof(ChannelPage, task_head) == 192);
static_assert(offsetof(ChannelPage, result_tail) == 256);
static_assert(offsetof(ChannelPage, sleeping) == 320);
static_assert(offsetof(ChannelPage, free_buffers) == 384);
static_assert(offsetof(ChannelPage, progress) == 448);
static_assert(offsetof(ChannelPage, chunks) == 512);
static_assert(sizeof(ChannelPage) == 1024 && sizeof(ChannelPage) <= kRingOffset);

/// Of the whole segment.
constexpr std::size_t stacks_offset(const Geometry& geometry) {
  return kRingOffset + std::size_t{geometry.task_ring_bytes} + geometry.result_ring_bytes;
}
constexpr std::size_t segment_size(const Geometry& geometry) { return stacks_offset(geometry) + kMaxStacksText; }

struct BellWords {
  alignas(kCacheLine) std::uint32_t magic;
  std::uint32_t version;
  alignas(kCacheLine) Word32 bell;
  alignas(kCacheLine) Word32 drainer_sleeping;
  alignas(kCacheLine) Word32 supervisor_sleeping;
  alignas(kCacheLine) Word64 ready[kMaxWorkers / 64];
};
static_assert(offsetof(BellWords, bell) == 64);
static_assert(offsetof(BellWords, drainer_sleeping) == 128);
static_assert(offsetof(BellWords, supervisor_sleeping) == 192);
static_assert(offsetof(BellWords, ready) == 256);
static_assert(sizeof(BellWords) == 768);

// A chunk word: next (bits 0..21), end (22..43), tag (44..63). The tag is new with every use of a slot, so that a frame of an old chunk
// that still lies in the ring cannot claim an item of the slot's next chunk (model/claim.pml, mutant NO_TAG).
inline constexpr unsigned kCountBits = 22;
inline constexpr std::uint32_t kMaxChunkItems = (1U << kCountBits) - 1;
inline constexpr std::uint32_t kTagMask = (1U << 20) - 1;

struct PackedChunk {
  std::uint32_t next = 0;
  std::uint32_t end = 0;
  std::uint32_t tag = 0;

  constexpr std::uint64_t pack() const {
    return std::uint64_t{next} | (std::uint64_t{end} << kCountBits) | (std::uint64_t{tag} << (2 * kCountBits));
  }
  static constexpr PackedChunk unpack(std::uint64_t word) {
    return {.next = static_cast<std::uint32_t>(word) & kMaxChunkItems,
            .end = static_cast<std::uint32_t>(word >> kCountBits) & kMaxChunkItems,
            .tag = static_cast<std::uint32_t>(word >> (2 * kCountBits))};
  }
};
static_assert(PackedChunk::unpack(PackedChunk{1, kMaxChunkItems, kTagMask}.pack()).tag == kTagMask);
/// One number for an item of a chunk: another one for each, until 2^42 chunks have been sent to one worker.
constexpr std::uint64_t item_number(ChunkId chunk, std::uint32_t item) { return (chunk << kCountBits) | item; }
// 2^20 uses of one slot cannot pass while an old frame lies in the ring: each use puts a chunk frame of 48 bytes behind it.
static_assert((std::uint64_t{kTagMask} + 1) * 48 > kMaxRingBytes);

}  // namespace holdfast::ring
