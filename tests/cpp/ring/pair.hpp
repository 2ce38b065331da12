// What: a parent and a worker on one channel, for tests that run from one body both ways: `Threads` (two threads on ONE mapping, which
// ThreadSanitizer can follow) and `Processes` (a real fork, two mappings). The worker's body gets its channel and the bell page and
// returns an exit code; what it would say to gtest it must say by that code (it may be another process).
#pragma once

#include <algorithm>
#include <cstring>
#include <functional>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "ring/channel.hpp"
#include "support/child.hpp"

namespace holdfast::ring::test {

using WorkerBody = std::function<int(WorkerChannel&, BellPage&)>;

struct Link {
  std::unique_ptr<ParentChannel> parent;
  BellPage bell;

  static Link make(std::uint32_t worker_index = 0, const Geometry& geometry = {}) {
    return {ParentChannel::create(geometry, worker_index).value(), BellPage::create().value()};
  }
};

class Threads {
 public:
  Threads(Link& link, const WorkerBody& body) {
    worker_ = WorkerChannel::attach_in_process(*link.parent).value();
    thread_ = std::thread([this, &link, body] { code_ = body(*worker_, link.bell); });
  }
  int join() {
    thread_.join();
    return code_;
  }

 private:
  std::unique_ptr<WorkerChannel> worker_;
  int code_ = -1;
  std::thread thread_;
};

class Processes {
 public:
  Processes(Link& link, const WorkerBody& body)
      : child_([&link, &body] {
          auto channel = WorkerChannel::attach(link.parent->fd());
          auto bell = BellPage::attach(link.bell.fd());
          if (!channel.ok() || !bell.ok()) return 99;
          return body(**channel, *bell);
        }) {}
  int join() {
    if (!child_.wait_exited()) return -2;
    const int status = child_.reap();
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }
  void kill() const { child_.kill(SIGKILL); }

 private:
  holdfast::test::Child child_;
};

struct SideNames {
  template <class Sides>
  static std::string GetName(int) {
    return std::is_same_v<Sides, Threads> ? "Threads" : "Processes";
  }
};
using BothSides = ::testing::Types<Threads, Processes>;

// --- bytes ---

inline ByteSpan bytes_of(std::string_view text) { return std::as_bytes(std::span<const char>(text.data(), text.size())); }

/// Bytes that depend on `seed` and the position: a torn or misplaced copy differs from them.
inline std::vector<std::byte> pattern(std::uint64_t seed, std::size_t size) {
  std::vector<std::byte> out(size);
  std::uint64_t state = seed * 0x9e3779b97f4a7c15u + 1;
  for (std::byte& each : out) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    each = static_cast<std::byte>(state >> 56);
  }
  return out;
}

inline bool same(ByteSpan a, ByteSpan b) { return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size()) == 0); }
inline bool is_pattern(ByteSpan bytes, std::uint64_t seed) { return same(bytes, pattern(seed, bytes.size())); }

inline PayloadRef inline_payload(ByteSpan bytes) { return {.inline_bytes = bytes, .buffer = 0, .size = bytes.size()}; }

// --- shorthand for both sides; every wait is bounded by the test's outer time limit only ---

/// The next task frame, sleeping for it; nullopt when closed or cancelled.
inline std::optional<TaskFrame> wait_task(WorkerChannel& channel) {
  for (;;) {
    auto next = channel.next_task();
    if (!next.ok()) return std::nullopt;
    if (*next != nullptr) return **next;
    const auto wake = channel.wait_for_tasks(Nanos::max());
    if (wake == WorkerChannel::Wake::closed || wake == WorkerChannel::Wake::cancelled) return std::nullopt;
  }
}

/// Pushes a result, sleeping for room; then commits and rings.
inline bool send_result(WorkerChannel& channel, BellPage& bell, const ResultFrame& frame) {
  while (!channel.push_result(frame)) {
    (void)bell.ring_from_worker(channel.worker_index());
    if (channel.wait_for_room(frame.payload.inline_bytes.size(), Nanos::max()) == WorkerChannel::Wake::cancelled) return false;
  }
  channel.commit_result();
  (void)bell.ring_from_worker(channel.worker_index());
  return true;
}

/// The next result as a drainer waits for it: announce, look, sleep. The frame's bytes are in the ring until pop_result().
inline Result<ResultFrame> wait_result(ParentChannel& parent, BellPage& bell) {
  for (;;) {
    const std::uint32_t seen = bell.bell();
    bell.drainer_announce();
    auto next = parent.next_result();
    if (!next.ok() || next->has_value()) {
      bell.drainer_withdraw();
      if (!next.ok()) return std::move(next).error();
      return **next;
    }
    (void)bell.drainer_sleep(seen, Nanos::max());
    bell.drainer_withdraw();
  }
}

/// A worker that answers each item with its own payload and leaves when closed: exit code 0.
inline int echo_worker(WorkerChannel& channel, BellPage& bell) {
  while (auto task = wait_task(channel)) {
    if (task->type == TaskFrameType::item && channel.claim(task->slot, task->item)) {
      ResultFrame result;
      result.chunk = task->chunk;
      result.item = task->item;
      result.payload = task->payload;
      if (!send_result(channel, bell, result)) return 2;
    }
    channel.release_task();
  }
  return channel.closed() || channel.cancelled() ? 0 : 3;
}

}  // namespace holdfast::ring::test
