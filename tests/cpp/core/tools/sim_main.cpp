// What: the simulation of the core from the command line: hf_simulation [--steps N] [--seed S]. Prints the seeds played; a
// failing seed with its shrunk trace, and then exits 1.
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "core/simulation.hpp"

int main(int argc, char** argv) {
  std::uint64_t steps = 1'000'000;
  std::uint64_t seed = 1;
  for (int i = 1; i < argc; ++i) {
    const bool has_value = i + 1 < argc;
    if (std::strcmp(argv[i], "--steps") == 0 && has_value) {
      steps = std::strtoull(argv[++i], nullptr, 10);
    } else if (std::strcmp(argv[i], "--seed") == 0 && has_value) {
      seed = std::strtoull(argv[++i], nullptr, 10);
    } else {
      std::fprintf(stderr, "usage: %s [--steps N] [--seed S]\n", argv[0]);
      return 2;
    }
  }
  const auto report = holdfast::core::simulation::simulate(seed, steps);
  if (report.failed) {
    std::printf("FAILED: seed %llu: %s\n%zu events:\n%s", static_cast<unsigned long long>(report.failed_seed), report.error.c_str(),
                report.trace_events, report.trace.c_str());
    return 1;
  }
  std::printf("%llu steps in %llu stories, seeds %llu to %llu: no promise broken\n", static_cast<unsigned long long>(report.steps),
              static_cast<unsigned long long>(report.stories), static_cast<unsigned long long>(seed),
              static_cast<unsigned long long>(report.next_seed - 1));
  const auto& seen = report.seen;
  const auto print = [](const char* what, const auto& counts) {
    std::printf("%s", what);
    for (std::uint64_t count : counts) std::printf(" %llu", static_cast<unsigned long long>(count));
    std::printf("\n");
  };
  print("settled by action (pending done raised died timed_out cancelled skipped aborted terminated):", seen.outcomes);
  print("verdicts (settle skipped retry ignore not_owned):", seen.verdicts);
  print("actions (start send take_back settle retire kill broken aborted):", seen.actions);
  print("ends (running closed terminated aborted broken):", seen.ends);
  std::printf("kills for a time limit %llu, deaths under items %llu, retries %llu, items taken back %llu\n",
              static_cast<unsigned long long>(seen.timeout_kills), static_cast<unsigned long long>(seen.counters.deaths_under_items),
              static_cast<unsigned long long>(seen.counters.retries), static_cast<unsigned long long>(seen.counters.taken_back));
  return 0;
}
