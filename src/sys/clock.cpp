// What: reading the clocks. [clock.hpp]
#include "sys/clock.hpp"

#include <ctime>

namespace holdfast::sys {

namespace {

std::int64_t read_ns(clockid_t clock) {
  timespec at{};
  (void)::clock_gettime(clock, &at);  // cannot fail for these clocks
  return std::int64_t{at.tv_sec} * 1'000'000'000 + at.tv_nsec;
}

}  // namespace

Time now() { return Time(read_ns(CLOCK_MONOTONIC)); }
Nanos process_cpu_time() { return Nanos(read_ns(CLOCK_PROCESS_CPUTIME_ID)); }
std::int64_t realtime_ns() { return read_ns(CLOCK_REALTIME); }

}  // namespace holdfast::sys
