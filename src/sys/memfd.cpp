// What: making, sealing and mapping memfds. [memfd.hpp]
#include "sys/memfd.hpp"

#include <cerrno>
#include <utility>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sys/error.hpp"

namespace holdfast::sys {

Result<UniqueFd> create_memfd(const char* name, std::size_t size) {
  UniqueFd fd(::memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd) return last_error("memfd_create");
  if (::ftruncate(fd.get(), static_cast<off_t>(size)) != 0) return last_error("ftruncate", std::to_string(size) + " bytes");
  auto sealed = add_seals(fd.get(), F_SEAL_SHRINK | F_SEAL_GROW);
  if (!sealed.ok()) return std::move(sealed).error();
  return fd;
}

Status add_seals(int fd, unsigned seals) {
  if (::fcntl(fd, F_ADD_SEALS, seals) != 0) return last_error("fcntl(F_ADD_SEALS)");
  return ok_status();
}

Result<unsigned> get_seals(int fd) {
  const int seals = ::fcntl(fd, F_GET_SEALS);
  if (seals < 0) return last_error("fcntl(F_GET_SEALS)");
  return static_cast<unsigned>(seals);
}

Status seal_future_write(int fd) { return add_seals(fd, F_SEAL_FUTURE_WRITE); }

bool sealed_against_resize(int fd) {
  const auto seals = get_seals(fd);
  constexpr unsigned kBoth = F_SEAL_SHRINK | F_SEAL_GROW;
  return seals.ok() && (seals.value() & kBoth) == kBoth;
}

Result<std::size_t> file_size(int fd) {
  struct stat info {};
  if (::fstat(fd, &info) != 0) return last_error("fstat");
  return static_cast<std::size_t>(info.st_size);
}

Status write_all_at(int fd, std::size_t offset, ByteSpan bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset));  // at most 2 GiB per call
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return last_error("pwrite", "shared memory");
    offset += static_cast<std::size_t>(written);
    bytes = bytes.subspan(static_cast<std::size_t>(written));
  }
  return ok_status();
}

Result<Mapping> Mapping::map(int fd, std::size_t size, Mode mode) {
  auto available = file_size(fd);
  if (!available.ok()) return std::move(available).error();
  if (size == 0 || size > available.value()) {
    return Error{ErrorCode::invalid_argument, 0, "mmap", std::to_string(size) + " bytes of a file of " + std::to_string(available.value())};
  }
  const int protection = mode == Mode::shared_read_only ? PROT_READ : PROT_READ | PROT_WRITE;
  const int flags = mode == Mode::private_copy ? MAP_PRIVATE : MAP_SHARED;
  void* at = ::mmap(nullptr, size, protection, flags, fd, 0);
  if (at == MAP_FAILED) return last_error("mmap", std::to_string(size) + " bytes");
  (void)::madvise(at, size, MADV_DONTDUMP);  // a wish: without it only core files grow
  return Mapping(static_cast<std::byte*>(at), size);
}

Result<Mapping> Mapping::anonymous(std::size_t size) {
  void* at = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (at == MAP_FAILED) return last_error("mmap", std::to_string(size) + " bytes");
  (void)::madvise(at, size, MADV_HUGEPAGE);  // a wish: some kernels have none
  return Mapping(static_cast<std::byte*>(at), size);
}

Status Mapping::drop_private_changes() {
  if (::madvise(data_, size_, MADV_DONTNEED) != 0) return last_error("madvise(MADV_DONTNEED)");
  return ok_status();
}

void Mapping::copy_pages(std::size_t bytes) {
  constexpr int kPopulateWrite = 23;  // MADV_POPULATE_WRITE (Linux 5.14), not in older headers
  if (::madvise(data_, bytes, kPopulateWrite) == 0) return;
  // A write to each page does the same. Atomic, for a thread of the task may be writing there: a plain read and store could undo its change.
  constexpr std::size_t kPage = 4096;
  auto* first = reinterpret_cast<unsigned char*>(data_);
  for (std::size_t at = 0; at < bytes; at += kPage) __atomic_fetch_or(first + at, 0, __ATOMIC_RELAXED);
}

Mapping::Mapping(Mapping&& other) noexcept : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

Mapping& Mapping::operator=(Mapping&& other) noexcept {
  if (this != &other) {
    unmap();
    data_ = std::exchange(other.data_, nullptr);
    size_ = std::exchange(other.size_, 0);
  }
  return *this;
}

Mapping::~Mapping() { unmap(); }

void Mapping::unmap() {
  if (data_ != nullptr) (void)::munmap(data_, size_);  // fails only for a range that was never mapped
}

}  // namespace holdfast::sys
