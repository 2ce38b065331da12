// What: the sleep protocol between the parent and one worker (the drainer's, over all workers, is in bell_page.cpp). The worker
// announces for what it sleeps, looks again, sleeps on that same word; the parent, having published, takes the word back to 0 and wakes.
// Checked with spin: model/worker_wake.pml. Callers: parent_channel.cpp (wake_*), worker_channel.cpp (sleep_until).
//
// Invariants:
//   1. The worker alone sets `sleeping` to non-zero, the parent alone takes it away while the worker sleeps.
//   2. No lost wake-up: announcement and publication are seq_cst stores, each followed by a seq_cst load of the other's word; so in
//      the single order of all four at least one side sees the other (style.md: no stand-alone fences).
//   3. A sleeper that was killed leaves the word set: that costs the parent one needless FUTEX_WAKE.
#pragma once

#include <cstdint>
#include <optional>

#include "base/types.hpp"
#include "ring/layout.hpp"
#include "sys/clock.hpp"
#include "sys/failpoint.hpp"
#include "sys/futex.hpp"

namespace holdfast::ring {

/// What `sleeping` holds. The parent wakes a worker only for what it waits for: draining results must not wake an idle one.
enum class SleepReason : std::uint32_t { awake = 0, for_tasks = 1, for_room = 2 };

/// After publishing something that a sleeper with this reason waits for.
inline void wake_sleeper(Word32& sleeping, SleepReason reason) {
  auto expected = static_cast<std::uint32_t>(reason);
  // A load first: while the worker runs, its cache line is not taken from it. See invariant 2 for the order.
  if (sleeping.load(std::memory_order_seq_cst) != expected) return;
  // compare-exchange and not a store: the worker may have left by itself (EINTR) and announced itself for something else meanwhile.
  if (sleeping.compare_exchange_strong(expected, 0, std::memory_order_seq_cst)) sys::futex_wake(sleeping, 1);
}

/// Wakes the worker whatever it sleeps for (closed, cancelled).
void wake_any_sleeper(Word32& sleeping);

enum class SleepEnd : std::uint8_t { ready, interrupted, timed_out };

/// Sleeps until `ready()` is true, a signal handler ran, or `timeout` (Nanos::max(): none). `ready` must look with seq_cst loads.
template <class Ready>
SleepEnd sleep_until(Word32& sleeping, SleepReason reason, Nanos timeout, const Ready& ready) {
  if (ready()) return SleepEnd::ready;
  const bool bounded = timeout != Nanos::max();
  const Time deadline = bounded ? sys::now() + timeout : kNever;
  const auto word = static_cast<std::uint32_t>(reason);
  for (;;) {
    // Announce, then look: the other way round the parent could publish between the two and find nobody to wake (mutant
    // FLAG_AFTER_LOOK of the model).
    sleeping.store(word, std::memory_order_seq_cst);
    auto woke = sys::FutexWake::changed;
    HF_FAILPOINT(ring_sleeps);
    if (!ready()) woke = sys::futex_wait(sleeping, word, bounded ? deadline - sys::now() : Nanos::max());
    HF_FAILPOINT(ring_woke);
    // relaxed: withdrawing publishes nothing; a parent that still sees the old value makes a needless FUTEX_WAKE.
    sleeping.store(0, std::memory_order_relaxed);
    if (ready()) return SleepEnd::ready;
    if (woke == sys::FutexWake::interrupted) return SleepEnd::interrupted;
    if (woke == sys::FutexWake::timed_out) return SleepEnd::timed_out;
  }
}

}  // namespace holdfast::ring
