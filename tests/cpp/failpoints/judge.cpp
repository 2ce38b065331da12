#include "failpoints/judge.hpp"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <filesystem>
#include <fstream>

#include <sys/wait.h>

namespace holdfast::failpoints {

namespace {

std::string name(const Item& item) { return "item " + std::to_string(item.index); }

std::size_t entries(const char* folder) {
  const std::filesystem::directory_iterator all(folder);
  return static_cast<std::size_t>(std::distance(begin(all), end(all)));
}

}  // namespace

void Judge::job(const std::vector<Item>& items, const std::vector<Outcome>& outcomes, bool cut_short) {
  if (outcomes.size() != items.size()) {
    complain("P1: " + std::to_string(items.size()) + " items, " + std::to_string(outcomes.size()) + " outcomes");
    return;
  }
  for (std::size_t i = 0; i < items.size(); ++i) one(items[i], outcomes[i], cut_short);
}

void Judge::one(const Item& item, const Outcome& outcome, bool cut_short) {
  switch (outcome.kind) {
    case OutcomeKind::done: value(item, outcome.value); break;
    case OutcomeKind::raised:
      if (item.act != Act::raise || outcome.error != name(item)) complain("P7: " + name(item) + " raised: " + outcome.error);
      break;
    case OutcomeKind::died: failed(item, outcome, policies_.on_death); break;
    case OutcomeKind::timed_out: failed(item, outcome, policies_.on_timeout); break;
    case OutcomeKind::skipped: failed(item, outcome, OnFailure::skip); break;
    case OutcomeKind::cancelled:
    case OutcomeKind::terminated:
    case OutcomeKind::aborted:
      if (!cut_short && !allowed_.broken) complain("P1: " + name(item) + " was " + to_string(outcome.kind));
      break;
    case OutcomeKind::pending: complain("P1: " + name(item) + " has no outcome"); break;
  }
  const auto& entry = ledger_.items[item.index];
  const bool again = policies_.on_death == OnFailure::retry;
  if (entry.begun > 1 && !again) complain("P2: " + name(item) + " was run " + std::to_string(entry.begun) + " times");
  if (item.act == Act::raise && outcome.kind == OutcomeKind::done) complain("P7: " + name(item) + " raised, and its outcome is done");
}

/// Its worker died under it, or it was killed for its time.
void Judge::failed(const Item& item, const Outcome& outcome, OnFailure policy) {
  const OutcomeKind what = outcome.kind == OutcomeKind::skipped ? outcome.failure : outcome.kind;
  const bool late = what == OutcomeKind::timed_out;
  const bool meant = late ? item.act == Act::hang : item.act == Act::die;
  if (!outcome.report) {
    complain("P11: " + name(item) + " died without a report");
    return;
  }
  const ExitReport& report = *outcome.report;
  if (policy == OnFailure::retry && !allowed_.repeated && !late) complain("P1: " + name(item) + " died, was to be run again, and was not");
  if (!report.lost_item) complain("P2: " + name(item) + " died of a worker that did not run it: " + describe(report));
  if (late && report.cause != Cause::time_limit) complain("P11: " + name(item) + " timed out: " + describe(report));
  if (!late && item.act == Act::die && !(report.cause == Cause::killed_by_unknown && report.signal == SIGKILL) && !allowed_.time_outs &&
      !allowed_.repeated)
    complain("P11: " + name(item) + " killed itself: " + describe(report));
  if (meant || (late && allowed_.time_outs)) return;
  ++lost_;
}

void Judge::value(const Item& item, const Bytes& bytes) {
  if (bytes.size() != item.result_bytes) {
    complain("P2: the result of " + name(item) + " has " + std::to_string(bytes.size()) + " bytes");
    return;
  }
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    if (bytes[i] == pattern(item.index, i)) continue;
    complain("P2: the result of " + name(item) + " is damaged at " + std::to_string(i));
    return;
  }
  if (ledger_.items[item.index].ended == 0) complain("P1: " + name(item) + " has a result, and never ran to its end");
}

void Judge::losses() {
  if (lost_ > allowed_.lost) complain("P2: " + std::to_string(lost_) + " items were lost, " + std::to_string(allowed_.lost) + " may be");
}

Holdings Holdings::now() {
  Holdings held;
  held.descriptors = entries("/proc/self/fd");
  held.threads = entries("/proc/self/task");
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) held.memory_files += line.find("memfd:holdfast") != std::string::npos ? 1U : 0U;
  held.children = ::waitpid(-1, nullptr, WNOHANG) != -1 || errno != ECHILD;
  return held;
}

}  // namespace holdfast::failpoints
