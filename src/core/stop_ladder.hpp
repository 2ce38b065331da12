// What: the order and the times in which a worker (or all workers of a pool together) is made to stop: ask, SIGINT, SIGTERM,
// SIGKILL, abandon. PURE: events and the time go in, the steps to take now and the next deadline come out. A plain value, used
// by the pool under its mutex: one ladder for everybody at terminate(), or one per worker.
//
// Promises: P4, a bounded end: SIGKILL comes at `grace` after the start whatever the worker does, abandonment kAbandonAfter
// later, and nothing after that is waited for. Steps never go back (no SIGTERM after a SIGKILL).
//
//   StopLadder ladder(now, grace, StopReason::terminate);
//   apply(ladder.begin(now));                      // what apply() does with each step: see StopSteps
//   loop: sleep until ladder.deadline();  apply(ladder.advance(now()));  everybody gone: ladder.gone();
//   a second Ctrl-C meanwhile:            apply(ladder.kill_now(now()));
#pragma once

#include <cstdint>

#include "base/types.hpp"

namespace holdfast::core {

/// After SIGKILL a process normally ends within milliseconds (up to 0.3 s with 4 GB of memory). One that is still there after
/// this is frozen or in an uninterruptible system call: its slot is freed, its pidfd kept, and it is reported.
inline constexpr Nanos kAbandonAfter = std::chrono::seconds(2);

/// Between SIGINT and SIGTERM on a Ctrl-C: time for `except KeyboardInterrupt` and `finally` in the tasks. SIGTERM without a
/// handler ends a process at once, so sent together the SIGINT would never be seen. A quarter of the grace, at most this.
inline constexpr Nanos kInterruptLead = std::chrono::seconds(1);

enum class StopReason : std::uint8_t {
  terminate,  // terminate(), `with` exit, the interpreter's end
  interrupt,  // the same under a KeyboardInterrupt: busy workers get SIGINT first
};

/// What to do now, to every worker that is still there; several at once are done in this order.
struct StopSteps {
  bool ask = false;     // set the cancelled flag: the worker begins nothing more and leaves after the running item
  bool sigint = false;  // to busy workers only
  bool sigterm = false;
  bool sigkill = false;
  bool abandon = false;  // stop waiting: report those that are left
  bool any() const { return ask || sigint || sigterm || sigkill || abandon; }
  friend bool operator==(const StopSteps&, const StopSteps&) = default;
};

enum class StopState : std::uint8_t {
  idle,         // begin() has not been called
  interrupted,  // asked, SIGINT sent; next: SIGTERM
  terminating,  // asked, SIGTERM sent; next: SIGKILL
  killed,       // SIGKILL sent; next: abandon
  abandoned,    // nothing more is done
  gone,         // over
};
inline constexpr int kStopStates = 6;

class StopLadder {
 public:
  /// `grace` <= 0: SIGKILL at once. `grace` == Nanos::max(): SIGKILL never by itself (only by kill_now).
  StopLadder() = default;
  StopLadder(Time start, Nanos grace, StopReason reason);

  StopSteps begin(Time now);
  /// What is due; nothing when `now` is before deadline(). After a long sleep several steps come at once.
  StopSteps advance(Time now);
  /// Another terminate() while the ladder runs: what is due at `grace` from now at the latest. It never lengthens what was promised first.
  StopSteps shorten(Time now, Nanos grace);
  /// A further KeyboardInterrupt, or a caller who has lost patience: SIGKILL now, from any rung.
  StopSteps kill_now(Time now);
  /// All are gone; also after `abandoned` (they died after all).
  void gone();

  Time deadline() const { return deadline_; }  // kNever: nothing is due by time
  StopState state() const { return state_; }
  bool over() const { return state_ == StopState::gone || state_ == StopState::abandoned; }

 private:
  enum class Event : std::uint8_t;
  struct Cell;
  static const Cell& cell(StopState state, Event event);
  StopSteps take(Event event, Time now);
  Time next_deadline(Time now) const;

  Time start_{0};
  Nanos grace_{0};
  StopReason reason_ = StopReason::terminate;
  StopState state_ = StopState::idle;
  Time deadline_ = kNever;
};

}  // namespace holdfast::core
