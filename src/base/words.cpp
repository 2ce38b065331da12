// What: the words of the public enums and the sentence of an ExitReport (include/holdfast). Every other layer and the tests use
// these, so one grep for `oom_killed` finds all of its places.
#include <csignal>
#include <cstring>
#include <string>

#include "holdfast/exit_report.hpp"
#include "holdfast/outcome.hpp"
#include "holdfast/policy.hpp"

namespace holdfast {

const char* to_string(Cause cause) {
  switch (cause) {
    case Cause::none: return "none";
    case Cause::exit_code: return "exit_code";
    case Cause::signal: return "signal";
    case Cause::oom_killed: return "oom_killed";
    case Cause::memory_limit: return "memory_limit";
    case Cause::time_limit: return "time_limit";
    case Cause::protocol_error: return "protocol_error";
    case Cause::failed_start: return "failed_start";
    case Cause::stopped_by_pool: return "stopped_by_pool";
    case Cause::killed_by_unknown: return "killed_by_unknown";
    case Cause::unknown_status: return "unknown_status";
  }
  return "invalid";
}

const char* to_string(OutcomeKind kind) {
  switch (kind) {
    case OutcomeKind::pending: return "pending";
    case OutcomeKind::done: return "done";
    case OutcomeKind::raised: return "raised";
    case OutcomeKind::died: return "died";
    case OutcomeKind::timed_out: return "timed_out";
    case OutcomeKind::cancelled: return "cancelled";
    case OutcomeKind::skipped: return "skipped";
    case OutcomeKind::aborted: return "aborted";
    case OutcomeKind::terminated: return "terminated";
  }
  return "invalid";
}

const char* to_string(OnFailure policy) {
  switch (policy) {
    case OnFailure::raise: return "raise";
    case OnFailure::skip: return "skip";
    case OnFailure::retry: return "retry";
    case OnFailure::abort: return "abort";
  }
  return "invalid";
}

namespace {

// "SIGKILL". glibc's own table (signal names are not the kernel's business, so base may ask it without sys).
std::string signal_words(int signal) {
  if (const char* name = sigabbrev_np(signal)) return std::string("SIG") + name;
  return "signal " + std::to_string(signal);
}

std::string status_words(const ExitReport& report) {
  if (report.signal != 0) { return "ended by " + signal_words(report.signal) + (report.core_dumped ? ", core dumped" : ""); }
  if (report.has_exit_code) return "exit code " + std::to_string(report.exit_code);
  return "exit status not known";
}

// What happened, with the evidence. Says no more than the cause does: a bare SIGKILL is not called an out-of-memory kill.
std::string cause_words(const ExitReport& report) {
  switch (report.cause) {
    case Cause::none: return "has not ended";
    case Cause::exit_code: return "exited with code " + std::to_string(report.exit_code);
    case Cause::signal: return "crashed with " + signal_words(report.signal) + (report.core_dumped ? " (core dumped)" : "");
    case Cause::oom_killed: return "was killed by the kernel for lack of memory (SIGKILL, and the oom_kill count rose)";
    case Cause::memory_limit: return "was killed by the pool: over its memory_limit";
    case Cause::time_limit: return "was killed by the pool: the item ran longer than its task_timeout";
    case Cause::protocol_error: return "was killed by the pool: it broke the pool's protocol";
    case Cause::failed_start: return "failed to start (" + status_words(report) + ")";
    case Cause::stopped_by_pool: return "was stopped by the pool (" + status_words(report) + ")";
    case Cause::killed_by_unknown: return "was killed by " + signal_words(report.signal) + " (sender unknown, not the pool)";
    case Cause::unknown_status: return "ended, but another process took its exit status";
  }
  return "ended";
}

}  // namespace

std::string describe(const ExitReport& report) {
  std::string text = report.pid > 0 ? "worker " + std::to_string(report.pid) : std::string("a worker");
  text += " " + cause_words(report);
  if (report.lost_item) {
    text += " while running item " + std::to_string(report.item);
    if (report.attempts > 1) text += " (attempt " + std::to_string(report.attempts) + ")";
  }
  if (!report.detail.empty()) text += ": " + report.detail;
  return text;
}

}  // namespace holdfast
