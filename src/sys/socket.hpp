// What: SOCK_SEQPACKET socket pairs: whole messages, in order, with descriptors attached. EINTR is retried, SIGPIPE is never
// raised. Callers: src/pool, src/worker (control messages). Thread-safe per call.
#pragma once

#include <cstddef>
#include <span>
#include <type_traits>
#include <vector>

#include "base/result.hpp"
#include "base/types.hpp"
#include "sys/fd.hpp"

namespace holdfast::sys {

/// Most descriptors that one message carries here (the kernel's own limit is 253).
inline constexpr std::size_t kMaxFdsPerMessage = 16;

struct SocketPair {
  UniqueFd a;
  UniqueFd b;
};
/// Both ends CLOEXEC and blocking.
Result<SocketPair> socketpair_seqpacket();

/// Sends one message. The descriptors are copied: the caller keeps its own. `bytes` may be empty only without `fds`, and then the
/// peer cannot tell it from EOF: don't. Errors: closed (the peer is gone), timed_out with EAGAIN (dont_wait and no room), os_error.
Status send_message(int fd, ByteSpan bytes, std::span<const int> fds = {}, bool dont_wait = false);

/// Nothing more can be sent either way; what was sent before can still be received, then comes EOF. A socket that is gone already is fine.
void shut_down(int fd);

struct Received {
  std::size_t size = 0;        // bytes written to `into`
  std::vector<UniqueFd> fds;   // CLOEXEC
  bool truncated_fds = false;  // MSG_CTRUNC: descriptors were lost for good (this process is out of them)
  bool truncated = false;      // the message was longer than `into`
  bool eof = false;            // the peer has closed; size == 0
};
/// Receives one message. Would-block (dont_wait, or a non-blocking socket) is Error{timed_out, EAGAIN}. A peer that closed with
/// messages of ours unread (ECONNRESET) counts as eof.
Result<Received> receive_message(int fd, MutableByteSpan into, bool dont_wait = false);

/// A plain struct as one message.
template <class Pod>
Status send_pod(int fd, const Pod& pod, std::span<const int> fds = {}, bool dont_wait = false) {
  static_assert(std::is_trivially_copyable_v<Pod>);
  return send_message(fd, std::as_bytes(std::span<const Pod, 1>(&pod, 1)), fds, dont_wait);
}

/// Receives one message that must be exactly a `Pod`: another size is protocol_error (any descriptors in it are closed).
/// EOF leaves `pod` as it was.
template <class Pod>
Result<Received> receive_pod(int fd, Pod& pod, bool dont_wait = false) {
  static_assert(std::is_trivially_copyable_v<Pod>);
  Pod fresh{};
  auto got = receive_message(fd, std::as_writable_bytes(std::span<Pod, 1>(&fresh, 1)), dont_wait);
  if (!got.ok() || got->eof) return got;
  if (got->size != sizeof(Pod) || got->truncated) {
    return Error{ErrorCode::protocol_error, 0, "socket.receive_pod", "a message of the wrong size"};
  }
  pod = fresh;
  return got;
}

}  // namespace holdfast::sys
