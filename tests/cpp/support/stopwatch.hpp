// What: times that a promise names (P4: the grace period and a second), measured so that a busy machine does not break them. The C++ side of
// tests/support/patience.py, which says why: allowed beyond the promise is what tasks waited for a processor, and a share by the load average.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <string>
#include <thread>

#include "sys/clock.hpp"

namespace holdfast::test {

/// Runs from where it is made.
class Stopwatch {
 public:
  /// Not more than `promised` has passed, on a machine that had nothing else to do.
  bool within(Nanos promised) const {
    double load = 0;
    (void)::getloadavg(&load, 1);
    const Nanos took = sys::now() - began_;
    const auto delayed = (delayed_until_now() - delayed_) * std::max(1U, std::thread::hardware_concurrency());
    return took < promised + std::chrono::duration_cast<Nanos>(promised * load) + delayed;
  }

 private:
  /// Since the machine's start: while some task was ready to run and had no processor. Zero where the kernel does not count it.
  static Nanos delayed_until_now() {
    std::ifstream pressure("/proc/pressure/cpu");
    const std::string key = "total=";
    for (std::string word; pressure >> word;) {
      if (word.compare(0, key.size(), key) == 0) return std::chrono::microseconds(std::stoll(word.substr(key.size())));
    }
    return Nanos::zero();
  }

  Time began_ = sys::now();
  Nanos delayed_ = delayed_until_now();
};

}  // namespace holdfast::test
