// What: from the evidence of a worker's end to its Cause (include/holdfast/exit_report.hpp). PURE; called by the supervisor once
// per dead worker. Promise P11: on evidence and never guessed; where the evidence does not decide, the answer says so
// (killed_by_unknown, unknown_status).
#pragma once

#include <cstdint>

#include "holdfast/exit_report.hpp"

namespace holdfast::core {

/// How the pool had asked the worker to leave (no SIGKILL: that one is `pool_kill`).
enum class Asked : std::uint8_t {
  no,
  to_finish,  // its task ring was closed (recycle, close(), resize): it leaves when it has finished what it holds
  by_signal,  // terminate(), Ctrl-C: cancelled flag, SIGINT or SIGTERM
};

struct ExitEvidence {
  bool status_known = false;
  int raw_status = 0;             // as from wait(): valid with status_known
  Cause pool_kill = Cause::none;  // the pool's kill log: why it sent SIGKILL; none = it did not
  Asked asked = Asked::no;
  bool ready = false;           // its initializer was done
  bool protocol_error = false;  // nonsense was read from it
  bool running_item = false;    // an item was begun and not finished
  bool oom_evidence = false;    // the cgroup's oom_kill count has risen since the last death accounted for
};

/// The fields of ExitReport that follow from the evidence.
struct ExitFinding {
  Cause cause = Cause::none;
  bool has_exit_code = false;
  int exit_code = 0;
  int signal = 0;
  bool core_dumped = false;
};

ExitFinding classify_exit(const ExitEvidence& evidence);

/// The table behind it, for the test of its completeness: what was known about the worker x how its process ended.
enum class Standing : std::uint8_t { protocol_error, killed_by_pool, signalled_by_pool, closed, starting, at_work };
enum class Ending : std::uint8_t { unknown, exit_zero, exit_other, sigkill, sigkill_oom, outside_signal, own_signal };
inline constexpr int kStandings = 6;
inline constexpr int kEndings = 7;
/// Cause::none stands for "what the kill log says".
Cause cause_for(Standing standing, Ending ending);
Ending ending_of(const ExitEvidence& evidence);
Standing standing_of(const ExitEvidence& evidence);

}  // namespace holdfast::core
