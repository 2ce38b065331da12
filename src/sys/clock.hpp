// What: the time, read once here and handed to the pure core as an argument. Thread-safe.
#pragma once

#include <cstdint>

#include "base/types.hpp"

namespace holdfast::sys {

/// CLOCK_MONOTONIC: does not jump, stands still while the machine is suspended, the same in every process.
Time now();

/// The processor time of all threads of this process so far.
Nanos process_cpu_time();
/// CLOCK_REALTIME in nanoseconds since 1970: for people (logs, reports) only, never for a deadline.
std::int64_t realtime_ns();

}  // namespace holdfast::sys
