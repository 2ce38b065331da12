// What: interned functions: the pickled bytes of what a job calls, kept once per pool and sent once per worker.
// FunctionTable is guarded by the pool's mutex; Function is immutable. A FunctionRef may be dropped by any thread at any time, also
// under the mutex: its end only notes the id (own small lock), and the pool tells the workers to forget it when it next sends.
#pragma once

#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/result.hpp"
#include "pool/engine.hpp"

namespace holdfast::pool {

class Function {
 public:
  Function(FunctionId function_id, Payload payload, std::shared_ptr<ring::SharedBuffer> shared, std::size_t bytes_in_all)
      : id(function_id), bytes(std::move(payload)), buffer(std::move(shared)), size(bytes_in_all) {}
  ByteSpan span() const { return buffer ? ByteSpan{buffer->data(), size} : bytes.bytes(); }

  const FunctionId id;
  const Payload bytes;                               // up to ring::kInlineLimit
  const std::shared_ptr<ring::SharedBuffer> buffer;  // larger ones
  const std::size_t size;
};

class FunctionTable {
 public:
  explicit FunctionTable(std::shared_ptr<ring::BufferPool> buffers);
  Result<FunctionRef> intern(ByteSpan pickled);
  /// Ids that nobody holds any more since the last call.
  std::vector<FunctionId> take_dead();

 private:
  struct Graveyard {
    std::mutex lock;
    std::vector<FunctionId> dead;
  };
  static constexpr std::size_t kRecent = 64;       // kept though nobody holds them: apply_async(f) again and again sends f once
  static constexpr std::size_t kKeepBytes = 4096;  // larger ones are not kept beyond their use

  std::shared_ptr<ring::BufferPool> buffers_;
  std::shared_ptr<Graveyard> graveyard_;
  std::unordered_map<std::string_view, std::weak_ptr<Function>> by_bytes_;  // the view is into the Function's own bytes
  std::list<FunctionRef> recent_;
  FunctionId next_id_ = 1;
};

}  // namespace holdfast::pool
