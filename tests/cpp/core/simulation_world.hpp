// What: the world around the scheduler in the simulation: users, worker processes with their rings, and the pool that carries
// actions out. It plays events; each is a kind and four numbers that are read relative to the present state ("worker number
// a modulo the living ones"), so that any subsequence of a story is a story again and can be shrunk. Every call is told to the
// model first; after every event the model and check_workers() judge.
//
// Ring semantics: a worker runs its chunks in order, items in order, one at a time; begun items cannot be taken back, committed
// results are handed in later (or when its death is noticed, before worker_died); a kill takes effect some time after it was ordered.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "core/scheduler.hpp"
#include "core/simulation_model.hpp"

namespace holdfast::core::simulation {

// clang-format off
enum class EventKind : std::uint8_t {
  submit, extend, close_input, cancel, forget, close, terminate, resize,          // the users
  ready, start_failed, begin, finish, work, die, leave,                           // the worker processes
  hand_in, started_news, death_news, tick, nonsense,                              // what the pool notices
};
// clang-format on
inline constexpr int kEventKinds = 20;
const char* to_string(EventKind kind);

struct Event {
  EventKind kind = EventKind::tick;
  std::uint32_t a = 0, b = 0, c = 0, d = 0;
  Nanos wait{0};  // time that passes before it
};

/// Deliberate faults of the world, for the test that the simulation can fail at all and that it shrinks.
enum class Sabotage : std::uint8_t { none, drop_a_settle, hand_in_twice, forget_unbegun };

struct Setup {
  SchedulerConfig config;
  bool lazy_actions = false;  // the pool takes actions after a batch of results, not after each
  bool stay_open = false;     // the end of the story drains the jobs before it closes the pool
  Sabotage sabotage = Sabotage::none;
};

struct ChunkModel {
  ChunkId id = 0;
  JobId job = 0;
  ItemIndex first = 0;
  std::uint32_t end = 0;  // as the chunk word: items [0, end) may be begun
  std::uint32_t begun = 0;
  std::uint32_t handed = 0;  // results that the scheduler has been given
};

struct Committed {
  ChunkId chunk = 0;
  std::uint32_t item = 0;
  bool raised = false;
  Nanos run_time{0};
};

struct WorkerModel {
  WorkerId id = 0;
  bool ready = false;
  bool dead = false;    // the process; the scheduler learns of it by death_news
  bool closed = false;  // retire_worker was given
  bool kill_ordered = false;
  Cause cause = Cause::none;  // of its death, as the pool will report it
  Cause kill_cause = Cause::none;
  bool running = false;        // the last begun item is not finished
  Time started{0};             // of the running item
  Time progress{0};            // when the scheduler last heard of progress, or gave it its first chunk
  bool stall_excused = false;  // ... what was taken back since then leaves nothing to find
  ChunkId timed_chunk = 0;     // item_started was told for this item
  std::uint32_t timed_item = 0;
  Time timed_at = kNever;  // its limits
  Time soft_at = kNever;
  bool soft_told = false;   // it was interrupted
  std::uint64_t sent = 0;   // chunks
  std::uint64_t given = 0;  // the same, those that came back whole not counted
  std::uint64_t handed_in = 0;
  std::vector<ChunkModel> chunks;    // in flight, in order
  std::vector<Committed> committed;  // not handed in, in order
};

/// What a run has met: a simulation that never gets to a corner proves nothing about it (simulation_test.cpp asks).
struct Seen {
  std::array<std::uint64_t, 9> outcomes{};  // items settled by action, by OutcomeKind
  std::array<std::uint64_t, 5> verdicts{};
  std::array<std::uint64_t, 9> actions{};
  std::array<std::uint64_t, 5> ends{};  // stories, by the pool's last state
  std::uint64_t timeout_kills = 0;
  Scheduler::Counters counters{};
  void add(const Seen& other);
};

class World {
 public:
  explicit World(const Setup& setup);

  /// False: a promise was broken; see error().
  bool play(const Event& event);
  /// Everybody behaves from now on: everything must be settled, and all workers gone, in bounded steps.
  bool finish();
  const std::string& error() const { return model_.error; }
  bool pool_over() const { return model_.ended(); }
  std::uint64_t steps() const { return steps_; }  // calls of the scheduler that deliver an event
  Seen seen() const;
  /// Writes each event, action and verdict into `log` (for a person; only for short stories).
  void tell(std::string* log) { log_ = log; }

 private:
  // simulation_world.cpp: the events
  void play_user(const Event& event);
  void play_process(const Event& event);
  void play_pool(const Event& event);
  void submit(const Event& event);
  void cancel(const Event& event);
  void nonsense(const Event& event);
  WorkerModel* pick(std::uint32_t number, bool (*wanted)(const WorkerModel&));
  JobId pick_job(std::uint32_t number) const;
  void start_failed(WorkerModel& worker);
  bool begin(WorkerModel& worker, bool racing = false);
  void commit(WorkerModel& worker, bool raised, Nanos run_time);
  void die(WorkerModel& worker, Cause cause);
  void hand_in(WorkerModel& worker, std::size_t most);
  void tell_started(WorkerModel& worker);
  void death_news(WorkerModel& worker);
  void tick(Time now);
  bool behave();

  // simulation_actions.cpp: the actions and what must be true of workers
  void carry_out();
  void do_send(const Action& action);
  void do_take_back(const Action& action);
  void do_start(const Action& action);
  void do_retire(const Action& action);
  void do_kill(const Action& action);
  void do_soft_interrupt(const Action& action);
  void check_workers();
  void check_worker(const WorkerModel& worker);
  void check_idle_hands(bool somebody_idle);
  bool is_idle(const WorkerModel& worker) const;
  static const ChunkModel* last_begun(const WorkerModel& worker);
  WorkerModel* find(WorkerId id);
  bool named(const Action& action, WorkerModel*& worker);
  Scheduler& call() {
    ++steps_;
    return scheduler_;
  }
  void say(const std::string& line) {
    if (log_ != nullptr) *log_ += line + "\n";
  }
  void fail(const std::string& what) { model_.fail(what); }

  Setup setup_;
  Scheduler scheduler_;
  Model model_;
  std::vector<WorkerModel> workers_;  // those whose end the scheduler does not know yet
  std::vector<Action> actions_;
  Time now_{1000};
  bool ticked_ = false;            // the present event is a tick
  bool memory_was_short_ = false;  // a worker was killed for lack of memory, under a memory gate: idle ones may have to wait
  WorkerId last_worker_ = 0;
  ChunkId last_chunk_ = 0;
  std::uint64_t dice_ = 1;  // for races inside an event; a fixed sequence
  std::uint64_t steps_ = 0;
  std::uint64_t settles_ = 0;
  Seen seen_;
  bool told_end_ = false;  // pool_broken or pool_aborted was given
  std::string* log_ = nullptr;
};

}  // namespace holdfast::core::simulation
