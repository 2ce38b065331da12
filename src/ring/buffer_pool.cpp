// What: keeps large buffers for reuse: touching fresh pages costs five times more than the copy itself. [buffer.hpp]
#include <algorithm>
#include <list>
#include <mutex>
#include <utility>

#include "ring/buffer.hpp"

namespace holdfast::ring {
namespace {

constexpr std::size_t kKeepAtMost = 64;  // each has a descriptor, of which the host has perhaps 1,024 for everything

}  // namespace

struct BufferPool::Impl {
  std::mutex lock;
  std::size_t keep_bytes = 0;
  std::size_t kept_bytes = 0;
  std::list<std::unique_ptr<SharedBuffer>> kept;  // the most recently used first
  std::vector<BufferId> dropped;
  BufferId last_id = 0;

  /// A kept buffer that is large enough and not wastefully so; nullptr = none.
  std::unique_ptr<SharedBuffer> take(std::size_t size) {
    const auto fits = [size](const auto& each) { return each->capacity() >= size && each->capacity() / 2 <= size; };
    const auto found = std::find_if(kept.begin(), kept.end(), fits);
    if (found == kept.end()) return nullptr;
    auto buffer = std::move(*found);
    kept.erase(found);
    kept_bytes -= buffer->capacity();
    return buffer;
  }

  /// Takes a buffer back; what goes beyond the limit is moved to `out`, to be unmapped without the lock.
  void give_back(std::unique_ptr<SharedBuffer> buffer, std::list<std::unique_ptr<SharedBuffer>>& out) {
    kept_bytes += buffer->capacity();
    kept.push_front(std::move(buffer));
    while (kept_bytes > keep_bytes || kept.size() > kKeepAtMost) {
      kept_bytes -= kept.back()->capacity();
      dropped.push_back(kept.back()->id());
      out.splice(out.end(), kept, std::prev(kept.end()));
    }
  }
};

BufferPool::BufferPool(std::size_t keep_bytes) : impl_(std::make_unique<Impl>()) { impl_->keep_bytes = keep_bytes; }
BufferPool::~BufferPool() = default;

std::shared_ptr<BufferPool> BufferPool::create(std::size_t keep_bytes) { return std::shared_ptr<BufferPool>(new BufferPool(keep_bytes)); }

Result<std::shared_ptr<SharedBuffer>> BufferPool::get(std::size_t size) {
  const std::size_t rounded = SharedBuffer::reusable_size(size);
  std::unique_ptr<SharedBuffer> buffer;
  BufferId id = 0;
  {
    const std::lock_guard guard(impl_->lock);
    buffer = impl_->take(rounded);
    if (buffer == nullptr) id = ++impl_->last_id;
  }
  if (buffer == nullptr) {
    auto made = SharedBuffer::create(id, rounded);
    if (!made.ok()) return std::move(made).error();
    buffer = *std::move(made);
  }
  // The last reference brings it back; if the pool is gone by then, the buffer goes too.
  auto come_back = [pool = weak_from_this()](SharedBuffer* raw) {
    std::unique_ptr<SharedBuffer> mine(raw);
    std::list<std::unique_ptr<SharedBuffer>> unmap;
    if (const auto alive = pool.lock()) {
      const std::lock_guard guard(alive->impl_->lock);
      alive->impl_->give_back(std::move(mine), unmap);
    }
  };
  return std::shared_ptr<SharedBuffer>(buffer.release(), std::move(come_back));
}

Result<std::shared_ptr<SharedBuffer>> BufferPool::sealed_copy(ByteSpan bytes) {
  auto buffer = get(bytes.size());
  if (!buffer.ok()) return buffer;
  if (auto filled = (*buffer)->fill(0, bytes); !filled.ok()) return std::move(filled).error();
  if (auto sealed = (*buffer)->seal_future_write(); !sealed.ok()) return std::move(sealed).error();
  return buffer;
}

std::vector<BufferId> BufferPool::take_dropped() {
  const std::lock_guard guard(impl_->lock);
  return std::exchange(impl_->dropped, {});
}

BufferId BufferPool::next_id() {
  const std::lock_guard guard(impl_->lock);
  return ++impl_->last_id;
}

std::size_t BufferPool::kept_bytes() const {
  const std::lock_guard guard(impl_->lock);
  return impl_->kept_bytes;
}

}  // namespace holdfast::ring
