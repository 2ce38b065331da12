// What: the pool's time: CLOCK_MONOTONIC without the pauses in which this process and its workers were stopped together (Ctrl-Z). Every deadline
// of the pool (time limits, grace, starts, back-offs) is in this time, so a pause counts for none of them (design.md section 6). What
// a user waits for (get(timeout)) is in real time and not ours.
//
// How long a pause was, the zygote tells, which saw it. Its word comes a moment after we go on; so a supervisor that wakes much too late acts
// on no deadline until the word is there, or kWordWithin is over: then it was only a busy machine.
#pragma once

#include <algorithm>
#include <atomic>

#include "base/types.hpp"
#include "sys/clock.hpp"

namespace holdfast::pool {

class PoolClock {
 public:
  static constexpr Nanos kLate = std::chrono::milliseconds(200);
  static constexpr Nanos kWordWithin = std::chrono::milliseconds(150);

  Time now() const { return at(sys::now()); }
  /// A moment of CLOCK_MONOTONIC (a worker's word) in the pool's time.
  Time at(Time real) const { return real - Time(paused_.load(std::memory_order_relaxed)); }
  // relaxed: who reads the old value for a moment takes a deadline for nearer than it is, and only the supervisor acts on deadlines.
  void add_pause(Nanos pause) {
    paused_.fetch_add(pause.count(), std::memory_order_relaxed);
    word_due_ = kNever;
  }

  // --- by the supervisor ---
  /// How long it may sleep when `next` (in the pool's time) is due.
  Nanos sleep_begins(Time next) {
    const Time real = sys::now();
    Nanos rest = next == kNever ? Nanos::max() : std::max(Nanos{0}, next - at(real));
    if (word_due_ != kNever) rest = std::min(rest, std::max(Nanos{0}, word_due_ - real));
    sleeps_until_ = rest == Nanos::max() ? kNever : after(real, rest);
    return rest;
  }
  void sleep_ends() {
    const Time real = sys::now();
    if (word_due_ == kNever && sleeps_until_ != kNever && real - sleeps_until_ > kLate) word_due_ = real + kWordWithin;
  }
  /// Whether deadlines may be acted on. Once it has waited for the word in vain it says yes, however late it wakes again.
  bool certain() {
    if (word_due_ != kNever && sys::now() < word_due_) return false;
    word_due_ = kNever;
    return true;
  }

 private:
  std::atomic<Time::rep> paused_{0};
  Time sleeps_until_ = kNever;
  Time word_due_ = kNever;  // kNever: no doubt
};

}  // namespace holdfast::pool
