// What: see buffers.hpp.
#include "worker/buffers.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <mutex>
#include <utility>
#include <vector>

#include "sys/epoll.hpp"
#include "sys/failpoint.hpp"
#include "sys/process.hpp"
#include "sys/socket.hpp"

namespace holdfast::worker {
namespace {

// While it waits for the pool's answer the worker looks so often whether it was cancelled. It is in the middle of a task then,
// not idle, so a periodic wake-up harms nobody.
constexpr Nanos kLookInterval = std::chrono::milliseconds(50);

Error nonsense(const char* what) { return Error{ErrorCode::protocol_error, 0, "worker.buffers", what}; }

Error lost_descriptor() { return Error{ErrorCode::exhausted, EMFILE, "worker.receive", "the descriptor of a buffer was lost"}; }

// All of this process (one; more where tests run task loops in threads): pthread_atfork's handlers take no argument. Never destroyed, for a fork
// may come while static objects are. The mutex is held during each fork: it also guards every lent_ against a thread that forks beside the loop.
struct Registry {
  std::mutex mutex;
  std::vector<WorkerBuffers*> all;
};
Registry& registry() {
  static Registry& only = *new Registry;
  return only;
}

void lock_for_fork() {
  registry().mutex.lock();
  for (WorkerBuffers* each : registry().all) each->before_fork();
}
void unlock_after_fork() { registry().mutex.unlock(); }

}  // namespace

WorkerBuffers::WorkerBuffers(int socket, ring::WorkerChannel& channel) : socket_(socket), channel_(channel) {
  static const bool installed = sys::at_fork(lock_for_fork, unlock_after_fork, unlock_after_fork).ok();
  (void)installed;  // fails only without memory; then a child that outlives its task may see the pages of a later argument
  const std::lock_guard guard(registry().mutex);
  registry().all.push_back(this);
}

WorkerBuffers::~WorkerBuffers() {
  const std::lock_guard guard(registry().mutex);
  std::erase(registry().all, this);
}

void WorkerBuffers::before_fork() {
  if (has_views()) lent_->make_own(lent_bytes_);
}

Result<ring::Message> WorkerBuffers::receive() {
  auto epoll = sys::Epoll::create();
  if (!epoll.ok()) return epoll.error();
  if (auto added = epoll->add(socket_, 0, sys::kReadable); !added.ok()) return added.error();
  for (;;) {
    ring::Message message;
    auto got = sys::receive_pod(socket_, message, /*dont_wait=*/true);
    if (got.ok() && got->eof) return Error{ErrorCode::closed, 0, "worker.receive", "the pool is gone"};
    if (got.ok()) {
      if (auto checked = ring::check_message(message, ring::Route::pool_to_worker, got->fds.size()); !checked.ok()) return checked.error();
      if (message.type == ring::MessageType::buffer_refused) return message;
      Status kept = got->fds.size() == 1 ? keep(message, std::move(got->fds[0])) : Status(lost_descriptor());
      // An argument that cannot be had is the matter of the items that name it, which may be later ones.
      if (!kept.ok() && message.c < 0) {
        lost_.insert_or_assign(static_cast<BufferId>(message.a), std::move(kept.error()));
      } else if (!kept.ok()) {
        return kept.error();
      }
      return message;
    }
    if (got.error().code != ErrorCode::timed_out) return got.error();
    if (channel_.cancelled()) return Error{ErrorCode::closed, 0, "worker.receive", "the pool is being terminated"};
    std::array<sys::Event, 1> events;
    if (auto woke = epoll->wait(events, kLookInterval); !woke.ok()) return woke.error();
  }
}

Status WorkerBuffers::keep(const ring::Message& message, UniqueFd fd) {
  const auto id = static_cast<BufferId>(message.a);
  const auto size = static_cast<std::size_t>(message.b);
  if (message.c < 0) {
    auto mapped = ring::SharedBuffer::map_private(fd.get(), id, size);
    if (!mapped.ok()) return mapped.error();
    arguments_[id] = std::move(mapped).value();
    return ok_status();
  }
  if (static_cast<std::size_t>(message.c) >= kIndexes) return nonsense("a result buffer with an index out of range");
  auto mapped = ring::SharedBuffer::map_shared(fd.get(), id, size);
  if (!mapped.ok()) return mapped.error();
  // The index may have been another buffer's, whose free bit is still up: from here on it means this one, and it is ours.
  channel_.take_buffer(static_cast<std::uint32_t>(message.c));
  results_[static_cast<std::size_t>(message.c)] = std::move(mapped).value();
  return ok_status();
}

Result<LentArgument> WorkerBuffers::argument(const ring::PayloadRef& payload) {
  auto found = arguments_.find(payload.buffer);
  while (found == arguments_.end()) {
    if (const auto lost = lost_.find(payload.buffer); lost != lost_.end()) {
      lost_item_ = payload.buffer;
      return lost->second;
    }
    auto message = receive();
    if (!message.ok()) return message.error();
    found = arguments_.find(payload.buffer);
  }
  // The pool reuses a buffer under the same id: what this mapping held of the last use must not be seen again.
  if (auto fresh = found->second->show_parents_bytes(); !fresh.ok()) return fresh.error();
  if (payload.size > found->second->capacity()) return nonsense("an argument larger than its buffer");
  const std::lock_guard guard(registry().mutex);
  lent_ = found->second;
  lent_bytes_ = static_cast<std::size_t>(payload.size);
  return LentArgument{.bytes = ByteSpan(lent_->data(), static_cast<std::size_t>(payload.size)), .mapping = lent_};
}

bool WorkerBuffers::end_loan() {
  if (const BufferId lost = std::exchange(lost_item_, 0); lost != 0) return lost_.erase(lost) != 0;
  if (lent_ == nullptr) return false;  // only this thread sets it; the lock is for one that forks and reads it
  const std::lock_guard guard(registry().mutex);
  const bool kept = has_views();  // no view can be made of another now, but by a thread that has one
  const std::shared_ptr<ring::SharedBuffer> lent = std::move(lent_);
  if (!kept) return false;
  lent->make_own(lent_bytes_);
  arguments_.erase(lent->id());
  return true;
}

void WorkerBuffers::end_loan_of_function() {
  lost_item_ = 0;
  (void)end_loan();
}

// The smallest that fits, so that a small result does not take the one that the next large result needs.
ring::SharedBuffer* WorkerBuffers::free_one(std::size_t size) {
  const std::uint64_t free = channel_.free_buffers();
  std::size_t best = kIndexes;
  for (std::size_t i = 0; i < kIndexes; ++i) {
    const bool fits = (free >> i & 1) != 0 && results_[i] != nullptr && results_[i]->capacity() >= size;
    if (fits && (best == kIndexes || results_[i]->capacity() < results_[best]->capacity())) best = i;
  }
  if (best == kIndexes) return nullptr;
  channel_.take_buffer(static_cast<std::uint32_t>(best));
  return results_[best].get();
}

Result<ring::SharedBuffer*> WorkerBuffers::for_result(std::size_t size) {
  if (ring::SharedBuffer* buffer = free_one(size)) return buffer;
  ring::Message request;
  request.type = ring::MessageType::buffer_request;
  request.a = static_cast<std::int64_t>(size);
  if (auto sent = sys::send_pod(socket_, request); !sent.ok()) return sent.error();
  HF_FAILPOINT(worker_asked_for_buffer);
  for (;;) {  // argument buffers for later frames may come first
    auto message = receive();
    if (!message.ok()) return message.error();
    if (message.value().type == ring::MessageType::buffer_refused) {
      return Error{ErrorCode::exhausted, static_cast<int>(message.value().b), "worker.for_result", "the pool has no room for the result"};
    }
    if (message.value().c < 0) continue;
    ring::SharedBuffer* buffer = results_[static_cast<std::size_t>(message.value().c)].get();
    if (buffer->capacity() < size) return nonsense("a result buffer smaller than asked for");
    return buffer;
  }
}

void WorkerBuffers::gone(BufferId id) {
  if (arguments_.erase(id) + lost_.erase(id) != 0) return;
  for (auto& buffer : results_) {
    if (buffer != nullptr && buffer->id() == id) buffer.reset();
  }
}

}  // namespace holdfast::worker
