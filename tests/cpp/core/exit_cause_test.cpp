// Tests of core/exit_cause: the whole table, the decoding of wait statuses, and the rules that people rely on.
#include "core/exit_cause.hpp"

#include <sys/wait.h>
#include <csignal>

#include <gtest/gtest.h>

namespace holdfast::core {
namespace {

ExitEvidence exited(int code) { return {.status_known = true, .raw_status = W_EXITCODE(code, 0), .ready = true}; }
ExitEvidence signalled(int signal, bool core = false) {
  return {.status_known = true, .raw_status = W_EXITCODE(0, signal) | (core ? 0x80 : 0), .ready = true};
}

TEST(ExitCauseTable, HasACauseInEveryCell) {
  for (int standing = 0; standing < kStandings; ++standing) {
    for (int ending = 0; ending < kEndings; ++ending) {
      const Cause cause = cause_for(static_cast<Standing>(standing), static_cast<Ending>(ending));
      // Only the pool's own kill log may fill in for the table.
      EXPECT_EQ(cause == Cause::none, standing == static_cast<int>(Standing::killed_by_pool) &&
                                          (ending == static_cast<int>(Ending::unknown) || ending == static_cast<int>(Ending::sigkill) ||
                                           ending == static_cast<int>(Ending::sigkill_oom)))
          << standing << " x " << ending;
    }
  }
}

TEST(ExitCause, ClassifiesEveryRawStatusToSomething) {
  for (int raw = 0; raw <= 0xffff; ++raw) {
    const ExitFinding finding = classify_exit({.status_known = true, .raw_status = raw, .ready = true});
    ASSERT_NE(finding.cause, Cause::none) << raw;
    ASSERT_EQ(finding.has_exit_code, static_cast<bool>(WIFEXITED(raw))) << raw;
    if (WIFEXITED(raw)) { ASSERT_EQ(finding.exit_code, WEXITSTATUS(raw)) << raw; }
    if (WIFSIGNALED(raw)) { ASSERT_EQ(finding.signal, WTERMSIG(raw)) << raw; }
    if (WIFSIGNALED(raw)) { ASSERT_EQ(finding.core_dumped, static_cast<bool>(WCOREDUMP(raw))) << raw; }
  }
}

TEST(ExitCause, TellsExitCodesFromSignals) {
  EXPECT_EQ(classify_exit(exited(0)).cause, Cause::exit_code);
  const ExitFinding three = classify_exit(exited(3));
  EXPECT_EQ(three.cause, Cause::exit_code);
  EXPECT_EQ(three.exit_code, 3);
  const ExitFinding fault = classify_exit(signalled(SIGSEGV, /*core=*/true));
  EXPECT_EQ(fault.cause, Cause::signal);
  EXPECT_EQ(fault.signal, SIGSEGV);
  EXPECT_TRUE(fault.core_dumped);
  for (int own : {SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGALRM, SIGPIPE, SIGXCPU}) {
    EXPECT_EQ(classify_exit(signalled(own)).cause, Cause::signal) << own;
  }
}

TEST(ExitCause, NeverGuessesWhoSentAKill) {
  for (int outside : {SIGKILL, SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, 40}) {
    EXPECT_EQ(classify_exit(signalled(outside)).cause, Cause::killed_by_unknown) << outside;
  }
}

TEST(ExitCause, NeedsEvidenceForOom) {
  ExitEvidence evidence = signalled(SIGKILL);
  evidence.oom_evidence = true;
  EXPECT_EQ(classify_exit(evidence).cause, Cause::oom_killed);
  // The count rose, but this one was not killed by SIGKILL: somebody else's.
  ExitEvidence exit = exited(1);
  exit.oom_evidence = true;
  EXPECT_EQ(classify_exit(exit).cause, Cause::exit_code);
}

TEST(ExitCause, BelievesTheKillLogOnlyForASigkill) {
  for (Cause why : {Cause::time_limit, Cause::memory_limit, Cause::stopped_by_pool, Cause::failed_start}) {
    ExitEvidence evidence = signalled(SIGKILL);
    evidence.pool_kill = why;
    EXPECT_EQ(classify_exit(evidence).cause, why);
    evidence.oom_evidence = true;
    EXPECT_EQ(classify_exit(evidence).cause, why);
    ExitEvidence faster = exited(7);  // it exited just before our SIGKILL
    faster.pool_kill = why;
    EXPECT_EQ(classify_exit(faster).cause, Cause::exit_code);
  }
}

TEST(ExitCause, AnUnknownStatusIsStillADeath) {
  ExitEvidence evidence;
  evidence.ready = true;
  EXPECT_EQ(classify_exit(evidence).cause, Cause::unknown_status);
  evidence.pool_kill = Cause::time_limit;
  EXPECT_EQ(classify_exit(evidence).cause, Cause::time_limit);
  evidence.protocol_error = true;
  EXPECT_EQ(classify_exit(evidence).cause, Cause::protocol_error);
}

TEST(ExitCause, BeforeReadyIsAFailedStartWithItsCodeOrSignal) {
  ExitEvidence evidence = exited(1);
  evidence.ready = false;
  EXPECT_EQ(classify_exit(evidence).cause, Cause::failed_start);
  EXPECT_EQ(classify_exit(evidence).exit_code, 1);
  evidence = signalled(SIGKILL);
  evidence.ready = false;
  EXPECT_EQ(classify_exit(evidence).cause, Cause::failed_start);
  EXPECT_EQ(classify_exit(evidence).signal, SIGKILL);
}

TEST(ExitCause, ALeavingWorkerIsStoppedByPoolUnlessItFellOverAnItem) {
  ExitEvidence retired = exited(0);
  retired.asked = Asked::to_finish;
  EXPECT_EQ(classify_exit(retired).cause, Cause::stopped_by_pool);
  retired.running_item = true;  // os._exit(0) in a task of a worker that was about to be recycled
  EXPECT_EQ(classify_exit(retired).cause, Cause::exit_code);
  ExitEvidence terminated = signalled(SIGTERM);
  terminated.asked = Asked::by_signal;
  terminated.running_item = true;
  EXPECT_EQ(classify_exit(terminated).cause, Cause::stopped_by_pool);
  terminated = signalled(SIGSEGV);
  terminated.asked = Asked::by_signal;
  EXPECT_EQ(classify_exit(terminated).cause, Cause::signal);
}

}  // namespace
}  // namespace holdfast::core
