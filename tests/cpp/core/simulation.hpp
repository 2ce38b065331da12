// What: the simulation: seeded random stories for the scheduler, each judged step by step by the reference model (P1, P2, P10,
// P12, the invariants of scheduler.hpp, liveness at the end); a failing one is shrunk to a short trace. Used by
// simulation_test.cpp (a million steps in CI) and by hf_core_sim (any number).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/simulation_world.hpp"

namespace holdfast::core::simulation {

struct Story {
  std::uint64_t seed = 0;
  Setup setup;
  std::vector<Event> events;
};

/// The story of a seed: the pool's configuration, which events are frequent in it (each story has its own taste), the events.
Story make_story(std::uint64_t seed, Sabotage sabotage = Sabotage::none);

/// Plays it to its end. Empty = no promise was broken; else what was. `steps` is raised by the events delivered to the scheduler.
std::string play(const Story& story, std::uint64_t& steps, std::string* log = nullptr, Seen* seen = nullptr);

/// Leaves out events as long as the story still fails (delta debugging: ever smaller pieces, then one by one).
Story shrink(const Story& story);

struct Report {
  std::uint64_t steps = 0;
  std::uint64_t stories = 0;
  std::uint64_t next_seed = 0;  // seeds [first, next_seed) were played
  Seen seen;
  bool failed = false;
  std::uint64_t failed_seed = 0;
  std::string error;
  std::string trace;  // the shrunk story, told
  std::size_t trace_events = 0;
};

/// Plays stories from `first_seed` on until `steps` steps are done or one fails.
Report simulate(std::uint64_t first_seed, std::uint64_t steps, Sabotage sabotage = Sabotage::none);

}  // namespace holdfast::core::simulation
