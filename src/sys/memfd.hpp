// What: anonymous shared memory without a name anywhere (memfd), its seals and its mappings. Callers: src/ring.
//
// Invariants:
//   1. A memfd made here can neither shrink nor grow (F_SEAL_SHRINK | F_SEAL_GROW): no process that holds it can give another
//      one a SIGBUS by ftruncate. Holes can still be punched in it: zeros then appear, so readers validate (P8).
//   2. A Mapping of a file stays out of core dumps (MADV_DONTDUMP); each is unmapped with its object.
#pragma once

#include <cstddef>

#include "base/result.hpp"
#include "base/types.hpp"
#include "sys/fd.hpp"

namespace holdfast::sys {

/// `size` bytes of zeros. CLOEXEC, sealed SHRINK|GROW; further seals may be added. `name` shows in /proc/<pid>/maps.
Result<UniqueFd> create_memfd(const char* name, std::size_t size);

/// F_SEAL_... bits from <fcntl.h>.
Status add_seals(int fd, unsigned seals);
Result<unsigned> get_seals(int fd);
/// F_SEAL_FUTURE_WRITE: existing writable mappings stay, no new one can be made, write() is refused.
Status seal_future_write(int fd);
/// True if the memfd can neither shrink nor grow: what a receiver asks before it maps a descriptor from elsewhere.
bool sealed_against_resize(int fd);
Result<std::size_t> file_size(int fd);
/// Writes all of `bytes` at `offset` by pwrite(): into pages that nobody has touched yet this takes half the time of a copy through a
/// mapping (one fault per page is saved).
Status write_all_at(int fd, std::size_t offset, ByteSpan bytes);

class Mapping {
 public:
  enum class Mode { shared, shared_read_only, private_copy };

  /// Maps [0, size) of `fd`. The descriptor may be closed afterwards. `size` > the file's: invalid_argument (it would be a
  /// SIGBUS later). shared_read_only may not be written by anyone through this mapping; private_copy may, unseen by others.
  static Result<Mapping> map(int fd, std::size_t size, Mode mode);

  /// Ordinary private memory, zeros, in huge pages where the machine gives them: for large copies, whose page faults cost three times more
  /// than the copying itself.
  static Result<Mapping> anonymous(std::size_t size);

  Mapping() = default;
  Mapping(Mapping&& other) noexcept;
  Mapping& operator=(Mapping&& other) noexcept;
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  ~Mapping();

  /// private_copy only: every change made through this mapping is dropped, and it shows the file as it is now.
  Status drop_private_changes();
  /// private_copy only: every page of the first `bytes` becomes this process's own, with the bytes it shows now; what others write to the file is not seen any
  /// more. Other threads may read and write the pages meanwhile.
  void copy_pages(std::size_t bytes);

  std::byte* data() const { return data_; }
  std::size_t size() const { return size_; }
  explicit operator bool() const { return data_ != nullptr; }

 private:
  Mapping(std::byte* data, std::size_t size) : data_(data), size_(size) {}
  void unmap();

  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace holdfast::sys
