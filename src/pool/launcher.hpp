// What: the pool's line to its zygote: asks for workers, has them reaped. Guarded by the pool's mutex. It never blocks: a message that
// the socket does not take now waits in a queue, in order, until flush().
//
// A zygote that dies is replaced (design.md section 5): `needed` tells the host's restarter thread to fork another one.
#pragma once

#include <deque>
#include <vector>

#include "base/result.hpp"
#include "pool/engine.hpp"
#include "ring/control.hpp"
#include "sys/fd.hpp"

namespace holdfast::pool {

class Launcher {
 public:
  /// A socket pair for a zygote that is to be born; what was queued for an earlier one is dropped (`requests_lost` says so).
  Result<UniqueFd> prepare();
  void running(UniqueFd pidfd, bool our_child);

  /// Queues `message`; the descriptors are duplicated only if they have to wait.
  void send(const ring::Message& message, std::span<const int> fds);
  void flush();

  /// The line ended: nothing more is sent or received. The process may be a moment behind: see leaving().
  void lost();
  /// Zygotes whose line has ended and whose death has not been seen; the supervisor polls their pidfds.
  struct Former {
    UniqueFd pidfd;
    bool our_child = false;
  };
  std::vector<Former>& leaving() { return leaving_; }

  int socket() const { return socket_.get(); }
  bool our_child() const { return our_child_; }
  const UniqueFd& pidfd() const { return pidfd_; }
  void set_pidfd(UniqueFd pidfd) { pidfd_ = std::move(pidfd); }
  bool connected() const { return static_cast<bool>(socket_); }
  bool has_backlog() const { return !queue_.empty(); }
  void close_all() noexcept;

 private:
  struct Pending {
    ring::Message message;
    std::vector<UniqueFd> fds;
  };
  bool try_send(const ring::Message& message, std::span<const int> fds);

  UniqueFd socket_;
  UniqueFd pidfd_;
  bool our_child_ = false;
  std::deque<Pending> queue_;
  std::vector<Former> leaving_;
};

}  // namespace holdfast::pool
