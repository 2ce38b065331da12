// What: how a Python thread waits on the engine: in slices without the GIL, with Python's signal handlers run in between.
//
// Frames that wait must be plain functions: no noexcept, no catch(...), and no object whose destructor needs the GIL. At the interpreter's
// end Python ends daemon threads when they ask for the GIL back, by unwinding their stack: through a noexcept frame that aborts the
// process (design.md section 4). Shared by bind_pool.cpp, bind_results.cpp, bind_iterators.cpp.
#pragma once

#include <sys/syscall.h>
#include <unistd.h>
#include "python.hpp"

#include <algorithm>
#include <chrono>

#include "pool/engine.hpp"

namespace holdfast::python {

/// How long a wait may last, from now on.
class Deadline {
 public:
  Deadline() = default;  // for ever
  explicit Deadline(Nanos timeout) : limited_(true), end_(std::chrono::steady_clock::now() + timeout) {}
  bool limited() const { return limited_; }
  Nanos left() const {
    return limited_ ? std::max(Nanos{0}, std::chrono::duration_cast<Nanos>(end_ - std::chrono::steady_clock::now())) : Nanos::max();
  }

 private:
  bool limited_ = false;
  std::chrono::steady_clock::time_point end_;
};

/// None = for ever; a number of seconds, negative counts as 0. False with a TypeError set for anything else.
bool deadline_from(PyObject* timeout, Deadline& deadline);

/// Whether this is the thread in which Python runs signal handlers. (Python's main thread is the process's first one, also in a forked child.)
inline bool in_main_thread() { return ::syscall(SYS_gettid) == ::getpid(); }

/// A signal can arrive in any thread: the main thread looks this often. Other threads wake for nothing but their deadline; they look
/// now and then so that a wake-up lost by some bug shows as slowness and not as a hang.
inline constexpr Nanos kMainThreadSlice = std::chrono::milliseconds(50);
inline constexpr Nanos kOtherThreadSlice = std::chrono::seconds(1);

enum class WaitEnd { ready, ended, timed_out, error };  // error: a Python exception is set (a signal handler's)

/// Before the wait: one look with the GIL kept. What is there already costs no GIL hand-over, which is 5 ms while another thread computes.
template <class Step>
bool ready_at_once(Step&& step) {
  return step(Nanos{0}) == pool::Waited::ready;
}

/// Whom a KeyboardInterrupt out of a wait is passed on to.
struct Interrupt {
  bool send = false;
  const pool::JobRef* job = nullptr;  // those that work on it; null: all
  static Interrupt nobody() { return {}; }
  static Interrupt workers_on(const pool::JobRef& job) { return {true, &job}; }
  static Interrupt all_workers() { return {true, nullptr}; }
};

/// Runs `step(max_sleep)` until it is ready or ended, or the deadline is over. A KeyboardInterrupt out of a signal handler is passed on first.
template <class Step>
WaitEnd wait_loop(pool::Engine& engine, const Deadline& deadline, const Interrupt& interrupt, Step&& step,
                  Nanos other_slice = kOtherThreadSlice) {
  const Nanos slice = in_main_thread() ? kMainThreadSlice : other_slice;
  for (;;) {
    const Nanos left = deadline.left();
    pool::Waited waited;
    Py_BEGIN_ALLOW_THREADS waited = step(std::min(left, slice));
    Py_END_ALLOW_THREADS if (waited == pool::Waited::ready) return WaitEnd::ready;
    if (PyErr_CheckSignals() != 0) {
      if (interrupt.send && PyErr_ExceptionMatches(PyExc_KeyboardInterrupt)) {
        engine.interrupt_workers(interrupt.job == nullptr ? pool::JobRef() : *interrupt.job);
      }
      return WaitEnd::error;
    }
    if (waited == pool::Waited::ended) return WaitEnd::ended;
    if (deadline.limited() && left == Nanos{0}) return WaitEnd::timed_out;
  }
}

}  // namespace holdfast::python
