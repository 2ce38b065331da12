// What: the policies of a pool or a job: what to do on a death, an exception, a time-out (public API; plain values).
// Decisions on them are taken in src/core and nowhere else.
#pragma once

#include <chrono>
#include <cstdint>

#include "holdfast/exit_report.hpp"

namespace holdfast {

/// raise: the item's outcome is the failure. skip: the skip value. retry: run again, then as Retry::then says.
/// abort: the pool stops and everything pending is told.
enum class OnFailure : std::uint8_t { raise, skip, retry, abort };

const char* to_string(OnFailure policy);

struct Retry {
  static constexpr std::uint32_t kEverything = ~0U;
  static constexpr std::uint32_t bit(Cause cause) { return 1U << static_cast<unsigned>(cause); }

  std::uint32_t max_retries = 3;                // runs after the first
  std::chrono::nanoseconds backoff_initial{0};  // wait before the first retry
  double backoff_factor = 2.0;                  // >= 1
  std::chrono::nanoseconds backoff_max{std::chrono::seconds(30)};
  double jitter = 0.1;                // 0..1: a wait w becomes w * (1 +- jitter)
  OnFailure then = OnFailure::raise;  // raise or skip (or abort) when no retry is left
  // What is run again: a bit for each cause of death (time_limit: its time was over), that of Cause::none for an exception. All else goes as `then` says.
  std::uint32_t on = kEverything;
  // No retry is begun so long after the item's first failure (its backoff, but for the jitter, counted in); 0 = no limit.
  std::chrono::nanoseconds deadline{0};

  friend bool operator==(const Retry&, const Retry&) = default;
};

struct Policies {
  OnFailure on_death = OnFailure::raise;
  OnFailure on_error = OnFailure::raise;
  OnFailure on_timeout = OnFailure::raise;
  Retry retry;
  std::chrono::nanoseconds task_timeout{0};  // per item from its start; 0 = none
  // Python pools only (a C++ Pool refuses it): SoftTimeoutError is raised in the item, once, so long after its start; 0 = none.
  std::chrono::nanoseconds soft_timeout{0};

  friend bool operator==(const Policies&, const Policies&) = default;
};

}  // namespace holdfast
