// What: sendmsg and recvmsg with descriptors. [socket.hpp]
#include "sys/socket.hpp"

#include <cerrno>
#include <cstring>
#include <string>

#include <sys/socket.h>

#include "sys/error.hpp"

namespace holdfast::sys {

namespace {

// Room for the descriptors of one message, aligned as the kernel wants it.
struct ControlBuffer {
  alignas(cmsghdr) char bytes[CMSG_SPACE(sizeof(int) * kMaxFdsPerMessage)] = {};
};

void attach_fds(msghdr& message, ControlBuffer& control, std::span<const int> fds) {
  message.msg_control = control.bytes;
  message.msg_controllen = CMSG_SPACE(fds.size_bytes());
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(fds.size_bytes());
  std::memcpy(CMSG_DATA(header), fds.data(), fds.size_bytes());
}

// Every descriptor that arrived gets an owner at once: one that is not wanted is closed and not leaked.
std::vector<UniqueFd> adopt_fds(msghdr& message) {
  std::vector<UniqueFd> fds;
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr; header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(header) + i * sizeof(int), sizeof fd);
      fds.emplace_back(fd);
    }
  }
  return fds;
}

}  // namespace

Result<SocketPair> socketpair_seqpacket() {
  int ends[2] = {-1, -1};
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) return last_error("socketpair");
  return SocketPair{UniqueFd(ends[0]), UniqueFd(ends[1])};
}

Status send_message(int fd, ByteSpan bytes, std::span<const int> fds, bool dont_wait) {
  if (fds.size() > kMaxFdsPerMessage) {
    return Error{ErrorCode::invalid_argument, 0, "sendmsg", std::to_string(fds.size()) + " descriptors in one message"};
  }
  iovec part{const_cast<std::byte*>(bytes.data()), bytes.size()};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  ControlBuffer control;
  if (!fds.empty()) attach_fds(message, control, fds);
  const int flags = MSG_NOSIGNAL | (dont_wait ? MSG_DONTWAIT : 0);
  ssize_t sent = -1;
  do { sent = ::sendmsg(fd, &message, flags); } while (sent < 0 && errno == EINTR);
  if (sent >= 0) return ok_status();
  if (errno == EPIPE || errno == ECONNRESET) return Error{ErrorCode::closed, errno, "sendmsg", "the other end is closed"};
  return last_error("sendmsg");
}

Result<Received> receive_message(int fd, MutableByteSpan into, bool dont_wait) {
  iovec part{into.data(), into.size()};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  ControlBuffer control;
  message.msg_control = control.bytes;
  message.msg_controllen = sizeof control.bytes;
  const int flags = MSG_CMSG_CLOEXEC | (dont_wait ? MSG_DONTWAIT : 0);
  ssize_t size = -1;
  do { size = ::recvmsg(fd, &message, flags); } while (size < 0 && errno == EINTR);
  Received received;
  if (size < 0) {
    if (errno != ECONNRESET) return last_error("recvmsg");
    received.eof = true;
    return received;
  }
  received.size = static_cast<std::size_t>(size);
  received.fds = adopt_fds(message);
  received.truncated_fds = (message.msg_flags & MSG_CTRUNC) != 0;
  received.truncated = (message.msg_flags & MSG_TRUNC) != 0;
  received.eof = size == 0 && received.fds.empty() && !received.truncated;
  return received;
}

void shut_down(int fd) { (void)::shutdown(fd, SHUT_RDWR); }  // fails only when there is nothing left to shut

}  // namespace holdfast::sys
