// What: waiting awake for a moment before going to sleep. A sleep and its wake-up cost two system calls and two context switches, some ten
// times what a short task takes; a thread that looks again and again costs its processor. So it is done only where it has paid lately.
// Callers: worker_channel.cpp (for tasks), pool/waiting.cpp (the drainer, for results). One thread at a time uses a Spinner.
//
// Adaptive [as the adaptive mutexes of Solaris and glibc, PTHREAD_MUTEX_ADAPTIVE_NP]: after a spin in vain the next waits are slept at once, one, then
// two, four, ... kMostSkipped of them as spins go on being in vain; each spin that pays halves that number. On a machine with more to run than
// processors a spinner keeps its processor from the one it waits for: there nearly all waits are slept.
#pragma once

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include <algorithm>

#include "base/types.hpp"
#include "sys/clock.hpp"

namespace holdfast::ring {

/// To the processor: this is a spin loop.
inline void spin_pause() {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

class Spinner {
 public:
  static constexpr Nanos kLongest = std::chrono::microseconds(50);

  /// `processors`: that this process may use. With one, whoever is waited for could not run meanwhile. `longest`: of one spin.
  explicit Spinner(unsigned processors, Nanos longest = kLongest) : allowed_(processors > 1), longest_(longest) {}

  Nanos longest() const { return longest_; }

  /// Looks until `ready()` is true (then true), or it is time to sleep (false). `ready` must look with the order that its sleep would need.
  template <class Ready>
  bool spin(const Ready& ready) {
    if (!allowed_) return false;
    if (skip_ > 0) {
      --skip_;
      return false;
    }
    const Time since = sys::now();
    for (Time last = since;;) {
      for (int i = 0; i < kLooks; ++i) {
        if (ready()) {
          in_vain_ /= 2;
          return true;
        }
        spin_pause();
      }
      const Time now = sys::now();
      if (now - last > kPreempted || now - since >= longest_) {
        in_vain_ = std::clamp(in_vain_ * 2, 1, kMostSkipped);
        skip_ = in_vain_;
        return false;
      }
      last = now;
    }
  }

 private:
  static constexpr int kLooks = 16;  // between two looks at the clock: one or two microseconds
  static constexpr int kMostSkipped = 64;
  static constexpr Nanos kPreempted = std::chrono::microseconds(20);

  bool allowed_;
  Nanos longest_;
  int in_vain_ = 0;  // waits to be slept after the next spin in vain, halved
  int skip_ = 0;     // waits to be slept before the next spin
};

}  // namespace holdfast::ring
