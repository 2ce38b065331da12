// What: a user thread asleep in Engine::wait_*, as a node on its own stack, linked into a list under the pool's mutex.
// The sleeper watches a futex word: a signal interrupts the sleep (EINTR), which no condition variable reports.
//
// Protocol: the sleeper links itself and unlocks, then futex_wait(word, 0); a waker, under the mutex, stores 1 and wakes. A waker that
// comes between the unlock and the futex call leaves 1 in the word, so the kernel does not put the sleeper to sleep.
#pragma once

#include <atomic>
#include <cstdint>

#include "sys/futex.hpp"

namespace holdfast::pool {

class WaiterList;

class Waiter {
 public:
  Waiter() = default;
  Waiter(const Waiter&) = delete;
  Waiter& operator=(const Waiter&) = delete;

  /// Without the mutex. Returns at a wake-up, EINTR or after `timeout`.
  sys::FutexWake sleep(Nanos timeout) { return sys::futex_wait(word_, 0, timeout, sys::FutexUse::in_process); }
  /// With the mutex.
  void wake() {
    // release: pairs with the kernel's read in futex_wait: value != 0 means "do not sleep". Who was woken before, and is still on his way out of the
    // list, is not asleep: a second system call would wake nobody.
    if (word_.exchange(1, std::memory_order_release) == 0) sys::futex_wake(word_, 1, sys::FutexUse::in_process);
  }

  /// With the mutex, before sleeping once more.
  void rearm() { word_.store(0, std::memory_order_relaxed); }

 private:
  friend class WaiterList;
  std::atomic<std::uint32_t> word_{0};
  Waiter* next_ = nullptr;
  Waiter* previous_ = nullptr;
};

/// Intrusive list; all calls with the pool's mutex held.
class WaiterList {
 public:
  bool empty() const { return first_ == nullptr; }
  void add(Waiter& waiter) {
    waiter.next_ = first_;
    waiter.previous_ = nullptr;
    if (first_ != nullptr) first_->previous_ = &waiter;
    first_ = &waiter;
  }
  void remove(Waiter& waiter) {
    if (waiter.previous_ != nullptr)
      waiter.previous_->next_ = waiter.next_;
    else
      first_ = waiter.next_;
    if (waiter.next_ != nullptr) waiter.next_->previous_ = waiter.previous_;
  }
  void wake_all() {
    for (Waiter* each = first_; each != nullptr; each = each->next_) each->wake();
  }
  void wake_one() {
    if (first_ != nullptr) first_->wake();
  }

 private:
  Waiter* first_ = nullptr;
};

}  // namespace holdfast::pool
