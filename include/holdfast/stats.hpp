// What: counters of a pool, and a view of its workers (public API; plain values, a snapshot).
#pragma once

#include <chrono>
#include <cstdint>

namespace holdfast {

struct Stats {
  std::uint64_t items_submitted = 0;
  std::uint64_t items_settled = 0;  // have their one outcome
  std::uint64_t items_done = 0;
  std::uint64_t items_raised = 0;
  std::uint64_t items_died = 0;  // died or timed out, also when skipped
  std::uint64_t deaths = 0;      // workers that ended under an item
  std::uint64_t retries = 0;
  std::uint64_t workers_started = 0;
  std::uint64_t failed_starts = 0;
  std::uint64_t items_taken_back = 0;  // sent to a worker, not begun, given to another
  std::uint64_t bytes_sent = 0;
  std::uint64_t bytes_received = 0;
  std::chrono::nanoseconds last_news{0};  // the last death: from the first evidence to the outcome
};

struct WorkerView {
  std::uint32_t worker = 0;   // unique in the pool's life
  std::int64_t identity = 0;  // 1, 2, ...
  int pid = 0;                // 0 = not started yet
  bool alive = false;
  bool ready = false;  // its initializer is done
  // What it has beyond its memory at birth, at the last of ten readings a second while items run; -1: not read.
  std::int64_t memory_bytes = -1;
};

}  // namespace holdfast
