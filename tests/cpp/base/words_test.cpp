// Tests of the words that all layers share (base/words.cpp).
#include <csignal>
#include <set>
#include <string>

#include <gtest/gtest.h>

#include "holdfast/exit_report.hpp"
#include "holdfast/outcome.hpp"
#include "holdfast/policy.hpp"

namespace holdfast {
namespace {

TEST(Words, NamesEachCauseByItsEnumerator) {
  EXPECT_STREQ(to_string(Cause::oom_killed), "oom_killed");
  EXPECT_STREQ(to_string(Cause::killed_by_unknown), "killed_by_unknown");
  EXPECT_STREQ(to_string(Cause::unknown_status), "unknown_status");
  std::set<std::string> names;
  for (int i = 0; i <= static_cast<int>(Cause::unknown_status); ++i) names.insert(to_string(static_cast<Cause>(i)));
  EXPECT_EQ(names.size(), 11U);
  EXPECT_EQ(names.count("invalid"), 0U);
}

TEST(Words, NamesEachOutcomeAndPolicy) {
  std::set<std::string> names;
  for (int i = 0; i <= static_cast<int>(OutcomeKind::terminated); ++i) names.insert(to_string(static_cast<OutcomeKind>(i)));
  for (int i = 0; i <= static_cast<int>(OnFailure::abort); ++i) names.insert(to_string(static_cast<OnFailure>(i)));
  EXPECT_EQ(names.size(), 13U);
  EXPECT_EQ(names.count("invalid"), 0U);
}

TEST(Describe, SaysWhoWhyAndWhichItem) {
  ExitReport report;
  report.cause = Cause::killed_by_unknown;
  report.pid = 4121;
  report.signal = SIGKILL;
  report.lost_item = true;
  report.item = 17;
  report.attempts = 1;
  EXPECT_EQ(describe(report), "worker 4121 was killed by SIGKILL (sender unknown, not the pool) while running item 17");
  report.attempts = 2;
  report.detail = "seen by the test";
  EXPECT_EQ(describe(report),
            "worker 4121 was killed by SIGKILL (sender unknown, not the pool) while running item 17 (attempt 2): seen by the test");
}

TEST(Describe, SaysTheExitCodeEvenWhenItIsZero) {
  ExitReport report;
  report.cause = Cause::exit_code;
  report.pid = 5;
  report.has_exit_code = true;
  EXPECT_EQ(describe(report), "worker 5 exited with code 0");
}

TEST(Describe, NeverCallsABareSigkillAnOutOfMemoryKill) {
  ExitReport report;
  report.cause = Cause::killed_by_unknown;
  report.signal = SIGKILL;
  EXPECT_EQ(describe(report).find("memory"), std::string::npos);
}

TEST(Describe, HasASentenceForEachCause) {
  std::set<std::string> sentences;
  for (int i = 0; i <= static_cast<int>(Cause::unknown_status); ++i) {
    ExitReport report;
    report.cause = static_cast<Cause>(i);
    report.pid = 9;
    report.signal = SIGSEGV;
    sentences.insert(describe(report));
  }
  EXPECT_EQ(sentences.size(), 11U);
}

}  // namespace
}  // namespace holdfast
