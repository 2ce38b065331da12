// What: sleeping on a 32-bit word, which two processes may share. std::atomic::wait is no use here: libstdc++ makes it a *private*
// futex, which never wakes another process. Callers: src/ring (the bell), src/pool (waiters). Thread-safe, async-signal-safe.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/types.hpp"

namespace holdfast::sys {

/// Who sleeps on a word and who wakes: threads of any process that maps it, or of this one only (saves the kernel the look for the page's file).
/// Both sides of a word must say the same.
enum class FutexUse { shared, in_process };

enum class FutexWake {
  woken,        // by futex_wake, or spuriously: look again
  changed,      // the word was not `seen` any more: nothing was slept
  interrupted,  // a signal handler ran
  timed_out,
};

/// Sleeps while `word` == `seen`, at most `timeout` (Nanos::max(): no limit; <= 0: at once). The kernel compares and goes to sleep in
/// one step, so a wake between the caller's last look and the sleep is never lost as long as the waker changes the word first.
FutexWake futex_wait(std::atomic<std::uint32_t>& word, std::uint32_t seen, Nanos timeout, FutexUse use = FutexUse::shared);

/// Wakes at most `count` sleepers.
void futex_wake(std::atomic<std::uint32_t>& word, int count, FutexUse use = FutexUse::shared);

}  // namespace holdfast::sys
