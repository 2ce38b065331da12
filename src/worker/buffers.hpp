// What: the worker's large buffers: arguments that the pool sent (mapped privately, kept until `buffer_gone`) and the table of
// buffers for results (mapped shared, at most 64, reused when the pool has given them back). Also the reader of the worker's socket.
// Used by the task loop's thread only. Descriptors are closed once mapped.
#pragma once

#include <array>
#include <functional>
#include <memory>
#include <unordered_map>

#include "base/result.hpp"
#include "ring/buffer.hpp"
#include "ring/channel.hpp"
#include "ring/control.hpp"

namespace holdfast::worker {

class WorkerBuffers {
 public:
  /// Both outlive this object.
  WorkerBuffers(int socket, ring::WorkerChannel& channel) : socket_(socket), channel_(channel) {}

  /// The bytes of an argument in a large buffer. Its message was sent before the frame that names it, so it is there or on its way.
  Result<ByteSpan> argument(const ring::PayloadRef& payload);
  /// A buffer for a result of `size` bytes: a free one, or a new one asked for from the pool. Errors: exhausted (refused), closed
  /// (the pool is gone, or has cancelled: nobody wants the result).
  Result<ring::SharedBuffer*> for_result(std::size_t size);
  /// buffer_gone: unmaps it, of whichever kind it is.
  void gone(BufferId id);

 private:
  static constexpr std::size_t kIndexes = 64;
  /// Receives one message; sleeps for it, at most until the channel is cancelled.
  Result<ring::Message> receive();
  Status keep(const ring::Message& message, UniqueFd fd);
  ring::SharedBuffer* free_one(std::size_t size);

  int socket_;
  ring::WorkerChannel& channel_;
  std::unordered_map<BufferId, std::unique_ptr<ring::SharedBuffer>> arguments_;
  std::unordered_map<BufferId, Error> lost_;  // arguments that came without a descriptor or could not be mapped: they come only once
  std::array<std::unique_ptr<ring::SharedBuffer>, kIndexes> results_;
};

}  // namespace holdfast::worker
