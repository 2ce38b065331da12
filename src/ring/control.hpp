// What: the small messages beside the rings, on SOCK_SEQPACKET sockets: pool <-> zygote and pool <-> worker. Fixed-size PODs; a
// message of another size or with an unknown type is a protocol_error. Descriptors travel with SCM_RIGHTS in the order named.
//
// A worker's birth: pool --start{worker, ...; fds: worker's socket, ring memfd}--> zygote forks (or forks + execs) the child,
// opens its pidfd (no race: the zygote alone reaps, and only on the pool's word) and answers started{worker, pid; fds: pidfd}.
// The child enrols and says hello on its socket; after the initializer it says ready, or init_failed and exits.
// A worker's death: the zygote, its parent, says exited{worker, pid, status, rusage} unasked and leaves the zombie alone, which holds the pid and
// the group's number; the pool drains, kills the group and answers reap{pid}: then the zombie goes, and what the worker left behind.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "base/result.hpp"

namespace holdfast::ring {

inline constexpr std::uint32_t kProtocolVersion = 1;

enum class MessageType : std::uint32_t {
  // pool -> zygote
  start = 1,  // worker, a = identity number for names; fds: [worker socket, ring memfd]
  reap,     // worker, pid: the pool signals it no more; one that lives is killed. a = 1: what it left behind goes, too (daemonised, setsid)
  succeed,  // a zygote before this one has died: what it had adopted is ended with the pool, and what a worker of it leaves at its `reap`
  stop_zygote,  // leave when told: no more starts; kills remaining children and exits 0
  // zygote -> pool
  zygote_hello,  // pid; fds: [pidfd of the zygote]
  started,       // worker, pid; fds: [pidfd of the worker]
  start_failed,  // worker, a = errno, b = step
  exited,        // worker, pid, a = raw wait status (-1: somebody else has taken it), utime_us, stime_us, maxrss_bytes; once for each
  // worker -> pool
  hello,           // pid, a = kProtocolVersion, b = process group id
  ready,           // initializer done
  init_failed,     // a = number of bytes of error text that follow as a second message (raw bytes, <= 32 KiB)
  wake,            // the supervisor's flag was up: results are there
  buffer_request,  // a = bytes wanted, for a result
  // pool -> worker
  buffer,          // a = buffer id, b = bytes, c = index in the worker's table (results) or -1 (arguments); fds: [memfd]
  buffer_refused,  // a = bytes wanted, b = errno: the result cannot be stored; the outcome becomes an error
  // zygote -> pool
  paused,  // a = nanoseconds for which the pool's process, and with it the workers, were stopped
  // worker -> pool
  stalled,       // a = milliseconds in one item without using the processor; fds: [memfd of kMaxStacksText bytes: the stacks], or none
  stacks_taken,  // a = number of the request: the worker's stacks lie in its segment
};

struct Message {
  MessageType type = MessageType::wake;
  std::uint32_t worker = 0;
  std::int32_t pid = 0;
  std::int32_t reserved = 0;
  std::int64_t a = 0;
  std::int64_t b = 0;
  std::int64_t c = 0;
  std::int64_t utime_us = 0;
  std::int64_t stime_us = 0;
  std::int64_t maxrss_bytes = 0;
};
static_assert(sizeof(Message) == 64 && std::is_trivially_copyable_v<Message>);

inline constexpr std::int64_t kMaxErrorText = 32 * 1024;  // init_failed
inline constexpr std::size_t kMaxStacksText = 64 * 1024;  // stalled; shorter texts end with zeros
inline constexpr std::int64_t kResultBuffers = 64;        // indexes of a worker's table

/// Which way a message goes: each route has its own types, so that a worker cannot speak as a zygote.
enum class Route : std::uint8_t { pool_to_zygote, zygote_to_pool, worker_to_pool, pool_to_worker };

/// The checked decode of a received message: its type belongs to the route, its fields are in the range of their meaning (a pid > 0, a
/// process group > 1: it will be killed; an index within the table ...), and no more descriptors came than it carries. Fewer is no fault here:
/// descriptors get lost when a process has run out of them, which the receiver answers in its own way. Else protocol_error with the reason.
/// What it cannot know, the receiver checks: that the pid is its worker's, that the buffer exists.
Status check_message(const Message& message, Route route, std::size_t descriptors);

}  // namespace holdfast::ring
