// What: see fast_clock.hpp.
#include "sys/fast_clock.hpp"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <string>

namespace holdfast::sys {

namespace {

constexpr std::uint64_t kOneGo = 5000;                       // ticks: some microseconds
constexpr Nanos kKnownAfter = std::chrono::milliseconds(2);  // a shorter time tells too little of the counter's speed
constexpr int kTries = 4;
constexpr double kFastest = 0.1, kSlowest = 4;  // nanoseconds in a tick: 10 GHz to 250 MHz. past * scale_ stays far within 64 bits
constexpr double kSteady = 0.001;

/// The kernel has tried the counter for its own clock and kept it: it is constant, never stops and is the same on all processors.
bool kernel_counts_by_it() {
  static const bool answer = [] {
    std::ifstream file("/sys/devices/system/clocksource/clocksource0/current_clocksource");
    std::string name;
    return static_cast<bool>(file >> name) && name == "tsc";
  }();
  return answer;
}

}  // namespace

FastClock::FastClock() {
  const Reading first = read();
  counts_ = first.good && kernel_counts_by_it();
  base_ = first.time;
  base_ticks_ = first.ticks;
}

FastClock::Reading FastClock::read() {
  Reading reading;
  for (int i = 0; i < kTries && !reading.good; ++i) {
    const std::uint64_t before = ticks();
    reading.time = sys::now();
    reading.ticks = ticks();
    reading.good = reading.ticks - before < kOneGo && reading.ticks != before;
  }
  return reading;
}

/// The real clock; from here on the counter is believed for one more step, at the speed it had since the last look.
Time FastClock::look() {
  const Reading reading = read();
  const std::uint64_t counted = reading.ticks - base_ticks_;
  // What the counter has told by the old speed may be a little ahead: the clock then stands still for that long, but never goes back.
  const Time told = base_ + Nanos(static_cast<Nanos::rep>((std::min(counted, limit_) * scale_) >> 32));
  const Time answer = std::max(reading.time, told);
  const Nanos past = reading.time - base_;
  if (!reading.good || past < kKnownAfter) return answer;
  const double speed = static_cast<double>(past.count()) / static_cast<double>(counted);
  // A machine that was suspended has counted on while its clock stood still: then the speed is found anew.
  const bool sane = speed > kFastest && speed < kSlowest && (speed_ == 0 || std::abs(speed / speed_ - 1) < kSteady);
  speed_ = sane ? speed : 0;
  scale_ = static_cast<std::uint64_t>(speed_ * 4294967296.0);
  limit_ = sane ? static_cast<std::uint64_t>(static_cast<double>(kStep.count()) / speed) : 0;
  base_ = answer;
  base_ticks_ = reading.ticks;
  return answer;
}

}  // namespace holdfast::sys
