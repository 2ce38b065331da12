// What: a pack: payloads one behind the other, each with its length in front. The items of a job wait in packs (pool/payload.hpp), travel to
// a worker in packs (frame.hpp), and a map's results are kept in packs (pool/outcome_runs.hpp): one copy moves hundreds of small payloads.
//
//   record | size u16 | bytes |        a pack is records and nothing else; nothing is aligned
//
// Pure functions over bytes. Invariant: Reader never looks outside the bytes it was given, whatever they say.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "base/types.hpp"
#include "ring/channel.hpp"

namespace holdfast::ring::pack {

inline constexpr std::size_t kPrefix = sizeof(std::uint16_t);
static_assert(kInlineLimit <= UINT16_MAX, "whatever may lie in a frame may lie in a record");

constexpr std::size_t cost(std::size_t size) { return kPrefix + size; }

inline void put_prefix(std::byte* at, std::size_t size) {
  const auto prefix = static_cast<std::uint16_t>(size);
  std::memcpy(at, &prefix, sizeof prefix);
}

/// Takes the records of a pack one after the other.
class Reader {
 public:
  Reader() = default;
  explicit Reader(ByteSpan records) : rest_(records) {}

  /// The next record's bytes. False at the end, and where what is left is no record (then at_end() is false).
  bool next(ByteSpan& record) {
    std::uint16_t size = 0;
    if (rest_.size() < kPrefix) return false;
    std::memcpy(&size, rest_.data(), sizeof size);
    if (rest_.size() - kPrefix < size) return false;
    record = ByteSpan(rest_.data() + kPrefix, size);
    rest_ = rest_.subspan(kPrefix + size);
    return true;
  }
  bool at_end() const { return rest_.empty(); }
  const std::byte* position() const { return rest_.data(); }

 private:
  ByteSpan rest_;
};

}  // namespace holdfast::ring::pack
