// What: see launcher.hpp.
#include "pool/launcher.hpp"

#include <cerrno>

#include "sys/socket.hpp"

namespace holdfast::pool {

Result<UniqueFd> Launcher::prepare() {
  auto pair = sys::socketpair_seqpacket();
  if (!pair) return std::move(pair).error();
  lost();
  socket_ = std::move(pair->a);
  return std::move(pair->b);
}

void Launcher::running(UniqueFd pidfd, bool our_child) {
  if (pidfd) pidfd_ = std::move(pidfd);
  our_child_ = our_child;
}

bool Launcher::try_send(const ring::Message& message, std::span<const int> fds) {
  const auto sent = sys::send_pod(socket_.get(), message, fds, /*dont_wait=*/true);
  // Anything but "no room now" means that the zygote is gone: its pidfd or the socket's hang-up tells the supervisor, who starts over.
  return sent.ok() || sent.error().code != ErrorCode::timed_out;
}

void Launcher::send(const ring::Message& message, std::span<const int> fds) {
  if (!connected()) return;
  if (queue_.empty() && try_send(message, fds)) return;
  Pending pending{message, {}};
  for (const int fd : fds) {
    if (auto copy = sys::duplicate(fd)) pending.fds.push_back(*std::move(copy));
  }
  queue_.push_back(std::move(pending));
}

void Launcher::flush() {
  while (!queue_.empty()) {
    std::vector<int> fds;
    for (const UniqueFd& fd : queue_.front().fds) fds.push_back(fd.get());
    if (!try_send(queue_.front().message, fds)) return;
    queue_.pop_front();
  }
}

void Launcher::lost() {
  queue_.clear();
  socket_.reset();
  if (pidfd_) leaving_.push_back({std::move(pidfd_), our_child_});
}

void Launcher::close_all() noexcept {
  socket_.reset();
  pidfd_.reset();
  leaving_.clear();
}

}  // namespace holdfast::pool
