// What: CLOCK_MONOTONIC for a loop that asks for it millions of times a second: between two readings of the real clock, which are at most
// kStep apart, the processor's time stamp counter tells how much time has passed. That is what the kernel's own clock does, at less than
// half the cost (10 against 25 ns here). Only where the kernel itself counts by it and it never stops; elsewhere this is sys::now().
// Caller: the worker's task loop. One thread; a forked copy is as good as the original.
//
// Invariant: now() never goes back, and is never more than a few microseconds from sys::now().
// [Intel SDM vol. 3, 18.17.1 "Invariant TSC"; Documentation/virt/kvm/x86/timekeeping.rst]
#pragma once

#if defined(__x86_64__)
#include <x86intrin.h>
#endif

#include <cstdint>

#include "base/types.hpp"
#include "sys/clock.hpp"

namespace holdfast::sys {

class FastClock {
 public:
  FastClock();

  Time now() {
#if defined(__x86_64__)
    const std::uint64_t past = ticks() - base_ticks_;
    if (past < limit_) return base_ + Nanos(static_cast<Nanos::rep>((past * scale_) >> 32));
    return counts_ ? look() : sys::now();
#else
    return sys::now();
#endif
  }

  static constexpr Nanos kStep = std::chrono::milliseconds(20);

 private:
  static std::uint64_t ticks() {
#if defined(__x86_64__)
    return __rdtsc();
#else
    return 0;
#endif
  }
  struct Reading {
    Time time{0};
    std::uint64_t ticks = 0;
    bool good = false;  // both were read in one go: no interrupt, no preemption in between
  };
  static Reading read();
  Time look();

  bool counts_ = false;
  std::uint64_t limit_ = 0;  // ticks for which scale_ may be used from base_ on; 0: the counter's speed is not known yet
  double speed_ = 0;         // nanoseconds in a tick; 0: not known
  std::uint64_t scale_ = 0;  // the same times 2^32
  std::uint64_t base_ticks_ = 0;
  Time base_{0};
};

}  // namespace holdfast::sys
