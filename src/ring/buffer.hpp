// What: large payloads (> kInlineLimit) travel in shared buffers: sealed memfds made by the parent, mapped, kept and reused.
//
// Argument buffers (parent -> worker): the parent fills one and then seals it against new writable mappings
// (F_SEAL_FUTURE_WRITE): a worker can map it only privately, so a retry always sees the bytes as they were. One buffer may serve
// several workers. Sent by SCM_RIGHTS (control.hpp, `buffer`) before the frame that names it is committed.
// Result buffers (worker -> parent): made by the parent on a worker's request (`buffer_request`), mapped shared by that one
// worker, at most 64 per worker (index 0..63, a bit in the channel's free map). The worker fills one and publishes a frame with
// its id; the parent reads it, then release_buffer(index) gives it back.
// BufferPool belongs to the parent (thread-safe, own mutex: used by user threads that encode arguments and by the supervisor).
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "base/result.hpp"
#include "base/types.hpp"
#include "sys/fd.hpp"

namespace holdfast::ring {

/// One mapped shared buffer. Unmapped and closed with the object.
class SharedBuffer {
 public:
  static Result<std::unique_ptr<SharedBuffer>> create(BufferId id, std::size_t size);            // parent; sealed, MADV_DONTDUMP
  static Result<std::unique_ptr<SharedBuffer>> map_shared(int fd, BufferId id, std::size_t size);   // worker, results; checks seals and size
  static Result<std::unique_ptr<SharedBuffer>> map_private(int fd, BufferId id, std::size_t size);  // worker, arguments
  ~SharedBuffer();

  BufferId id() const { return id_; }
  int fd() const { return fd_.get(); }
  std::byte* data() const { return data_; }
  std::size_t capacity() const { return capacity_; }
  /// Parent, arguments: no new writable mapping from now on (the parent's own stays).
  Status seal_future_write();

  SharedBuffer(const SharedBuffer&) = delete;
  SharedBuffer& operator=(const SharedBuffer&) = delete;

 private:
  SharedBuffer(BufferId id, UniqueFd fd, std::byte* data, std::size_t capacity);
  BufferId id_;
  UniqueFd fd_;
  std::byte* data_;
  std::size_t capacity_;
};

/// Keeps argument buffers for reuse, up to `keep_bytes` in all; sizes are rounded up to powers of two (>= 64 KiB) so that they fit
/// again. A buffer is reused only when its last shared_ptr is gone.
class BufferPool : public std::enable_shared_from_this<BufferPool> {
 public:
  static std::shared_ptr<BufferPool> create(std::size_t keep_bytes);
  ~BufferPool();
  /// A buffer of at least `size` bytes; back to the pool when the last reference goes. Errors: memory or descriptors exhausted.
  Result<std::shared_ptr<SharedBuffer>> get(std::size_t size);
  /// Ids of buffers that were dropped for good since the last call (workers are told `buffer_gone`).
  std::vector<BufferId> take_dropped();
  BufferId next_id();
  std::size_t kept_bytes() const;

 private:
  explicit BufferPool(std::size_t keep_bytes);
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace holdfast::ring
