// What: the inside of the scheduler (see scheduler.hpp for its promises), spread over scheduler.cpp (the user's side, the pool's
// phases), scheduler_workers.cpp (the workers' side, failures) and scheduler_dispatch.cpp (who gets what, stealing, timers).
// Included by those three only.
//
// Cost: item_finished is O(1) whatever the number of workers, jobs and items; nothing is allocated per item. Only tick(), stealing
// and cancel() of items in flight look at workers one by one.
#pragma once

#include <queue>
#include <unordered_map>
#include <vector>

#include "core/job_table.hpp"
#include "core/memory_gate.hpp"
#include "core/retry.hpp"
#include "core/scheduler.hpp"
#include "core/worker_slot.hpp"

namespace holdfast::core {

/// An item that waits for its retry. Entries are not searched for: one whose item was cancelled meanwhile is recognised when due.
struct WaitingItem {
  Time due;
  std::uint64_t order;  // equal times: first in, first out, so that a seed gives one story
  JobId job;
  ItemIndex item;
  friend bool operator<(const WaitingItem& a, const WaitingItem& b) {  // std::priority_queue has the greatest on top
    return a.due != b.due ? a.due > b.due : a.order > b.order;
  }
};

enum class PoolEvent : std::uint8_t { close, terminate, abort, fail };
Scheduler::PoolState pool_step(Scheduler::PoolState state, PoolEvent event);

struct Scheduler::Impl {
  explicit Impl(const SchedulerConfig& given) : config(given), random(given.seed) {}

  SchedulerConfig config;
  PoolState state = PoolState::running;
  bool opened = false;
  JobTable jobs;
  ReadyLine line;
  PolicyTable policies;
  std::unordered_map<WorkerId, WorkerSlot> workers;  // those that are not gone; addresses are stable
  WorkerSlot* last_found = nullptr;                  // results come in batches of one worker
  WorkerSet idle{&WorkerSlot::idle_at};
  WorkerSet hungry{&WorkerSlot::hungry_at};        // busy, and have room for more (prefetch)
  WorkerSet stealable{&WorkerSlot::stealable_at};  // hold something that they have perhaps not begun
  std::size_t hungry_turn = 0;
  WorkerSlot* turn_of = nullptr;  // whose turn it is to be given work; nullptr = nobody's
  std::uint64_t turn_left = 0;    // how much more, ns of estimated work
  Time turn_until{0};             // the turn's end, where others are idle
  std::uint32_t stealing = 0;     // workers asked on behalf of idle ones; answers are due
  Time next_scan{0};              // no search for somebody to steal from before
  MemoryGate gate;
  std::vector<Action> actions;
  std::priority_queue<WaitingItem> waiting;

  WorkerId next_worker = 1;
  ChunkId next_chunk = 1;
  std::uint64_t next_ticket = 1;
  std::uint64_t next_wait = 1;
  std::uint64_t unsettled = 0;  // items, all jobs
  std::uint64_t open_jobs = 0;
  std::uint64_t limited_jobs = 0;  // with a time limit, soft or hard
  std::uint32_t failed_starts_in_row = 0;
  std::uint32_t barren_deaths_in_row = 0;  // ready, given work, gone before any item was begun
  std::uint32_t idle_deaths_in_row = 0;    // ready, gone without having run anything
  Time restart_at{0};                      // no worker is started before
  Time timers = kNever;                    // no timer of a worker is due before; may be too early, never too late
  std::uint32_t estimate_ns = 0;           // moving average over all items; 0 = nothing measured
  std::uint64_t random;
  std::uint64_t to_replace = 0;  // workers that have gone and were not replaced yet
  Counters count{};

  bool ended() const { return state != PoolState::running && state != PoolState::closed; }
  bool any_ready() const { return !line.empty() || jobs.any_queued(); }
  bool all_done() const { return unsettled == 0 && open_jobs == 0; }
  /// How long a worker may sit in one item, or take to begin one, before others get what it holds. Twice as long each time that an item was
  /// taken from it unbegun: where every worker is slower than that to begin (more of them than the machine can run), they would take
  /// the same item from each other for ever.
  Nanos stall(const WorkerSlot& worker) const { return config.target_in_flight * (10U << std::min(worker.false_starts, kMostDoublings)); }
  static constexpr std::uint32_t kMostDoublings = 5;
  Nanos turn() const { return config.target_in_flight / 32; }
  /// How long a turn's worth of work may take before idle workers get what lies behind the first item of it.
  Nanos patience() const { return config.target_in_flight / 2; }

