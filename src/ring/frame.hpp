// What: the frames in the rings: how they are written, and the checked decode. Pure functions over bytes, no state: the fuzz targets
// (fuzz/) call the same decoders. Callers: parent_channel.cpp, worker_channel.cpp.
//
// Every frame starts on a multiple of kFrameAlign with an 8-byte head and lies in one piece. Where one does not fit before the ring's
// end, a pad frame (type kPad) fills the rest and the frame starts at offset 0.
//
//   head      | length u32 (head + body, without padding) | type u8 | form u8 | slot u16 |
//   item      | head (slot = chunk's slot) | item u32 | low half of the chunk id u32 | payload |
//   next item | head (slot) | payload |   the item behind the one before (or the first behind its chunk's frame), of the same slot
//   items     | head (slot) | first item u32 | low half of the chunk id u32 | count u32 | 0 u32 | records |   see pack.hpp
//   chunk     | head (slot) | count u32 | call_mode u16 | flags u16 | chunk u64 | job u64 | function u64 | tag u32 | 0 u32 |
//   function  | head | function u64 | payload |          forget_function, buffer_gone: | head | id u64 |
//   result    | head | item u32 | flags u32 | chunk u64 | run time u64 (ns) | payload |
//   next done | length u32 | type u8 | run time u24 (10 ns) | bytes |   `done` for the item behind the one before, of the same chunk
//   payload   form 0: bytes;  form 1: | buffer u64 | size u64 |
//
// Invariants:
//   0. The short frames (next ...) mean what the frame before them says: both ends keep that context privately (TaskContext, ResultContext)
//      and change it by the same rule. In a map nearly all frames are short: half the bytes through the caches.
//   1. A decoder reads each shared word once, into a local copy, and checks the copy: the other side may change the ring meanwhile.
//   2. What it returns lies within the bytes it was given; every refusal names its Fault.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "ring/channel.hpp"
#include "ring/layout.hpp"

namespace holdfast::ring::frame {

inline constexpr std::uint8_t kPad = 0xff;
inline constexpr std::uint8_t kNextItem = 6;                          // beside TaskFrameType's
inline constexpr std::uint8_t kItems = 7;                             // beside TaskFrameType's: the channel hands them out one by one
inline constexpr std::uint8_t kNextDone = 4;                          // beside ResultKind's
inline constexpr std::uint64_t kMaxPayload = std::uint64_t{1} << 47;  // an address space

enum class Form : std::uint8_t { inline_bytes = 0, buffer = 1 };

// Headers go in and out of the ring as whole 64-bit words, put together in registers: built from narrow stores in memory, each would stall
// on store forwarding (a third of an item's cost when measured). Little-endian or not does not matter: both ends are one machine.
template <std::size_t n>
using Words = std::array<std::uint64_t, n>;

constexpr std::uint64_t join(std::uint32_t low, std::uint32_t high) { return low | (std::uint64_t{high} << 32); }
constexpr std::uint32_t low_of(std::uint64_t word) { return static_cast<std::uint32_t>(word); }
constexpr std::uint32_t high_of(std::uint64_t word) { return static_cast<std::uint32_t>(word >> 32); }

struct Head {
  std::uint32_t length = 0;
  std::uint8_t type = 0;
  Form form = Form::inline_bytes;
  std::uint16_t slot = 0;

  constexpr std::uint64_t pack() const {
    return join(length, type | (static_cast<std::uint32_t>(form) << 8) | (static_cast<std::uint32_t>(slot) << 16));
  }
  static constexpr Head unpack(std::uint64_t word) {
    return {.length = low_of(word),
            .type = static_cast<std::uint8_t>(word >> 32),
            .form = static_cast<Form>(static_cast<std::uint8_t>(word >> 40)),
            .slot = static_cast<std::uint16_t>(word >> 48)};
  }
};
struct ItemHeader {
  static constexpr std::size_t kWords = 2;
  Head head;
  std::uint32_t item = 0;
  std::uint32_t chunk_low = 0;

  Words<kWords> pack() const { return {head.pack(), join(item, chunk_low)}; }
  static ItemHeader unpack(const Words<kWords>& words) {
    return {.head = Head::unpack(words[0]), .item = low_of(words[1]), .chunk_low = high_of(words[1])};
  }
};
struct ItemsHeader {
  static constexpr std::size_t kWords = 3;
  Head head;
  std::uint32_t first = 0;
  std::uint32_t chunk_low = 0;
  std::uint32_t count = 0;
  std::uint32_t reserved = 0;

