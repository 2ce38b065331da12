// What: the frames in the rings: how they are written, and the checked decode. Pure functions over bytes, no state: the fuzz targets
// (fuzz/) call the same decoders. Callers: parent_channel.cpp, worker_channel.cpp.
//
// Every frame starts on a multiple of kFrameAlign with an 8-byte head and lies in one piece. Where one does not fit before the ring's
// end, a pad frame (type kPad) fills the rest and the frame starts at offset 0.
//
//   head      | length u32 (head + body, without padding) | type u8 | form u8 | slot u16 |
//   item      | head (slot = chunk's slot) | item u32 | low half of the chunk id u32 | payload |
//   chunk     | head (slot) | count u32 | call_mode u16 | flags u16 | chunk u64 | job u64 | function u64 | tag u32 | 0 u32 |
//   function  | head | function u64 | payload |          forget_function, buffer_gone: | head | id u64 |
//   result    | head | item u32 | 0 u32 | chunk u64 | run time u64 (ns) | payload |
//   payload   form 0: bytes;  form 1: | buffer u64 | size u64 |
//
// Invariants:
//   1. A decoder reads each shared word once, into a local copy, and checks the copy: the other side may change the ring meanwhile.
//   2. What it returns lies within the bytes it was given; every refusal names its Fault.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "ring/channel.hpp"
#include "ring/layout.hpp"

namespace holdfast::ring::frame {

inline constexpr std::uint8_t kPad = 0xff;
inline constexpr std::uint64_t kMaxPayload = std::uint64_t{1} << 47;  // an address space

enum class Form : std::uint8_t { inline_bytes = 0, buffer = 1 };

struct Head {
  std::uint32_t length = 0;
  std::uint8_t type = 0;
  Form form = Form::inline_bytes;
  std::uint16_t slot = 0;
};
struct ItemHeader {
  Head head;
  std::uint32_t item = 0;
  std::uint32_t chunk_low = 0;
};
struct ChunkHeader {
  Head head;
  std::uint32_t count = 0;
  std::uint16_t call_mode = 0;
  std::uint16_t flags = 0;
  std::uint64_t chunk = 0;
  std::uint64_t job = 0;
  std::uint64_t function = 0;
  std::uint32_t tag = 0;
  std::uint32_t reserved = 0;
};
struct IdHeader {
  Head head;
  std::uint64_t id = 0;
};
struct ResultHeader {
  Head head;
  std::uint32_t item = 0;
  std::uint32_t reserved = 0;
  std::uint64_t chunk = 0;
  std::uint64_t run_time_ns = 0;
};
struct Reference {
  std::uint64_t buffer = 0;
  std::uint64_t size = 0;
};
static_assert(sizeof(Head) == 8 && sizeof(ItemHeader) == 16 && sizeof(ChunkHeader) == 48 && sizeof(IdHeader) == 16);
static_assert(sizeof(ResultHeader) == 32 && sizeof(Reference) == 16);
inline constexpr std::size_t kMaxFrame = sizeof(ResultHeader) + kInlineLimit;
static_assert(2 * kMaxFrame < kMinRingBytes, "a pad and the largest frame together must fit into an empty ring");

/// Why bytes from the other side were refused.
enum class Fault : std::uint8_t {
  none,
  position,       // a head or tail outside what is possible
  cut_short,      // the frame does not end within the committed bytes
  pad,            // a pad that does not end at the ring's end
  type,
  form,
  length,
  reserved,       // a field that must be 0 is not
  reference,      // a buffer reference that cannot be
  slot,
  count,
  chunk,          // an item frame for a chunk that its slot does not serve
  chunk_word,     // a chunk word that the worker alone cannot have made
  run_time,
};
const char* describe(Fault fault);

constexpr std::size_t align_up(std::size_t bytes) { return (bytes + kFrameAlign - 1) & ~(kFrameAlign - 1); }

/// Bytes of a frame with `header` bytes of header, padding included.
inline std::size_t cost(std::size_t header, const PayloadRef& payload) {
  return align_up(header + (payload.buffer != 0 ? sizeof(Reference) : payload.inline_bytes.size()));
}

/// Copies a header out of shared memory, reading each word exactly once (an ordinary memcpy may be read again by the compiler after
/// the check). `from` is 8-aligned.
template <class Header>
Header copy_once(const std::byte* from) {
  static_assert(sizeof(Header) % 8 == 0);
  std::uint64_t words[sizeof(Header) / 8];
  const auto* source = reinterpret_cast<const std::uint64_t*>(from);
  // relaxed: the acquire load of the tail has already ordered these reads behind the writer's publication.
  for (std::size_t i = 0; i < sizeof(Header) / 8; ++i) words[i] = __atomic_load_n(source + i, __ATOMIC_RELAXED);
  Header header;
  std::memcpy(&header, words, sizeof header);
  return header;
}

template <class Header>
void put_header(std::byte* to, const Header& header) {
  std::memcpy(to, &header, sizeof header);
}

/// Writes the payload behind the header; returns the frame's length for the head.
inline std::uint32_t put_payload(std::byte* frame, std::size_t header, const PayloadRef& payload) {
  if (payload.buffer != 0) {
    const Reference reference{.buffer = payload.buffer, .size = payload.size};
    std::memcpy(frame + header, &reference, sizeof reference);
    return static_cast<std::uint32_t>(header + sizeof reference);
  }
  if (!payload.inline_bytes.empty()) std::memcpy(frame + header, payload.inline_bytes.data(), payload.inline_bytes.size());
  return static_cast<std::uint32_t>(header + payload.inline_bytes.size());
}

inline Form form_of(const PayloadRef& payload) { return payload.buffer != 0 ? Form::buffer : Form::inline_bytes; }

// The decoders. `at` is 8-aligned; [at, at + available) are committed bytes in one piece. On Fault::none `bytes` is the frame's size
// with padding, <= available.

struct DecodedTask {
  TaskFrame frame;             // item: `chunk` holds the low half only; the channel completes it
  std::uint32_t tag = 0;       // chunk
  std::size_t bytes = 0;
};
Fault decode_task(const std::byte* at, std::size_t available, DecodedTask& out);

struct DecodedResult {
  ResultFrame frame;
  std::size_t bytes = 0;
};
Fault decode_result(const std::byte* at, std::size_t available, DecodedResult& out);

}  // namespace holdfast::ring::frame
