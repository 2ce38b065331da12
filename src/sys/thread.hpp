// What: a native thread that no signal ever interrupts: every signal is blocked before it is created, so it never runs the
// user's handlers and never takes a signal away from Python's main thread. Callers: supervisor, watcher.
#pragma once

#include <cstddef>
#include <functional>

#include <pthread.h>

#include "base/result.hpp"

namespace holdfast::sys {

/// Owned by one thread at a time. The destructor joins (and so may block): end the body first.
class NativeThread {
 public:
  struct Options {
    const char* name = "holdfast";  // at most 15 bytes
    std::size_t stack_bytes = 0;    // 0 = the system's default; else rounded up to what pthread needs
  };

  /// Runs `body` in a new thread. Errors: exhausted (no more threads). An exception out of `body` ends the process.
  static Result<NativeThread> start(const Options& options, std::function<void()> body);

  NativeThread() = default;
  NativeThread(NativeThread&& other) noexcept;
  NativeThread& operator=(NativeThread&& other) noexcept;
  NativeThread(const NativeThread&) = delete;
  NativeThread& operator=(const NativeThread&) = delete;
  ~NativeThread() { join(); }

  bool joinable() const { return joinable_; }
  /// Waits for the body's end; nothing when there is none.
  void join();
  /// Nobody waits for it any more: it ends when its body does, or with the process.
  void detach();
  /// Forgets the handle without touching the thread: for a forked child, where it does not exist.
  void forget() { joinable_ = false; }

 private:
  explicit NativeThread(pthread_t handle) : handle_(handle), joinable_(true) {}
  pthread_t handle_{};
  bool joinable_ = false;
};

}  // namespace holdfast::sys
