// What: what a submit or a map gives back (public API): outcomes as values, and handles to wait on. Handles may be used from any thread; they
// keep the pool's engine alive, but not the pool open.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "holdfast/exit_report.hpp"
#include "holdfast/outcome.hpp"
#include "holdfast/worker.hpp"

namespace holdfast {

/// The one outcome of one item.
struct Outcome {
  OutcomeKind kind = OutcomeKind::pending;
  OutcomeKind failure = OutcomeKind::pending;  // kind == skipped: what happened to it
  Bytes value;                                 // done
  std::string error;                           // raised: the text of what()
  std::uint32_t attempts = 0;                  // runs used, when it died or timed out
  std::optional<ExitReport> report;            // died, timed_out, and skipped after those

  bool ok() const { return kind == OutcomeKind::done; }
};

namespace pool {
class Engine;
class Job;
template <class Counted>
class CountedRef;
using JobRef = CountedRef<Job>;
}  // namespace pool

/// The items of one submit (one item) or map (many), in input order.
class Job {
 public:
  /// Blocks until every item has an outcome; then one Outcome per item, in input order. A second call returns none: they were moved out.
  std::vector<Outcome> get();
  /// The same with a limit; nullopt = not all settled in time (ask again).
  std::optional<std::vector<Outcome>> get_for(std::chrono::nanoseconds timeout);
  /// The next outcome in input order, as soon as it is there; nullopt after the last.
  std::optional<Outcome> next();
  bool ready() const;
  std::size_t size() const;
  /// What has not begun is cancelled; with `kill`, what runs as well (its worker is killed and replaced).
  void cancel(bool kill = false);

 private:
  friend class Pool;
  Job(std::shared_ptr<pool::Engine> engine, std::shared_ptr<pool::JobRef> job) : engine_(std::move(engine)), job_(std::move(job)) {}
  std::shared_ptr<pool::Engine> engine_;
  std::shared_ptr<pool::JobRef> job_;  // not by value: what a JobRef is, is no part of the interface
  std::uint64_t next_ = 0;
};

}  // namespace holdfast
