// What: making, playing and shrinking stories (see simulation.hpp).
#include "core/simulation.hpp"

#include <algorithm>
#include <array>

#include "core/retry.hpp"

namespace holdfast::core::simulation {

namespace {

// How often each event comes, before a story's own taste is applied. In the order of EventKind.
// clang-format off
constexpr std::array<std::uint32_t, kEventKinds> kWeights{
    // submit extend close_input cancel forget close terminate resize
    60, 40, 15, 15, 5, 2, 1, 6,
    // ready start_failed begin finish work die leave
    100, 5, 200, 140, 40, 60, 40,
    // hand_in started_news death_news tick nonsense
    100, 150, 100, 90, 10};
// clang-format on

Setup make_setup(std::uint64_t& dice) {
  Setup setup;
  SchedulerConfig& config = setup.config;
  const std::uint64_t a = next_random(dice);
  static constexpr std::array<std::uint32_t, 6> kInFlight{1, 2, 3, 8, 64, 64};
  config.workers = 1 + static_cast<std::uint32_t>(a % 5);
  config.max_chunks_in_flight = kInFlight[(a >> 8) % 6];
  config.max_restarts = (a >> 16) % 3 == 0 ? static_cast<std::uint32_t>((a >> 18) % 4) : 10;
  config.max_deaths = (a >> 24) % 4 == 0 ? 1 + (a >> 26) % 6 : 0;
  config.max_chunks_per_worker = (a >> 32) % 4 == 0 ? 1 + (a >> 34) % 5 : 0;
  config.target_in_flight = Nanos{(a >> 40) % 3 == 0 ? 1000 : 2'000'000};
  config.seed = next_random(dice);
  setup.lazy_actions = (a >> 48) % 3 == 0;
  setup.stay_open = (a >> 52) % 2 == 0;
  config.memory_gate = (a >> 56) % 2 == 0;
  return setup;
}

}  // namespace

Story make_story(std::uint64_t seed, Sabotage sabotage) {
  Story story;
  story.seed = seed;
  std::uint64_t dice = seed * 0x9e3779b97f4a7c15ULL + 1;
  story.setup = make_setup(dice);
  story.setup.sabotage = sabotage;
  // Taste: each kind of event is left out, rare, usual or frequent. Stories that are all alike in the mean never reach the corners.
  static constexpr std::array<std::uint32_t, 4> kTaste{0, 1, 4, 12};
  std::array<std::uint32_t, kEventKinds> sums{};
  std::uint32_t sum = 0;
  for (std::size_t i = 0; i < sums.size(); ++i) {
    const auto kind = static_cast<EventKind>(i);
    // Without these nothing moves at all.
    const bool vital = kind == EventKind::submit || kind == EventKind::ready || kind == EventKind::begin || kind == EventKind::finish ||
                       kind == EventKind::hand_in;
    const std::uint64_t taste = next_random(dice);
    sums[i] = sum += kWeights[i] * kTaste[vital ? 1 + taste % 3 : taste % 4];
  }
  const std::uint64_t length = 20 + next_random(dice) % 600;
  story.events.reserve(length);
  for (std::uint64_t n = 0; n < length; ++n) {
    const std::uint64_t numbers = next_random(dice);
    const std::uint64_t more = next_random(dice);
    const auto at = static_cast<std::uint32_t>(next_random(dice) % sum);
    const auto kind = std::upper_bound(sums.begin(), sums.end(), at) - sums.begin();
    Event event{static_cast<EventKind>(kind), static_cast<std::uint32_t>(numbers), static_cast<std::uint32_t>(numbers >> 32),
                static_cast<std::uint32_t>(more), static_cast<std::uint32_t>(more >> 32)};
    event.wait = Nanos{next_random(dice) % 100'000};
    story.events.push_back(event);
  }
  return story;
}

std::string play(const Story& story, std::uint64_t& steps, std::string* log, Seen* seen) {
  World world(story.setup);
  world.tell(log);
  int after_end = 20;  // an ended pool still gets late results, deaths and feeders
  for (const Event& event : story.events) {
    if (!world.play(event)) break;
    if (world.pool_over() && --after_end == 0) break;
  }
  if (world.error().empty()) {
    if (log != nullptr) *log += "(the story is over; from here on everybody behaves)\n";
    (void)world.finish();
  }
  steps += world.steps();
  if (seen != nullptr) seen->add(world.seen());
  return world.error();
}

void Seen::add(const Seen& other) {
  const auto sum = [](auto& mine, const auto& theirs) {
    for (std::size_t i = 0; i < mine.size(); ++i) mine[i] += theirs[i];
  };
  sum(outcomes, other.outcomes);
  sum(verdicts, other.verdicts);
  sum(actions, other.actions);
  sum(ends, other.ends);
  timeout_kills += other.timeout_kills;
  counters.deaths_under_items += other.counters.deaths_under_items;
  counters.failed_starts += other.counters.failed_starts;
  counters.retries += other.counters.retries;
  counters.restarts += other.counters.restarts;
  counters.taken_back += other.counters.taken_back;
}

Seen World::seen() const {
  Seen seen = seen_;
  seen.counters = scheduler_.counters();
  return seen;
}

namespace {

/// `story` without the events [at, at + piece). Their time passes all the same if `keep_time`: much depends on deadlines.
Story without(const Story& story, std::size_t at, std::size_t piece, bool keep_time) {
  Story shorter = story;
  const std::size_t end = std::min(at + piece, shorter.events.size());
  if (keep_time && end < shorter.events.size()) {
    for (std::size_t i = at; i < end; ++i) shorter.events[end].wait += shorter.events[i].wait;
  }
  const auto first = shorter.events.begin();
  shorter.events.erase(first + static_cast<std::ptrdiff_t>(at), first + static_cast<std::ptrdiff_t>(end));
  return shorter;
}

}  // namespace

Story shrink(const Story& story) {
  Story best = story;
  std::uint64_t unused = 0;
  for (std::size_t piece = std::max<std::size_t>(best.events.size() / 2, 1);;) {
    bool smaller = false;
    for (std::size_t at = 0; at < best.events.size();) {
      bool left_out = false;
      for (bool keep_time : {false, true}) {
        Story tried = without(best, at, piece, keep_time);
        if (play(tried, unused).empty()) continue;
        best = std::move(tried);
        left_out = smaller = true;
        break;
      }
      if (!left_out) at += piece;
    }
    if (piece == 1 && !smaller) return best;
    piece = std::max<std::size_t>(piece / 2, 1);
  }
}

Report simulate(std::uint64_t first_seed, std::uint64_t steps, Sabotage sabotage) {
  Report report;
  report.next_seed = first_seed;
  while (report.steps < steps) {
    const Story story = make_story(report.next_seed++, sabotage);
    ++report.stories;
    report.error = play(story, report.steps, nullptr, &report.seen);
    if (report.error.empty()) continue;
    report.failed = true;
    report.failed_seed = story.seed;
    const Story small = shrink(story);
    report.trace_events = small.events.size();
    std::uint64_t unused = 0;
    report.error = play(small, unused, &report.trace);
    return report;
  }
  return report;
}

}  // namespace holdfast::core::simulation
