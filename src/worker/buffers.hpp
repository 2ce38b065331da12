// What: the worker's large buffers: arguments that the pool sent (mapped privately, kept until `buffer_gone`) and the table of
// buffers for results (mapped shared, at most 64, reused when the pool has given them back). Also the reader of the worker's socket.
// Used by the task loop's thread only. Descriptors are closed once mapped.
//
// An argument is lent to its item: the runner may give the task views of the mapping itself, which is private (copy-on-write), so that what
// the task writes nobody else sees. Invariants:
//   1. The pool uses a buffer again only after the item's result was committed, and end_loan() comes before that: if a view lives on, every
//      page has become this process's own by then, and the mapping belongs to the views alone.
//   2. A fork while views live makes all pages own, too, before the child exists: the child may outlive the item (at_fork, any thread).
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

/// A large argument, until end_loan(). A view of `bytes` lives as long as a copy of `mapping` is kept.
struct LentArgument {
  ByteSpan bytes;
  std::shared_ptr<ring::SharedBuffer> mapping;
};

class WorkerBuffers {
 public:
  /// Both outlive this object.
  WorkerBuffers(int socket, ring::WorkerChannel& channel);
  ~WorkerBuffers();
  WorkerBuffers(const WorkerBuffers&) = delete;
  WorkerBuffers& operator=(const WorkerBuffers&) = delete;

  /// The bytes of an argument in a large buffer. Its message was sent before the frame that names it, so it is there or on its way.
  Result<LentArgument> argument(const ring::PayloadRef& payload);
  /// Views of the last argument live; the caller's own copy of `mapping` counts as one.
  bool has_views() const { return lent_ != nullptr && lent_.use_count() > kOwnReferences; }
  /// The item that had the argument is over, its result not committed. True: views live on, or the argument was lost on its way: the pool must send the
  /// buffer again for its next use.
  bool end_loan();
  /// The same for a function, which is always copied, and of whose loss nothing is told: its buffer stays lost for the item that comes in it next.
  void end_loan_of_function();
  /// A buffer for a result of `size` bytes: a free one, or a new one asked for from the pool. Errors: exhausted (refused), closed
  /// (the pool is gone, or has cancelled: nobody wants the result).
  Result<ring::SharedBuffer*> for_result(std::size_t size);
  /// buffer_gone: unmaps it, of whichever kind it is.
  void gone(BufferId id);
  /// Under the lock of the fork's hooks.
  void before_fork();

 private:
  static constexpr std::size_t kIndexes = 64;
  static constexpr long kOwnReferences = 2;  // lent_ and the one in arguments_
  /// Receives one message; sleeps for it, at most until the channel is cancelled.
  Result<ring::Message> receive();
  Status keep(const ring::Message& message, UniqueFd fd);
  ring::SharedBuffer* free_one(std::size_t size);

  int socket_;
  ring::WorkerChannel& channel_;
  std::unordered_map<BufferId, std::shared_ptr<ring::SharedBuffer>> arguments_;
  std::shared_ptr<ring::SharedBuffer> lent_;  // also read by a thread that forks
  std::size_t lent_bytes_ = 0;                // of it, the argument
  BufferId lost_item_ = 0;                    // the last argument asked for was lost
  std::unordered_map<BufferId, Error> lost_;  // arguments that came without a descriptor or could not be mapped
  std::array<std::unique_ptr<ring::SharedBuffer>, kIndexes> results_;
};

}  // namespace holdfast::worker