  // scheduler.cpp
  OutcomeKind end_kind() const;
  void settle_run(Job& job, Run run, OutcomeKind kind);
  void settle_failed(Job& job, ItemIndex item, OutcomeKind kind, OutcomeKind failure, WorkerId worker, std::uint32_t runs);
  void count_settled(Job& job, Run run);
  void release_if_over(Job& job);
  void release_policy(std::uint32_t policy);
  Job* find_job(JobId id);
  void settle_everything(OutcomeKind kind);
  void end(PoolEvent event);
  void cancel_ready(Job& job, Run range);
  void cancel_in_flight(Job& job, Run range, bool kill);
  void lift_cancel_marks(Job& job);
  void react(Time now);  // the end of every event: send, finish closing, start workers

  // scheduler_workers.cpp
  WorkerSlot* find_worker(WorkerId id);
  bool step(WorkerSlot& worker, WorkerEvent event);  // false = impossible, nothing done
  void start_workers(Time now);
  void retire(WorkerSlot& worker);
  void retire_everybody();
  void retire_surplus();
  void kill(WorkerSlot& worker, Cause cause);
  void forget_worker(WorkerSlot& worker);
  void failed_start(Time now);
  void worker_ended(WorkerSlot& worker, Cause cause, const std::vector<Running>& begun, Time now);
  void account_death(const WorkerSlot& worker, Cause cause, bool lost, bool had_chunks, Time now);
  void delay_starts(std::uint32_t failures, Time now);
  void item_lost(Job& job, ItemIndex item, Cause cause, WorkerId worker, Time now);
  Verdict items_finished(WorkerId id, ChunkId chunk_id, std::uint32_t first, std::uint32_t items, bool raised, Nanos run_time, Time now);
  Verdict judge(Job& job, Run run, bool raised, Time now);
  void learn(Job& job, Nanos run_time);
  static Nanos since_first_failure(const Job& job, ItemIndex item, Time now);
  void run_again(Job& job, ItemIndex item, std::uint32_t runs, Time now);

  // scheduler_dispatch.cpp
  void refresh(WorkerSlot& worker);  // its places in idle, hungry and stealable, after any change
  void dispatch(Time now);
  Job& first_ready();
  WorkerSlot& next_idle() const;
  bool in_turn(Time now) const;
  void send(WorkerSlot& worker, Time now);
  std::uint32_t working() const;
  void short_of_memory(const WorkerSlot& dead, std::uint32_t runs, Time now);
  void dispatch_gated(Time now);
  std::uint32_t estimate_for(const Job& job) const;
  std::uint64_t chunk_length(const Job& job) const;
  void make_ready(Job& job, Run run);
  void queue_again(Job& job, Run run);  // taken back or never begun: ready, or cancelled if that was asked for
  void next_turn(Job& job);
  bool may_steal(Time now) const { return !idle.empty() && !stealable.empty() && stealing == 0 && now >= next_scan; }
  void steal(Time now);
  bool worth_stealing(const WorkerSlot& worker) const;
  bool is_stuck(const WorkerSlot& worker, Time now) const { return now >= after(worker.last_progress, stall(worker)); }
  bool is_late(const WorkerSlot& worker, Time now) const {
    return worker.crowded && worker.chunks > 1 && now >= after(worker.last_progress, patience());
  }
  void ask_back(WorkerSlot& worker, std::uint32_t from, std::uint32_t most = ~std::uint32_t{0});
  void ask_all_back(WorkerSlot& worker);
  void give_back(WorkerSlot& worker, Chunk& chunk, std::uint32_t end);
  void drop_chunk(WorkerSlot& worker, const Chunk& chunk);
  void answers_complete(WorkerSlot& worker);
  void check_running(WorkerSlot& worker);
  void soft_interrupt(WorkerSlot& worker);
  void run_timers(Time now);
  void watch(Time due) { timers = due < timers ? due : timers; }
};

}  // namespace holdfast::core
