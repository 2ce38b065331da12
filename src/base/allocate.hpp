// What: memory for payloads, the large allocations of a pool, in a way that a lack of it is survived: it is refused while there is still
// enough for the small allocations (list nodes, queues), whose failure could only end the process. Callers: src/pool.
#pragma once

#include <algorithm>
#include <cstddef>
#include <memory>
#include <new>

namespace holdfast {

inline constexpr std::size_t kHeadroom = 64 * 1024;
inline constexpr std::size_t kSmallAllocation = 1024;  // not worth the look

/// `size` bytes, not initialised. nullptr: they, or kHeadroom beside them, are not to be had. Costs a second malloc and free (about 50 ns).
inline std::unique_ptr<std::byte[]> allocate(std::size_t size) {
  std::unique_ptr<std::byte[]> bytes(new (std::nothrow) std::byte[size]);
  if (!bytes || size <= kSmallAllocation) return bytes;
  // A call that the compiler must not leave out, as it may a pair of new and delete.
  void* headroom = ::operator new(kHeadroom, std::nothrow);
  if (headroom == nullptr) return nullptr;
  ::operator delete(headroom);
  return bytes;
}

/// The size of the next block of a row that grows with its use: `first`, then four times the `last` one (0 = none yet), up to 256 KiB; in any case
/// `at_least`.
constexpr std::size_t next_block_size(std::size_t last, std::size_t first, std::size_t at_least) {
  constexpr std::size_t kLargest = 256 * 1024;
  return std::max(last == 0 ? first : std::min(last * 4, kLargest), at_least);
}

}  // namespace holdfast
