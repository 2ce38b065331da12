// What: the large result buffers of one worker, parent's side: given out on request, filled by the worker, read by a user thread,
// given back for reuse. Thread-safe (own lock, taken after the pool's mutex or alone, never the other way round).
//
// A result that nobody reads must not stop its worker: when many are unread, a small one is copied to the heap and a big one keeps its
// buffer for itself (it is detached: the worker unmaps it, its index is free), so nothing is copied twice and nothing waits.
// A buffer that a forked child of the host has inherited while it was read (as an array, perhaps: view_budget.hpp) is never used again.
#pragma once

#include <array>
#include <memory>
#include <mutex>
#include <vector>

#include "base/result.hpp"
#include "pool/payload.hpp"

namespace holdfast::pool {

class ResultBuffers : public std::enable_shared_from_this<ResultBuffers> {
 public:
  ResultBuffers(std::shared_ptr<ring::BufferPool> ids, std::shared_ptr<ring::ParentChannel> channel, std::size_t keep_bytes)
      : ids_(std::move(ids)), channel_(std::move(channel)), keep_bytes_(keep_bytes) {}

  struct Grant {
    std::shared_ptr<ring::SharedBuffer> buffer;  // its fd is to be sent
    std::uint32_t index = 0;
  };
  /// A fresh buffer for a result of `size` bytes. Errors: out of memory or descriptors, or a size that makes no sense.
  Result<Grant> grant(std::size_t size);
  /// The payload of a result frame that names buffer `id`. Errors: protocol_error (the worker has no such buffer).
  Result<Payload> open(BufferId id, std::uint64_t size);
  /// Buffers that the worker must unmap (pushed as buffer_gone frames by the caller).
  std::vector<BufferId> take_gone();
  /// The worker is gone: what is unread stays readable, the rest is unmapped.
  void worker_gone();

  // A fork of the host (fork_guard.hpp), between which the lock is held. The child's copies of unread results are its own to drop: the worker
  // must not take that for the parent's having read them.
  void lock_for_fork();
  void unlock_after_fork() { lock_.unlock(); }
  void forked_child() { channel_.reset(); }

 private:
  class Reader;
  static constexpr std::size_t kIndexes = 64;
  static constexpr std::size_t kUnreadLimit = 16;
  static constexpr std::size_t kCopyBelow = std::size_t{1} << 20;
  struct Entry {
    std::shared_ptr<ring::SharedBuffer> buffer;
    bool being_read = false;
    bool inherited = false;
  };
  void finished_reading(std::uint32_t index, BufferId id);
  void drop(std::uint32_t index);
  std::size_t kept_bytes() const;

  std::mutex lock_;
  std::shared_ptr<ring::BufferPool> ids_;
  std::shared_ptr<ring::ParentChannel> channel_;  // null once the worker is gone
  std::size_t keep_bytes_;
  std::size_t being_read_ = 0;
  std::array<Entry, kIndexes> table_;
  std::vector<BufferId> gone_;
};

}  // namespace holdfast::pool
