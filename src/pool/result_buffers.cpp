// What: see result_buffers.hpp.
#include "pool/result_buffers.hpp"

#include <optional>

namespace holdfast::pool {

/// Reads one buffer; its end gives the buffer back.
class ResultBuffers::Reader final : public LargeResult {
 public:
  Reader(std::shared_ptr<ResultBuffers> owner, std::shared_ptr<ring::SharedBuffer> buffer, std::uint32_t index, std::size_t size)
      : owner_(std::move(owner)), buffer_(std::move(buffer)), index_(index), size_(size) {}
  ~Reader() override {
    if (owner_) owner_->finished_reading(index_, buffer_->id());
  }
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;
  ByteSpan bytes() const override { return {buffer_->data(), size_}; }
  std::size_t segment_bytes() const override { return buffer_->capacity(); }

 private:
  std::shared_ptr<ResultBuffers> owner_;  // null: detached, the buffer is this reader's alone
  std::shared_ptr<ring::SharedBuffer> buffer_;
  std::uint32_t index_;
  std::size_t size_;
};

Result<ResultBuffers::Grant> ResultBuffers::grant(std::size_t size) {
  const std::lock_guard guard(lock_);
  std::optional<std::uint32_t> index;
  for (std::uint32_t each = 0; each < kIndexes && !index; ++each) {
    if (!table_[each].buffer) index = each;
  }
  // All in use: one that waits for reuse is too small for this result, or the worker would not have asked.
  for (std::uint32_t each = 0; each < kIndexes && !index; ++each) {
    if (!table_[each].being_read) {
      drop(each);
      index = each;
    }
  }
  if (!index) return Error{ErrorCode::protocol_error, 0, "result_buffers.grant", "more buffers asked for than a worker may hold"};
  auto made = ring::SharedBuffer::create(ids_->next_id(), ring::SharedBuffer::reusable_size(size));
  if (!made) return std::move(made).error();
  table_[*index].buffer = *std::move(made);
  return Grant{table_[*index].buffer, *index};
}

Result<Payload> ResultBuffers::open(BufferId id, std::uint64_t size) {
  const std::lock_guard guard(lock_);
  for (std::uint32_t index = 0; index < kIndexes; ++index) {
    Entry& entry = table_[index];
    if (!entry.buffer || entry.buffer->id() != id) continue;
    if (entry.being_read || size > entry.buffer->capacity()) break;
    if (being_read_ < kUnreadLimit) {
      entry.being_read = true;
      ++being_read_;
      return Payload::large(std::make_shared<Reader>(shared_from_this(), entry.buffer, index, size));
    }
    if (size < kCopyBelow) {
      Payload copied = Payload::copy({entry.buffer->data(), size});
      if (channel_) channel_->release_buffer(index);
      return copied;
    }
    auto detached = std::make_shared<Reader>(nullptr, entry.buffer, index, size);
    drop(index);
    return Payload::large(std::move(detached));
  }
  return Error{ErrorCode::protocol_error, 0, "result_buffers.open", "a result names a buffer that its worker does not hold"};
}

void ResultBuffers::finished_reading(std::uint32_t index, BufferId id) {
  const std::lock_guard guard(lock_);
  Entry& entry = table_[index];
  if (!entry.buffer || entry.buffer->id() != id) return;
  entry.being_read = false;
  --being_read_;
  if (!channel_ || entry.inherited || kept_bytes() > keep_bytes_)
    drop(index);
  else
    channel_->release_buffer(index);
}

void ResultBuffers::drop(std::uint32_t index) {
  if (channel_) gone_.push_back(table_[index].buffer->id());
  table_[index] = Entry{};
}

void ResultBuffers::lock_for_fork() {
  lock_.lock();
  for (Entry& entry : table_) entry.inherited = entry.inherited || entry.being_read;
}

std::size_t ResultBuffers::kept_bytes() const {
  std::size_t sum = 0;
  for (const Entry& entry : table_) {
    if (entry.buffer && !entry.being_read) sum += entry.buffer->capacity();
  }
  return sum;
}

std::vector<BufferId> ResultBuffers::take_gone() {
  const std::lock_guard guard(lock_);
  return std::exchange(gone_, {});
}

void ResultBuffers::worker_gone() {
  const std::lock_guard guard(lock_);
  channel_.reset();
  for (Entry& entry : table_) {
    if (!entry.being_read) entry.buffer.reset();
  }
}

}  // namespace holdfast::pool
