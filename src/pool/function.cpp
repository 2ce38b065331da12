// What: see function.hpp.
#include "pool/function.hpp"

namespace holdfast::pool {

namespace {
std::string_view view_of(ByteSpan bytes) { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }
}  // namespace

FunctionTable::FunctionTable(std::shared_ptr<ring::BufferPool> buffers)
    : buffers_(std::move(buffers)), graveyard_(std::make_shared<Graveyard>()) {}

Result<FunctionRef> FunctionTable::intern(ByteSpan pickled) {
  if (const auto found = by_bytes_.find(view_of(pickled)); found != by_bytes_.end()) {
    if (FunctionRef alive = found->second.lock()) return alive;
    by_bytes_.erase(found);
  }
  std::shared_ptr<ring::SharedBuffer> buffer;
  if (pickled.size() > ring::kInlineLimit) {
    auto copied = buffers_->sealed_copy(pickled);
    if (!copied) return std::move(copied).error();
    buffer = *std::move(copied);
  }
  // The deleter may run under the pool's mutex or not: it only takes the graveyard's own lock.
  FunctionRef made(new Function(next_id_++, buffer ? Payload{} : Payload::copy(pickled), buffer, pickled.size()),
                   [graveyard = graveyard_](Function* function) {
                     {
                       const std::lock_guard guard(graveyard->lock);
                       graveyard->dead.push_back(function->id);
                     }
                     delete function;
                   });
  if (pickled.size() <= kKeepBytes) {
    by_bytes_.emplace(view_of(made->bytes.bytes()), made);
    recent_.push_front(made);
    if (recent_.size() > kRecent) {
      const FunctionRef oldest = std::move(recent_.back());
      recent_.pop_back();
      by_bytes_.erase(view_of(oldest->bytes.bytes()));
    }
  }
  return made;
}

std::vector<FunctionId> FunctionTable::take_dead() {
  const std::lock_guard guard(graveyard_->lock);
  return std::exchange(graveyard_->dead, {});
}

}  // namespace holdfast::pool
