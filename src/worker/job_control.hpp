// What: Ctrl-Z and fg for workers (design.md section 6). They are in process groups of their own, where the terminal's SIGTSTP never comes; the
// zygote is in the caller's group, hears it, and does to the workers what happens to the caller: stops them once it is stopped,
// continues them as soon as it is not. A caller that handles or ignores SIGTSTP is not stopped, and so are its workers not.
//
// What was stopped already by somebody else is left alone, also later. Single-threaded, with all signals blocked. Caller: the zygote.
#pragma once

#include <utility>
#include <vector>

#include "base/result.hpp"
#include "base/types.hpp"
#include "sys/fd.hpp"

namespace holdfast::worker {

class JobControl {
 public:
  /// SIGTSTP and SIGCONT must be blocked, or they would do to this process what they do by default.
  static Result<JobControl> create(int caller);

  int fd() const { return signals_.get(); }  // readable: on_signal()
  void on_signal(Time now);
  Time next_look() const { return next_look_; }  // kNever while there is nothing to follow
  /// Looks at the caller, and makes `workers` (children of this process, unreaped) and all below them follow. Returns how long they were
  /// stopped when they have just been made to go on, else 0.
  Nanos look(Time now, const std::vector<int>& workers);

 private:
  enum class State {
    idle,
    expecting,  // a SIGTSTP came: the caller will stop in a moment, when its handlers are done, or never
    stopped,    // it is, and the workers are
  };
  JobControl(int caller, UniqueFd signals) : caller_(caller), signals_(std::move(signals)) {}
  void go_on();

  int caller_;
  UniqueFd signals_;
  State state_ = State::idle;
  Time expected_since_{0};
  Time stopped_since_{0};
  Time next_look_ = kNever;
  std::vector<int> stopped_;  // by us; children before grandchildren
};

}  // namespace holdfast::worker
