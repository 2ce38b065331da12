// What: the payload of a `raised` result and of a `note`: an exception as the worker saw it, in pickled form and as text, so that one that
// cannot be pickled there or rebuilt here is still told in full. Encoded by python_runner.cpp (worker), decoded by outcomes.cpp (parent).
//
// Layout (native byte order, both ends are one machine):
//   0 u32 mark | 4 u8 phase, 3 zero bytes | 8 u64 pickled | 16 u32 type name | 20 u32 repr | 24 u32 traceback | 28 u32 zero   (sizes)
//   32 pickled, type name, repr, traceback, one after the other
// Values; thread-safe. No Python call in here.
#pragma once

#include <cstdint>
#include <cstring>
#include <optional>
#include <string_view>

#include "base/types.hpp"

namespace holdfast::python {

enum class RaisedPhase : std::uint8_t {
  function = 1,  // unpickling the function (every item of the job gets it)
  arguments,     // unpickling the arguments
  call,          // the call itself, or a signal handler during it
  result,        // pickling the result (pickled: multiprocessing.pool.MaybeEncodingError), or finding room for it
  idle,          // a signal handler between two tasks: only in notes
};

struct Raised {
  RaisedPhase phase = RaisedPhase::call;
  /// A codec payload (codec.hpp): decode() gives the exception to raise, a multiprocessing RemoteTraceback as its __cause__. Empty:
  /// there was no way to pickle even a stand-in; then the texts are all there is.
  ByteSpan pickled;
  std::string_view type_name;  // qualified, "ValueError" or "package.module.Class"; UTF-8, like the next two
  std::string_view repr;
  std::string_view traceback;  // as traceback.format_exception gives it
};

namespace raised_layout {
inline constexpr std::uint32_t kMark = 0x52584648;  // "HFXR"
inline constexpr std::size_t kHeader = 32;
struct Header {
  std::uint32_t mark;
  std::uint8_t phase;
  std::uint8_t zero[3];
  std::uint64_t pickled;
  std::uint32_t type_name, repr, traceback, zero2;
};
static_assert(sizeof(Header) == kHeader);
}  // namespace raised_layout

inline std::size_t raised_size(const Raised& raised) {
  return raised_layout::kHeader + raised.pickled.size() + raised.type_name.size() + raised.repr.size() + raised.traceback.size();
}

/// Writes exactly raised_size() bytes. The texts are at most 4 GiB each.
inline void encode_raised(const Raised& raised, std::byte* to) {
  const raised_layout::Header header{raised_layout::kMark,
                                     static_cast<std::uint8_t>(raised.phase),
                                     {},
                                     raised.pickled.size(),
                                     static_cast<std::uint32_t>(raised.type_name.size()),
                                     static_cast<std::uint32_t>(raised.repr.size()),
                                     static_cast<std::uint32_t>(raised.traceback.size()),
                                     0};
  std::memcpy(to, &header, sizeof header);
  to += sizeof header;
  const auto put = [&to](const void* data, std::size_t size) {
    if (size != 0) std::memcpy(to, data, size);  // data may be null then
    to += size;
  };
  put(raised.pickled.data(), raised.pickled.size());
  put(raised.type_name.data(), raised.type_name.size());
  put(raised.repr.data(), raised.repr.size());
  put(raised.traceback.data(), raised.traceback.size());
}

/// Views into `payload`. nullopt: these bytes are no raised payload (P8: whatever a worker writes, no wild read).
inline std::optional<Raised> decode_raised(ByteSpan payload) {
  raised_layout::Header header;
  if (payload.size() < sizeof header) return std::nullopt;
  std::memcpy(&header, payload.data(), sizeof header);
  ByteSpan rest = payload.subspan(sizeof header);
  if (header.mark != raised_layout::kMark || header.phase < 1 || header.phase > static_cast<std::uint8_t>(RaisedPhase::idle))
    return std::nullopt;
  // pickled is compared alone first, so that the sum cannot overflow: the other three are below 4 GiB each.
  if (header.pickled > rest.size()) return std::nullopt;
  const std::uint64_t sum = header.pickled + header.type_name + std::uint64_t{header.repr} + header.traceback;
  if (sum != rest.size()) return std::nullopt;
  const auto take = [&rest](std::uint64_t size) {
    const ByteSpan part = rest.first(static_cast<std::size_t>(size));
    rest = rest.subspan(static_cast<std::size_t>(size));
    return part;
  };
  const auto take_text = [&take](std::uint64_t size) {
    const ByteSpan part = take(size);
    return std::string_view(reinterpret_cast<const char*>(part.data()), part.size());
  };
  Raised raised;
  raised.phase = static_cast<RaisedPhase>(header.phase);
  raised.pickled = take(header.pickled);
  raised.type_name = take_text(header.type_name);
  raised.repr = take_text(header.repr);
  raised.traceback = take_text(header.traceback);
  return raised;
}

}  // namespace holdfast::python