  Words<kWords> pack() const { return {head.pack(), join(first, chunk_low), join(count, reserved)}; }
  static ItemsHeader unpack(const Words<kWords>& words) {
    return {.head = Head::unpack(words[0]),
            .first = low_of(words[1]),
            .chunk_low = high_of(words[1]),
            .count = low_of(words[2]),
            .reserved = high_of(words[2])};
  }
};
struct ChunkHeader {
  static constexpr std::size_t kWords = 6;
  Head head;
  std::uint32_t count = 0;
  std::uint16_t call_mode = 0;
  std::uint16_t flags = 0;
  std::uint64_t chunk = 0;
  std::uint64_t job = 0;
  std::uint64_t function = 0;
  std::uint32_t tag = 0;
  std::uint32_t reserved = 0;

  Words<kWords> pack() const {
    return {head.pack(), join(count, call_mode | (static_cast<std::uint32_t>(flags) << 16)), chunk, job, function, join(tag, reserved)};
  }
  static ChunkHeader unpack(const Words<kWords>& words) {
    return {.head = Head::unpack(words[0]),
            .count = low_of(words[1]),
            .call_mode = static_cast<std::uint16_t>(words[1] >> 32),
            .flags = static_cast<std::uint16_t>(words[1] >> 48),
            .chunk = words[2],
            .job = words[3],
            .function = words[4],
            .tag = low_of(words[5]),
            .reserved = high_of(words[5])};
  }
};
struct IdHeader {
  static constexpr std::size_t kWords = 2;
  Head head;
  std::uint64_t id = 0;

  Words<kWords> pack() const { return {head.pack(), id}; }
  static IdHeader unpack(const Words<kWords>& words) { return {.head = Head::unpack(words[0]), .id = words[1]}; }
};
struct ResultHeader {
  static constexpr std::size_t kWords = 4;
  static constexpr std::uint32_t kArgumentKept = 1;  // `flags`
  Head head;
  std::uint32_t item = 0;
  std::uint32_t flags = 0;
  std::uint64_t chunk = 0;
  std::uint64_t run_time_ns = 0;

  Words<kWords> pack() const { return {head.pack(), join(item, flags), chunk, run_time_ns}; }
  static ResultHeader unpack(const Words<kWords>& words) {
    return {
        .head = Head::unpack(words[0]), .item = low_of(words[1]), .flags = high_of(words[1]), .chunk = words[2], .run_time_ns = words[3]};
  }
};
struct Reference {
  static constexpr std::size_t kWords = 2;
  std::uint64_t buffer = 0;
  std::uint64_t size = 0;

  Words<kWords> pack() const { return {buffer, size}; }
  static Reference unpack(const Words<kWords>& words) { return {.buffer = words[0], .size = words[1]}; }
};
inline constexpr std::size_t kHeadSize = 8;

/// What a next-item frame refers to.
struct TaskContext {
  std::uint32_t slot = kChunkSlots;  // kChunkSlots: none yet
  std::uint32_t next_item = 0;

