// What: a worker's word that it is stalled becomes a note for the dispatcher. Part of Engine::Impl (engine_impl.hpp).
#include <algorithm>
#include <string>

#include "pool/engine_impl.hpp"
#include "sys/memfd.hpp"

namespace holdfast::pool {

namespace {

/// The text in a descriptor that a worker sent, up to its first zero. Nothing but a memfd that can not shrink is mapped: anything else could block
/// this thread, or take it down with SIGBUS.
std::string read_stacks(int fd) {
  const auto size = sys::file_size(fd);
  if (!sys::sealed_against_resize(fd) || !size || *size == 0 || *size > ring::kMaxStacksText) return {};
  const auto mapping = sys::Mapping::map(fd, *size, sys::Mapping::Mode::shared_read_only);
  if (!mapping) return {};
  const char* text = reinterpret_cast<const char*>(mapping->data());
  std::string copy(text, *size);  // first: the worker may still write
  copy.resize(std::min(copy.find('\0'), copy.size()));
  return copy;
}

}  // namespace

void Engine::Impl::on_worker_stalled(const Worker& worker, const ring::Message& message, const std::vector<UniqueFd>& fds) {
  DispatchEvent event;
  event.kind = DispatchEvent::Kind::stalled;
  event.worker = worker.id;
  event.pid = worker.pid;
  event.stalled_for = std::chrono::milliseconds(std::min<std::int64_t>(message.a, kLongestStall.count()));
  if (!fds.empty()) event.stacks = read_stacks(fds.front().get());
  dispatch_queue.push_back(std::move(event));
  dispatch_waiters.wake_all();
}

}  // namespace holdfast::pool
