// What: the two ends of one byte ring: RingWriter reserves room, fills it and publishes; RingReader finds the next frame. Each end keeps
// its position privately and sees the other's only through a shared word, which it checks. Inline: this is the hot path.
// Callers: parent_channel.cpp (writes tasks, reads results), worker_channel.cpp (the other way round). Not thread-safe.
//
// Invariants:
//   1. Only published bytes are ever read; a writer killed before publish() leaves no trace (RingDeath tests kill it anywhere).
//   2. Whatever the other side stores into its word: no byte outside the ring is touched, and the private position never goes back.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "ring/frame.hpp"
#include "ring/layout.hpp"

namespace holdfast::ring {

class RingWriter {
 public:
  RingWriter(std::byte* base, std::uint32_t size, Word64& tail, const Word64& head)
      : base_(base), size_(size), shared_tail_(tail), shared_head_(head) {}

  /// Room for a frame of `bytes` in one piece, or nullptr. Nothing is visible to the reader before publish().
  std::byte* reserve(std::size_t bytes) {
    const std::size_t to_end = size_ - offset();
    const std::size_t needed = bytes <= to_end ? bytes : to_end + bytes;
    if (needed > free_bytes()) {
      refresh();
      if (needed > free_bytes()) return nullptr;
    }
    if (bytes > to_end) {
      frame::put_word(base_ + offset(), frame::Head{.length = static_cast<std::uint32_t>(to_end), .type = frame::kPad}.pack());
      tail_ += to_end;
    }
    return base_ + offset();
  }
  /// The reserved frame is written; it took `bytes` (a multiple of kFrameAlign, at most what was reserved).
  void advance(std::size_t bytes) { tail_ += bytes; }

  bool anything_pushed() const { return tail_ != published_; }
  /// Publish. Everything written to the frames above becomes visible with this store and not before: it pairs with the load of the tail
  /// in RingReader::peek(). seq_cst and not merely release: the caller then looks whether the reader sleeps, and that look must not move
  /// before this store, or a reader that has just looked at the old tail sleeps beside a full ring (model/worker_wake.pml).
  void publish() {
    shared_tail_.store(tail_, std::memory_order_seq_cst);
    published_ = tail_;
  }
  void abandon() { tail_ = published_; }

  std::size_t room() {
    refresh();
    return free_bytes();
  }
  /// True if reserve(bytes) would succeed now.
  bool fits(std::size_t bytes) {
    const std::size_t to_end = size_ - offset();
    return (bytes <= to_end ? bytes : to_end + bytes) <= room();
  }
  /// The reader's head made no sense at some time.
  bool head_was_nonsense() const { return nonsense_; }

 private:
  std::size_t offset() const { return tail_ & (size_ - 1); }
  std::size_t free_bytes() const { return size_ - static_cast<std::size_t>(tail_ - head_); }

  void refresh() {
    // Pairs with the reader's store when it frees a frame: its reads of the frame are over before we write there again. seq_cst: in
    // wait_for_room this is the look after the announcement. (A plain load on x86, as acquire would be.)
    const std::uint64_t seen = shared_head_.load(std::memory_order_seq_cst);
    if (seen - head_ > published_ - head_ || seen % kFrameAlign != 0) {
      nonsense_ = true;  // and the old value stays: it is still true that at least this much was freed
      return;
    }
    head_ = seen;
  }

  std::byte* base_;
  std::uint64_t size_;
  std::uint64_t tail_ = 0;       // behind the last frame written
  std::uint64_t published_ = 0;  // what shared_tail_ holds
  std::uint64_t head_ = 0;       // what the reader had freed when last looked at
  Word64& shared_tail_;
  const Word64& shared_head_;
  bool nonsense_ = false;
};

class RingReader {
 public:
  RingReader(const std::byte* base, std::uint32_t size, const Word64& tail, Word64& head)
      : base_(base), size_(size), shared_tail_(tail), shared_head_(head) {}

  struct Piece {
    const std::byte* at = nullptr;  // nullptr: nothing is published
    std::size_t available = 0;      // published bytes in one piece from `at`, >= kFrameAlign
  };
  /// The bytes of the next frame (pads are skipped), unchecked but for their place.
  frame::Fault peek(Piece& out) {
    for (;;) {
      if (position_ == tail_) {
        if (const auto fault = refresh(); fault != frame::Fault::none) return fault;
        if (position_ == tail_) {
          out.at = nullptr;
          return frame::Fault::none;
        }
      }
      const std::size_t offset = position_ & (size_ - 1);
      const std::size_t to_end = size_ - offset;
      const std::size_t available = std::min<std::uint64_t>(tail_ - position_, to_end);
      const frame::Head head = frame::read_head(base_ + offset);
      if (head.type != frame::kPad) {
        out.at = base_ + offset;
        out.available = available;
        return frame::Fault::none;
      }
      if (head.length != to_end || available != to_end) return frame::Fault::pad;
      position_ += to_end;
    }
  }
  void advance(std::size_t bytes) { position_ += bytes; }

  /// Something is published that has not been read (or the tail is nonsense, which peek() will say).
  bool anything_there() const { return position_ != tail_ || shared_tail_.load(std::memory_order_seq_cst) != position_; }

  /// Gives everything read so far back to the writer. seq_cst: the caller may look at the writer's sleeping flag next (see publish).
  void release() { shared_head_.store(position_, std::memory_order_seq_cst); }
  /// The same where nobody ever sleeps for the room: the task ring. Pairs with RingWriter::refresh().
  void release_quietly() { shared_head_.store(position_, std::memory_order_release); }

 private:
  frame::Fault refresh() {
    // Read once: pairs with publish(). seq_cst: it is also the sleeper's look after its announcement.
    const std::uint64_t seen = shared_tail_.load(std::memory_order_seq_cst);
    if (seen - position_ > size_ || seen % kFrameAlign != 0) return frame::Fault::position;  // also when it went back: huge
    tail_ = seen;
    return frame::Fault::none;
  }

  const std::byte* base_;
  std::uint64_t size_;
  std::uint64_t position_ = 0;  // next frame
  std::uint64_t tail_ = 0;      // published, as last seen
  const Word64& shared_tail_;
  Word64& shared_head_;
};

}  // namespace holdfast::ring
