// What: interned functions: the pickled bytes of what a job calls, kept once per pool and sent once per worker.
// FunctionTable is guarded by the pool's mutex; Function is immutable. A FunctionRef may be dropped by any thread at any time, also
// under the mutex: its end only notes the id (own small lock), and the pool tells the workers to forget it when it next sends.
#pragma once

#include <atomic>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/result.hpp"
#include "pool/engine.hpp"

namespace holdfast::pool {

/// Where ids go when the last reference does: may outlive the table, as a Function may.
struct FunctionGraveyard {
  std::mutex lock;
  std::vector<FunctionId> dead;
};

class Function {
 public:
  Function(FunctionId function_id, Payload payload, std::shared_ptr<ring::SharedBuffer> shared, std::size_t bytes_in_all,
           std::shared_ptr<FunctionGraveyard> when_dead)
      : id(function_id), bytes(std::move(payload)), buffer(std::move(shared)), size(bytes_in_all), graveyard_(std::move(when_dead)) {}
  ByteSpan span() const { return buffer ? ByteSpan{buffer->data(), size} : bytes.bytes(); }

  const FunctionId id;
  const Payload bytes;                               // up to ring::kInlineLimit
  const std::shared_ptr<ring::SharedBuffer> buffer;  // larger ones
  const std::size_t size;

 private:
  friend void retain(Function& function) noexcept;
  friend void release(Function& function) noexcept;
  std::atomic<std::size_t> references_{1};  // a million jobs have one each
  const std::shared_ptr<FunctionGraveyard> graveyard_;
};

class FunctionTable {
 public:
  explicit FunctionTable(std::shared_ptr<ring::BufferPool> buffers);
  Result<FunctionRef> intern(ByteSpan pickled);
  /// Ids that nobody holds any more since the last call.
  std::vector<FunctionId> take_dead();

 private:
  static constexpr std::size_t kRecent = 64;       // kept though nobody holds them: apply_async(f) again and again sends f once
  static constexpr std::size_t kKeepBytes = 4096;  // larger ones are not kept beyond their use

  std::shared_ptr<ring::BufferPool> buffers_;
  const std::shared_ptr<FunctionGraveyard> graveyard_;
  std::unordered_map<std::string_view, FunctionRef> by_bytes_;  // the recent ones; the view is into the Function's own bytes
  std::deque<const Function*> recent_;                          // in the order in which they came
  FunctionId next_id_ = 1;
};

}  // namespace holdfast::pool
