// What: signal masks, dispositions and names. Per thread, as the kernel has them. Callers: thread.cpp, src/worker.
#pragma once

#include <csignal>
#include <string>

#include "base/result.hpp"

namespace holdfast::sys {

/// Blocks every signal in the calling thread, returns the mask that was. Async-signal-safe.
sigset_t block_all();
void restore_mask(const sigset_t& mask);
/// The same with these only.
sigset_t block(const sigset_t& signals);

/// All signals are blocked in this thread while it lives; the old mask comes back after. A native thread created under it
/// inherits the full mask and so never runs the user's handlers.
class BlockAllSignals {
 public:
  BlockAllSignals() : old_(block_all()) {}
  explicit BlockAllSignals(const sigset_t& but_only_these) : old_(block(but_only_these)) {}
  ~BlockAllSignals() { restore_mask(old_); }
  BlockAllSignals(const BlockAllSignals&) = delete;
  BlockAllSignals& operator=(const BlockAllSignals&) = delete;
  const sigset_t& old_mask() const { return old_; }

 private:
  sigset_t old_;
};

/// SIG_DFL (SIG_IGN) for `signal`. Async-signal-safe.
Status set_default(int signal);
Status set_ignored(int signal);

/// A real-time signal that nobody uses in this process (its disposition is the default), one that is not `blocked` (in this thread) if there is
/// such a one; 0 = none. Another thread may take it at any time.
int free_realtime_signal();
int free_realtime_signal(const sigset_t& blocked);
/// `signal` is not blocked in this thread from here on.
void unblock(int signal);

/// "SIGKILL"; "SIGRTMIN+3"; "signal 77" for numbers that have no name.
std::string signal_name(int signal);

}  // namespace holdfast::sys
