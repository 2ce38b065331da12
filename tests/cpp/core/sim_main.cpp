// What: the simulation of the core from the command line: hf_core_sim [--steps=N] [--seed=S] (`make sim`). Prints the seeds played;
// a failing seed with its shrunk trace, and then exits 1.
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "core/simulation.hpp"

namespace {

// "--steps=5" or "--steps 5"; moves `i` on over a separate value.
bool option(const char* name, int argc, char** argv, int& i, std::uint64_t& value) {
  const std::size_t length = std::strlen(name);
  if (std::strncmp(argv[i], name, length) != 0) return false;
  const char* text = argv[i][length] == '=' ? argv[i] + length + 1 : argv[i][length] == '\0' && i + 1 < argc ? argv[++i] : "";
  char* end = nullptr;
  value = std::strtoull(text, &end, 10);
  return end != text && *end == '\0';
}

}  // namespace

int main(int argc, char** argv) {
  std::uint64_t steps = 1'000'000;
  std::uint64_t seed = 1;
  for (int i = 1; i < argc; ++i) {
    if (option("--steps", argc, argv, i, steps) || option("--seed", argc, argv, i, seed)) continue;
    std::fprintf(stderr, "usage: %s [--steps=N] [--seed=S]\n", argv[0]);
    return 2;
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
  print("actions (start send take_back settle retire kill soft_interrupt broken aborted):", seen.actions);
  print("ends (running closed terminated aborted broken):", seen.ends);
  std::printf("kills for a time limit %llu, deaths under items %llu, retries %llu, items taken back %llu\n",
              static_cast<unsigned long long>(seen.timeout_kills), static_cast<unsigned long long>(seen.counters.deaths_under_items),
              static_cast<unsigned long long>(seen.counters.retries), static_cast<unsigned long long>(seen.counters.taken_back));
  return 0;
}
