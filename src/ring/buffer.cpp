// What: one large shared buffer: making, mapping, filling it. [buffer.hpp]
#include "ring/buffer.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <string>
#include <utility>

#include "base/check.hpp"
#include "ring/frame.hpp"
#include "sys/memory.hpp"

namespace holdfast::ring {
namespace {

constexpr std::size_t kPage = 4096;
constexpr std::size_t kAskMemoryFrom = std::size_t{256} << 20;  // below it the question costs more than it saves

Status check_size(std::size_t size) {
  constexpr const char* kOperation = "buffer.create";
  if (size == 0) return Error{ErrorCode::invalid_argument, 0, kOperation, "a buffer of 0 bytes"};
  if (size > frame::kMaxPayload) {
    return Error{ErrorCode::exhausted, 0, kOperation, std::to_string(size) + " bytes are more than an address space holds"};
  }
  if (size < kAskMemoryFrom) return ok_status();
  // An unreadable /proc/meminfo is no reason to refuse: then the kernel decides.
  if (const auto available = sys::available_memory(); available.ok() && size > *available) {
    return Error{ErrorCode::exhausted, 0, kOperation,
                 "a payload of " + std::to_string(size >> 20) + " MiB does not fit into the " + std::to_string(*available >> 20) +
                     " MiB of memory that are available"};
  }
  return ok_status();
}

}  // namespace

SharedBuffer::SharedBuffer(BufferId id, UniqueFd fd, sys::Mapping mapping) : id_(id), fd_(std::move(fd)), mapping_(std::move(mapping)) {}
SharedBuffer::~SharedBuffer() = default;

std::size_t SharedBuffer::reusable_size(std::size_t size) {
  constexpr std::size_t kSmallest = std::size_t{64} << 10;
  constexpr std::size_t kDoubleUpTo = std::size_t{1} << 30;
  constexpr std::size_t kStep = std::size_t{2} << 20;
  if (size <= kSmallest) return kSmallest;
  if (size <= kDoubleUpTo) return std::bit_ceil(size);
  if (size > SIZE_MAX - kStep) return size;  // create() refuses it
  return (size + kStep - 1) / kStep * kStep;
}

Result<std::unique_ptr<SharedBuffer>> SharedBuffer::create(BufferId id, std::size_t size) {
  if (auto fits = check_size(size); !fits.ok()) return std::move(fits).error();
  const std::size_t whole_pages = (size + kPage - 1) & ~(kPage - 1);
  auto fd = sys::create_memfd("holdfast-buffer", whole_pages);
  if (!fd.ok()) return std::move(fd).error();
  auto mapping = sys::Mapping::map(fd->get(), whole_pages, sys::Mapping::Mode::shared);
  if (!mapping.ok()) return std::move(mapping).error();
  return std::unique_ptr<SharedBuffer>(new SharedBuffer(id, *std::move(fd), *std::move(mapping)));
}

Result<std::unique_ptr<SharedBuffer>> SharedBuffer::map(int fd, BufferId id, std::size_t size, sys::Mapping::Mode mode) {
  if (!sys::sealed_against_resize(fd)) {
    return Error{ErrorCode::protocol_error, 0, "buffer.map", "the memory is not sealed: it could shrink under its readers"};
  }
  auto mapping = sys::Mapping::map(fd, size, mode);
  if (!mapping.ok()) return std::move(mapping).error();
  UniqueFd own;
  if (mode == sys::Mapping::Mode::shared) {  // fill() writes through it
    auto copy = sys::duplicate(fd);
    if (!copy.ok()) return std::move(copy).error();
    own = *std::move(copy);
  }
  return std::unique_ptr<SharedBuffer>(new SharedBuffer(id, std::move(own), *std::move(mapping)));
}

Result<std::unique_ptr<SharedBuffer>> SharedBuffer::map_shared(int fd, BufferId id, std::size_t size) {
  return map(fd, id, size, sys::Mapping::Mode::shared);
}

Result<std::unique_ptr<SharedBuffer>> SharedBuffer::map_private(int fd, BufferId id, std::size_t size) {
  return map(fd, id, size, sys::Mapping::Mode::private_copy);
}

Status SharedBuffer::fill(std::size_t offset, ByteSpan bytes) {
  HF_CHECK(offset <= capacity() && bytes.size() <= capacity() - offset);
  if (bytes.empty()) return ok_status();
  const std::size_t end = offset + bytes.size();
  const std::size_t through_mapping = sealed_ || !fd_ ? end : std::clamp(touched_, offset, end);
  if (through_mapping > offset) std::memcpy(data() + offset, bytes.data(), through_mapping - offset);
  if (through_mapping < end) {
    auto written = sys::write_all_at(fd_.get(), through_mapping, bytes.subspan(through_mapping - offset));
    if (!written.ok()) return written;
  }
  touched_ = std::max(touched_, end);
  return ok_status();
}

Status SharedBuffer::seal_future_write() {
  if (sealed_) return ok_status();
  auto done = sys::seal_future_write(fd_.get());
  if (done.ok()) sealed_ = true;
  return done;
}

Status SharedBuffer::show_parents_bytes() {
  own_ = false;
  return mapping_.drop_private_changes();
}

void SharedBuffer::make_own(std::size_t bytes) {
  if (!std::exchange(own_, true)) mapping_.copy_pages(bytes);
}

}  // namespace holdfast::ring
