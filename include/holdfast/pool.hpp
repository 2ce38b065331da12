// What: a process pool for C++ programs (public API): a handler from bytes to bytes, run in forked workers that may die without harm.
//
//   auto pool = holdfast::Pool::open([](std::span<const std::byte> item) { return work(item); }, {.workers = 4});
//   if (!pool) { std::cerr << pool.error().message() << '\n'; return 1; }
//   auto job = pool->map(items);                       // items: any range of byte ranges
//   for (const holdfast::Outcome& outcome : job->get()) ...
//
// Thread-safe: a Pool may be used by many threads. Its destructor terminates it (grace period of the options).
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <ranges>
#include <span>
#include <vector>

#include "holdfast/policy.hpp"
#include "holdfast/result.hpp"
#include "holdfast/stats.hpp"
#include "holdfast/task.hpp"
#include "holdfast/worker.hpp"

namespace holdfast {

struct PoolOptions {
  std::uint32_t workers = 0;  // 0 = the CPUs this process may use: affinity, and the quota of its cgroup
  Initializer initializer;
  Policies policies;                        // of every job that brings none of its own
  std::uint64_t max_chunks_per_worker = 0;  // then the worker is replaced; 0 = never
  std::uint32_t max_restarts = 10;          // failed starts in a row, then the pool is broken
  std::uint64_t max_deaths = 0;             // deaths under items in all, then the pool is aborted; 0 = no limit
  // One worker's own memory, bytes, read ten times a second while items run; 0 = no limit. Beyond the first it is killed (Cause::memory_limit);
  // beyond the second, which must be less, it leaves after the item that it runs, and another takes its place.
  std::int64_t memory_limit = 0;
  std::int64_t max_memory_per_worker = 0;
  std::chrono::nanoseconds grace = std::chrono::seconds(5);            // from asking a worker to stop to SIGKILL
  std::chrono::nanoseconds start_deadline = std::chrono::seconds(60);  // from asking for a worker to its hello; then that start failed
  std::chrono::nanoseconds leave_limit = std::chrono::seconds(60);     // from a leaving worker's last item to its end; then SIGKILL
};

struct JobOptions {
  std::uint64_t chunk_size = 0;      // items shipped together; 0 = ceil(n / (4 * workers))
  std::optional<Policies> policies;  // instead of the pool's
};

/// A killed item, as Pool::killed_items() lists it.
struct KilledItem {
  Bytes item;
  ExitReport report;
  OutcomeKind outcome = OutcomeKind::died;  // what was settled: died, timed_out or skipped
};

class Pool {
 public:
  /// Forks the zygote from this process and starts the workers. The handler and all it refers to are as they are now. Errors:
  /// invalid_argument (names the option), os_error, exhausted, unsupported (kernel older than 5.4).
  static Result<Pool> open(Handler handler, PoolOptions options = {});

  Pool(Pool&&) noexcept;
  Pool& operator=(Pool&&) noexcept;
  ~Pool();

  /// One item. Errors: invalid_argument (names the option), closed (with the state), broken (with what the workers' starts failed of), exhausted.
  Result<Job> submit(std::span<const std::byte> item, const JobOptions& options = {});

  /// Any range whose elements are contiguous ranges of bytes (or char-sized values). Read to its end at once.
  template <std::ranges::input_range Range>
  Result<Job> map(Range&& items, const JobOptions& options = {}) {
    Batch batch = new_batch();
    for (auto&& item : items) {
      const auto bytes = std::as_bytes(std::span(std::ranges::data(item), std::ranges::size(item)));
      if (Status added = add(batch, bytes); !added) return std::move(added).error();
    }
    return submit_batch(std::move(batch), options);
  }

  void close();                                                                  // takes no more work; runs what it has
  void terminate(std::optional<std::chrono::nanoseconds> grace = std::nullopt);  // cancels what has not begun; starts the stop ladder
  /// Until no worker is left (after close() or terminate()); false = `timeout` came first.
  bool join(std::optional<std::chrono::nanoseconds> timeout = std::nullopt);

  std::vector<WorkerView> workers() const;
  Stats stats() const;
  std::vector<KilledItem> killed_items() const;

 private:
  struct Impl;
  struct BatchImpl;
  struct BatchDeleter {
    void operator()(BatchImpl* batch) const;
  };
  using Batch = std::unique_ptr<BatchImpl, BatchDeleter>;
  explicit Pool(std::unique_ptr<Impl> impl);
  static Batch new_batch();
  Status add(Batch& batch, std::span<const std::byte> item);
  Result<Job> submit_batch(Batch batch, const JobOptions& options);
  std::unique_ptr<Impl> impl_;
};

}  // namespace holdfast
