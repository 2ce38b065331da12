// What: see function.hpp.
#include "pool/function.hpp"

namespace holdfast::pool {

namespace {
std::string_view view_of(ByteSpan bytes) { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }
}  // namespace

// relaxed: whoever copies a reference has one, so the count cannot be at its end. acq_rel below: what each thread did with the function lies
// before its release, and the last one's destruction behind all of them.
void retain(Function& function) noexcept { function.references_.fetch_add(1, std::memory_order_relaxed); }

// Under the pool's mutex or not: only the graveyard's own lock is taken. Nobody can bring it back to life: the table finds what it has a reference to.
void release(Function& function) noexcept {
  if (function.references_.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
  {
    const std::lock_guard guard(function.graveyard_->lock);
    function.graveyard_->dead.push_back(function.id);
  }
  delete &function;
}

FunctionTable::FunctionTable(std::shared_ptr<ring::BufferPool> buffers)
    : buffers_(std::move(buffers)), graveyard_(std::make_shared<FunctionGraveyard>()) {}

Result<FunctionRef> FunctionTable::intern(ByteSpan pickled) {
  if (const auto found = by_bytes_.find(view_of(pickled)); found != by_bytes_.end()) return found->second;
  std::shared_ptr<ring::SharedBuffer> buffer;
  if (pickled.size() > ring::kInlineLimit) {
    auto copied = buffers_->sealed_copy(pickled);
    if (!copied) return std::move(copied).error();
    buffer = *std::move(copied);
  }
  auto made = FunctionRef::adopt(new Function(next_id_++, buffer ? Payload{} : Payload::copy(pickled), buffer, pickled.size(), graveyard_));
  if (pickled.size() <= kKeepBytes) {
    by_bytes_.emplace(view_of(made->bytes.bytes()), made);
    recent_.push_back(made.get());
    if (recent_.size() > kRecent) {
      by_bytes_.erase(view_of(recent_.front()->bytes.bytes()));
      recent_.pop_front();
    }
  }
  return made;
}

std::vector<FunctionId> FunctionTable::take_dead() {
  const std::lock_guard guard(graveyard_->lock);
  return std::exchange(graveyard_->dead, {});
}

}  // namespace holdfast::pool