  bool expects(std::uint32_t in_slot, std::uint32_t item) const { return slot == in_slot && next_item == item; }
};
inline TaskContext behind_chunk(std::uint32_t slot) { return {.slot = slot, .next_item = 0}; }
inline TaskContext behind_item(std::uint32_t slot, std::uint32_t item) { return {.slot = slot, .next_item = item + 1}; }

/// What a next-done frame refers to.
struct ResultContext {
  std::uint64_t chunk = 0;  // 0: none yet
  std::uint32_t next_item = 0;
};
/// The context behind a result; a note leaves it as it was.
inline ResultContext behind(const ResultFrame& frame, const ResultContext& before) {
  return frame.kind == ResultKind::note ? before : ResultContext{.chunk = frame.chunk, .next_item = frame.item + 1};
}

inline constexpr std::uint64_t kShortRunTimeUnit = 10;                                   // ns
inline constexpr std::uint64_t kMaxShortRunTime = ((1U << 24) - 1) * kShortRunTimeUnit;  // 168 ms
/// `frame` with inline bytes can travel as a next-done frame.
inline bool is_next_done(const ResultFrame& frame, const ResultContext& context) {
  return frame.kind == ResultKind::done && !frame.argument_kept && frame.chunk == context.chunk && frame.item == context.next_item &&
         frame.chunk != 0 && static_cast<std::uint64_t>(frame.run_time.count()) <= kMaxShortRunTime;
}
inline std::uint64_t next_done_head(std::uint32_t length, Nanos run_time) {
  return join(length, kNextDone | static_cast<std::uint32_t>(static_cast<std::uint64_t>(run_time.count()) / kShortRunTimeUnit) << 8);
}
template <class Header>
inline constexpr std::size_t kSizeOf = Header::kWords * 8;
inline constexpr std::size_t kMaxFrame = kSizeOf<ResultHeader> + kInlineLimit;
static_assert(2 * kMaxFrame < kMinRingBytes, "a pad and the largest frame together must fit into an empty ring");

/// Why bytes from the other side were refused.
enum class Fault : std::uint8_t {
  none,
  position,   // a head or tail outside what is possible
  cut_short,  // the frame does not end within the committed bytes
  pad,        // a pad that does not end at the ring's end
  type,
  form,
  length,
  reserved,   // a field that must be 0 is not
  reference,  // a buffer reference that cannot be
  slot,
  count,
  chunk,       // an item frame for a chunk that its slot does not serve
  chunk_word,  // a chunk word that the worker alone cannot have made
  run_time,
  context,  // a short frame without the frame it refers to
  record,   // an items frame whose records do not fill it exactly
};
const char* describe(Fault fault);

constexpr std::size_t align_up(std::size_t bytes) { return (bytes + kFrameAlign - 1) & ~(kFrameAlign - 1); }

/// Bytes of a frame with `header` bytes of header, padding included.
inline std::size_t cost(std::size_t header, const PayloadRef& payload) {
  return align_up(header + (payload.buffer != 0 ? kSizeOf<Reference> : payload.inline_bytes.size()));
}

/// One word of shared memory, read exactly once (an ordinary read may be repeated by the compiler after the check). relaxed: the load
/// of the tail has already ordered it behind the writer's publication.
inline std::uint64_t read_word(const std::byte* from) {
  return __atomic_load_n(reinterpret_cast<const std::uint64_t*>(from), __ATOMIC_RELAXED);
}

inline Head read_head(const std::byte* from) { return Head::unpack(read_word(from)); }

/// A header, copied out of shared memory before anything in it is believed. `from` is 8-aligned.
template <class Header>
Header read_header(const std::byte* from) {
  Words<Header::kWords> words;
  for (std::size_t i = 0; i < words.size(); ++i) words[i] = read_word(from + 8 * i);
  return Header::unpack(words);
}

inline void put_word(std::byte* to, std::uint64_t word) { std::memcpy(to, &word, sizeof word); }

template <class Header>
void put_header(std::byte* to, const Header& header) {
  const auto words = header.pack();
  for (std::size_t i = 0; i < words.size(); ++i) put_word(to + 8 * i, words[i]);
}

/// Writes the payload behind the header; returns the frame's length for the head.
inline std::uint32_t put_payload(std::byte* frame, std::size_t header, const PayloadRef& payload) {
  if (payload.buffer != 0) {
    put_header(frame + header, Reference{.buffer = payload.buffer, .size = payload.size});
    return static_cast<std::uint32_t>(header + kSizeOf<Reference>);
  }
  if (!payload.inline_bytes.empty()) std::memcpy(frame + header, payload.inline_bytes.data(), payload.inline_bytes.size());
  return static_cast<std::uint32_t>(header + payload.inline_bytes.size());
}

inline Form form_of(const PayloadRef& payload) { return payload.buffer != 0 ? Form::buffer : Form::inline_bytes; }

// The decoders. `at` is 8-aligned; [at, at + available) are committed bytes in one piece. `frame` comes in default-constructed. On
// Fault::none `bytes` is the frame's size with padding, <= available; on another fault the frame is not to be used.

/// What a task frame says to the channel alone.
struct TaskExtra {
  std::uint32_t tag = 0;     // chunk
  bool names_chunk = false;  // item: `frame.chunk` holds the low half of the chunk's id, to be checked; else 0. The channel completes it.
  std::uint32_t count = 0;   // items: how many records; `frame` is the first of them, without its payload. 0: a frame of one
  ByteSpan records;          // items: not checked yet (pack::Reader does)
  std::size_t bytes = 0;
};
Fault decode_task(const std::byte* at, std::size_t available, const TaskContext& context, TaskFrame& frame, TaskExtra& extra);
Fault decode_result(const std::byte* at, std::size_t available, const ResultContext& context, ResultFrame& frame, std::size_t& bytes);

/// What copy_next_dones() took.
struct CopiedDones {
  std::uint32_t count = 0;
  std::size_t frame_bytes = 0;    // of the frames, with padding
  std::size_t pack_bytes = 0;     // written to `into`
  std::uint64_t short_times = 0;  // sum of the run times, in kShortRunTimeUnit
};
/// The next-done frames from `at` on, at most `limit`, their payloads copied into `into` as a pack (pack.hpp). Stops before the first frame
/// that is another one, makes no sense (decode_result says why) or does not fit. Each head is read once, the payloads never looked at.
CopiedDones copy_next_dones(const std::byte* at, std::size_t available, std::uint32_t limit, MutableByteSpan into);

}  // namespace holdfast::ring::frame
