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
#include "sys/memfd.hpp"

namespace holdfast::ring {

/// One mapped shared buffer. Unmapped and closed with the object. Not thread-safe; reading it from many threads is fine.
class SharedBuffer {
 public:
  /// Parent; sealed, out of core dumps. Errors: invalid_argument (0 bytes); exhausted: more than an address space, or more than this
  /// machine can give now (asked from 256 MiB up: filling it would be an OOM kill, which no one can catch).
  static Result<std::unique_ptr<SharedBuffer>> create(BufferId id, std::size_t size);
  /// `size`, rounded up so that the buffer fits its next user too: to powers of two from 64 KiB, above 1 GiB (twice 4 GiB would be refused for
  /// want of memory) to multiples of 2 MiB.
  static std::size_t reusable_size(std::size_t size);
  static Result<std::unique_ptr<SharedBuffer>> map_shared(int fd, BufferId id, std::size_t size);  // worker, results; checks seals and size
  static Result<std::unique_ptr<SharedBuffer>> map_private(int fd, BufferId id, std::size_t size);  // worker, arguments
  ~SharedBuffer();

  BufferId id() const { return id_; }
  int fd() const { return fd_.get(); }  // -1 in map_private's: the mapping is enough
  void close_fd() { fd_.reset(); }      // parent, results: once it has been sent
  std::byte* data() const { return mapping_.data(); }
  std::size_t capacity() const { return mapping_.size(); }

  /// Copies `bytes` to `offset`: the fastest way to fill one. Pages never touched before are written by pwrite(), the others through
  /// the mapping. HF_CHECK: within the capacity.
  Status fill(std::size_t offset, ByteSpan bytes);

  /// Parent, arguments: no new writable mapping from now on (the parent's own stays).
  Status seal_future_write();

  /// Worker, arguments (map_private): before each use. What an earlier task changed in place is undone and what the parent wrote since
  /// is seen: a buffer is reused under the same id.
  Status show_parents_bytes();
  /// Worker, arguments: when a task keeps a view of the buffer beyond its end, before its result is committed, and before a task that has one
  /// forks. Every page of the first `bytes` becomes this process's own, so that the parent's reuse of the buffer cannot change what is seen here; while the view
  /// lives this object must, too, and the next use of the buffer needs a mapping of its own. The second call in a row does nothing. Other
  /// threads may read and write the pages meanwhile.
  void make_own(std::size_t bytes);

  SharedBuffer(const SharedBuffer&) = delete;
  SharedBuffer& operator=(const SharedBuffer&) = delete;

 private:
  SharedBuffer(BufferId id, UniqueFd fd, sys::Mapping mapping);
  static Result<std::unique_ptr<SharedBuffer>> map(int fd, BufferId id, std::size_t size, sys::Mapping::Mode mode);

  BufferId id_;
  UniqueFd fd_;
  sys::Mapping mapping_;
  std::size_t touched_ = 0;  // bytes [0, touched_) were written by fill() before: their pages are there
  bool sealed_ = false;      // against write() too
  bool own_ = false;         // make_own() was called since show_parents_bytes()
};

/// Keeps argument buffers for reuse, up to `keep_bytes` in all, the least recently used go first. Sizes are reusable_size().
/// A buffer is reused, under the same id, only when its last shared_ptr is gone.
class BufferPool : public std::enable_shared_from_this<BufferPool> {
 public:
  static std::shared_ptr<BufferPool> create(std::size_t keep_bytes);
  ~BufferPool();
  /// A buffer of at least `size` bytes; back to the pool when the last reference goes. Errors: memory or descriptors exhausted.
  Result<std::shared_ptr<SharedBuffer>> get(std::size_t size);
  /// The same, filled with `bytes` and sealed: an argument that is ready to be sent.
  Result<std::shared_ptr<SharedBuffer>> sealed_copy(ByteSpan bytes);
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
