// What: what one item costs in the scheduler alone: submit, send, finish (no process, no bytes). The pool can be no faster than this under
// its one mutex. Build: cmake --preset release; run build/release/bench/core_bench.
#include <deque>
#include <unordered_set>
#include <vector>

#include <benchmark/benchmark.h>

#include "core/scheduler.hpp"

namespace {

using namespace holdfast;
using namespace holdfast::core;

/// A scheduler with workers that finish what they are sent, in turn, each item in `run_time` of simulated time.
class Driver {
 public:
  explicit Driver(std::uint32_t workers) : scheduler_(config(workers)) {
    scheduler_.open(now_);
    for (WorkerId worker = 1; worker <= workers; ++worker) scheduler_.worker_ready(worker, now_);
    pull();
  }
  void submit(std::uint64_t items, std::uint64_t chunk_size) {
    JobSpec spec;
    spec.items = items;
    spec.chunk_size = chunk_size;
    (void)scheduler_.submit(spec, now_);  // its id is not needed: all is run to the end
    pull();
  }
  void run_all(Nanos run_time) {
    while (!sent_.empty()) {
      const Action chunk = sent_.front();
      sent_.pop_front();
      running_ = chunk.chunk;
      end_ = taken_.erase(chunk.chunk) != 0 ? 0 : static_cast<std::uint32_t>(chunk.count);
      for (std::uint32_t item = 0; item < end_; ++item) {
        begun_ = item + 1;
        now_ += run_time;
        benchmark::DoNotOptimize(scheduler_.item_finished(chunk.worker, chunk.chunk, item, false, run_time, now_));
        if (scheduler_.has_actions()) pull();
      }
    }
  }
  std::uint64_t unsettled() const { return scheduler_.unsettled_in_all(); }

 private:
  static SchedulerConfig config(std::uint32_t workers) {
    SchedulerConfig made;
    made.workers = workers;
    return made;
  }
  void pull() {
    do {
      scheduler_.take_actions(actions_);
      for (const Action& action : actions_) {
        if (action.kind == Action::Kind::send) sent_.push_back(action);
        if (action.kind == Action::Kind::take_back) take_back(action);
      }
    } while (scheduler_.has_actions());
  }

  void take_back(const Action& action) {
    if (action.chunk == running_) {
      end_ = begun_;
    } else {
      taken_.insert(action.chunk);
    }
    scheduler_.taken_back(action.worker, action.chunk, action.chunk == running_ ? end_ : 0, now_);
  }

  Time now_{1};
  Scheduler scheduler_;
  std::vector<Action> actions_;
  std::deque<Action> sent_;
  ChunkId running_ = 0;
  std::uint32_t begun_ = 0;
  std::uint32_t end_ = 0;
  std::unordered_set<ChunkId> taken_;  // sent, and taken back whole
};

// Arguments: workers, items per chunk.
void map_of_trivial_items(benchmark::State& state) {
  constexpr std::uint64_t kItems = 200'000;
  Driver driver(static_cast<std::uint32_t>(state.range(0)));
  for (auto _ : state) {
    driver.submit(kItems, static_cast<std::uint64_t>(state.range(1)));
    driver.run_all(std::chrono::microseconds(1));
  }
  if (driver.unsettled() != 0) state.SkipWithError("items were left over");
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(kItems));
}
BENCHMARK(map_of_trivial_items)->ArgsProduct({{2, 64, 1024}, {1, 100, 12'500}});

// Many jobs of one item each, all submitted before the first has run (apply_async).
void jobs_of_one_item(benchmark::State& state) {
  constexpr int kJobs = 20'000;
  Driver driver(static_cast<std::uint32_t>(state.range(0)));
  for (auto _ : state) {
    for (int i = 0; i < kJobs; ++i) driver.submit(1, 1);
    driver.run_all(std::chrono::microseconds(1));
  }
  if (driver.unsettled() != 0) state.SkipWithError("items were left over");
  state.SetItemsProcessed(state.iterations() * kJobs);
}
BENCHMARK(jobs_of_one_item)->Arg(2)->Arg(64);

}  // namespace

BENCHMARK_MAIN();
