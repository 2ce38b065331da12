// The smallest program of a stranger: the installed headers and the installed library are enough.
#include <cstdio>
#include <cstring>

#include <holdfast/exit_report.hpp>
#include <holdfast/outcome.hpp>

int main() {
  holdfast::ExitReport report;
  report.cause = holdfast::Cause::exit_code;
  report.pid = 1;
  report.exit_code = 3;
  const std::string sentence = holdfast::describe(report);
  std::puts(sentence.c_str());
  const bool right = sentence == "worker 1 exited with code 3" && std::strcmp(to_string(holdfast::OutcomeKind::died), "died") == 0;
  return right ? 0 : 1;
}
