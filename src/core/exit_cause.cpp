// What: the table from evidence to Cause (see exit_cause.hpp).
#include "core/exit_cause.hpp"

#include <array>
#include <csignal>
#include <cstddef>

namespace holdfast::core {

namespace {

// The layout of a raw wait status is Linux ABI; written out because <sys/wait.h> belongs to src/sys.
constexpr int status_signal(int raw) { return raw & 0x7f; }
constexpr bool status_exited(int raw) { return status_signal(raw) == 0; }
constexpr bool status_signalled(int raw) { return status_signal(raw) != 0 && status_signal(raw) != 0x7f; }  // 0x7f: stopped
constexpr int status_exit_code(int raw) { return (raw >> 8) & 0xff; }
constexpr bool status_core(int raw) { return (raw & 0x80) != 0; }

// Signals that come from outside as a rule. Everything else a process brings on itself: faults, abort(), its own timers
// (SIGALRM...), a closed pipe, its own resource limits. Real-time signals are sent on purpose, by somebody.
bool comes_from_outside(int signal) {
  switch (signal) {
    case SIGKILL:
    case SIGTERM:
    case SIGINT:
    case SIGHUP:
    case SIGQUIT:
    case SIGUSR1:
    case SIGUSR2:
    case SIGPWR: return true;
    default: return signal >= 32;
  }
}

}  // namespace

Ending ending_of(const ExitEvidence& evidence) {
  if (!evidence.status_known) return Ending::unknown;
  const int raw = evidence.raw_status;
  if (status_exited(raw)) return status_exit_code(raw) == 0 ? Ending::exit_zero : Ending::exit_other;
  if (!status_signalled(raw)) return Ending::unknown;  // "stopped" is no end: the reading cannot be right
  if (status_signal(raw) == SIGKILL) return evidence.oom_evidence ? Ending::sigkill_oom : Ending::sigkill;
  return comes_from_outside(status_signal(raw)) ? Ending::outside_signal : Ending::own_signal;
}

Standing standing_of(const ExitEvidence& evidence) {
  if (evidence.protocol_error) return Standing::protocol_error;
  if (evidence.pool_kill != Cause::none) return Standing::killed_by_pool;
  if (evidence.asked == Asked::by_signal) return Standing::signalled_by_pool;
  if (!evidence.ready) return Standing::starting;
  // Closed and not running: it left as told. Running an item, the closed ring has not made it end: as if it were at work.
  return evidence.asked == Asked::to_finish && !evidence.running_item ? Standing::closed : Standing::at_work;
}

Cause cause_for(Standing standing, Ending ending) {
  constexpr Cause kLog = Cause::none;  // "as the kill log says"
  constexpr Cause kProto = Cause::protocol_error;
  constexpr Cause kPool = Cause::stopped_by_pool;
  constexpr Cause kStart = Cause::failed_start;
  constexpr Cause kCode = Cause::exit_code;
  constexpr Cause kSelf = Cause::signal;
  constexpr Cause kThem = Cause::killed_by_unknown;
  constexpr Cause kOom = Cause::oom_killed;
  constexpr Cause kGone = Cause::unknown_status;
  // killed_by_pool x exit or another signal: the worker was faster than our SIGKILL, so the kill log does not explain this end.
  // killed_by_pool x sigkill_oom: SIGKILL is sent once by us for certain; the count's rise may belong to another process.
  // signalled_by_pool x sigkill: we sent SIGTERM, and somebody else SIGKILL. A fault (own_signal) is never "stopped by the pool".
  // starting x anything: the end before `ready` is the fact that matters; exit code and signal stand beside it.
  // clang-format off
  static constexpr std::array<std::array<Cause, kEndings>, kStandings> kTable{{
      //                       unknown exit_zero exit_other sigkill sigkill_oom outside own_signal
      /* protocol_error    */ {{kProto, kProto,   kProto,   kProto, kProto,     kProto, kProto}},
      /* killed_by_pool    */ {{kLog,   kCode,    kCode,    kLog,   kLog,       kThem,  kSelf}},
      /* signalled_by_pool */ {{kPool,  kPool,    kPool,    kThem,  kOom,       kPool,  kSelf}},
      /* closed            */ {{kGone,  kPool,    kCode,    kThem,  kOom,       kThem,  kSelf}},
      /* starting          */ {{kStart, kStart,   kStart,   kStart, kStart,     kStart, kStart}},
      /* at_work           */ {{kGone,  kCode,    kCode,    kThem,  kOom,       kThem,  kSelf}},
  }};
  // clang-format on
  return kTable[static_cast<std::size_t>(standing)][static_cast<std::size_t>(ending)];
}

ExitFinding classify_exit(const ExitEvidence& evidence) {
  ExitFinding finding;
  const Ending ending = ending_of(evidence);
  const int raw = evidence.raw_status;
  if (ending == Ending::exit_zero || ending == Ending::exit_other) {
    finding.has_exit_code = true;
    finding.exit_code = status_exit_code(raw);
  } else if (ending != Ending::unknown) {
    finding.signal = status_signal(raw);
    finding.core_dumped = status_core(raw);
  }
  const Cause cause = cause_for(standing_of(evidence), ending);
  finding.cause = cause == Cause::none ? evidence.pool_kill : cause;
  return finding;
}

}  // namespace holdfast::core
