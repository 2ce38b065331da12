// What: the events of the simulated world (see simulation_world.hpp).
#include "core/simulation_world.hpp"

#include <algorithm>
#include <array>

#include "core/retry.hpp"

namespace holdfast::core::simulation {

const char* to_string(EventKind kind) {
  static constexpr std::array<const char*, kEventKinds> kNames{
      "submit", "extend", "close_input", "cancel", "forget", "close",   "terminate",    "resize",     "ready", "start_failed",
      "begin",  "finish", "work",        "die",    "leave",  "hand_in", "started_news", "death_news", "tick",  "nonsense"};
  return kNames[static_cast<std::size_t>(kind)];
}

namespace {

// Jobs of every kind. The numbers are small so that limits are met often.
JobSpec job_spec(const Event& event) {
  JobSpec spec;
  spec.open = event.a % 4 == 0;
  spec.items = event.a % 7 == 1 ? 20 + event.b % 60 : event.b % 9;
  static constexpr std::array<std::uint64_t, 6> kChunks{1, 1, 2, 3, 7, 1000};
  spec.chunk_size = kChunks[event.a / 32 % 6];
  Policies& policies = spec.policies;
  const auto policy = [](std::uint32_t bits) {  // abort ends the story, so it is rare
    return bits % 16 == 15 && bits / 16 % 4 == 0 ? OnFailure::abort : static_cast<OnFailure>(bits % 3);
  };
  policies.on_death = policy(event.c);
  policies.on_error = policy(event.c >> 4);
  policies.on_timeout = policy(event.c >> 8);
  policies.retry.max_retries = (event.c >> 12) % 4;
  policies.retry.backoff_initial = Nanos{(event.c >> 14) % 2 == 0 ? 0 : 1 + event.d % 5'000'000};
  policies.retry.backoff_factor = (event.c >> 15) % 2 == 0 ? 2.0 : 1.0;
  policies.retry.backoff_max = std::chrono::milliseconds(8);
  policies.retry.jitter = (event.c >> 16) % 2 == 0 ? 0.1 : 1.0;
  policies.retry.then = (event.c >> 17) % 32 == 15 ? OnFailure::abort : static_cast<OnFailure>((event.c >> 17) % 3);
  // Mostly everything, for ever; else every cause for itself, and times like those that items run and wait.
  policies.retry.on = (event.a >> 8) % 3 == 0 ? static_cast<std::uint32_t>(event.d) : Retry::kEverything;
  policies.retry.deadline = Nanos{(event.a >> 10) % 3 == 0 ? 1 + event.d % 3'000'000 : 0};
  policies.task_timeout = Nanos{(event.c >> 21) % 2 == 0 ? 1 + event.d % ((event.c >> 22) % 2 == 0 ? 2'000'000 : 200'000) : 0};
  const std::int64_t longest = policies.task_timeout > Nanos{0} ? policies.task_timeout.count() : 1'000'000;
  policies.soft_timeout = Nanos{(event.c >> 23) % 3 == 0 ? event.d / 7 % longest : 0};
  return spec;
}

Cause death_cause(std::uint32_t number) {
  static constexpr std::array<Cause, 8> kCauses{Cause::exit_code,  Cause::signal,         Cause::oom_killed,        Cause::memory_limit,
                                                Cause::time_limit, Cause::protocol_error, Cause::killed_by_unknown, Cause::unknown_status};
  // time_limit without an order of the scheduler cannot come from a right pool.
  return kCauses[number % 8] == Cause::time_limit ? Cause::signal : kCauses[number % 8];
}

Nanos run_time(std::uint32_t number) {  // from trivial to slow, some nonsense
  if (number % 31 == 0) return Nanos{-5};
  return Nanos{std::int64_t{1} << (number % 28)};
}

}  // namespace

World::World(const Setup& setup) : setup_(setup), scheduler_(setup.config) {
  model_.reset(setup.config);
  scheduler_.open(now_);
  carry_out();
}

bool World::play(const Event& event) {
  ticked_ = false;
  now_ += event.wait;
  if (log_ != nullptr) say(std::string(to_string(event.kind)) + " " + std::to_string(event.a) + " " + std::to_string(event.b));
  if (event.kind <= EventKind::resize) {
    play_user(event);
  } else if (event.kind <= EventKind::leave) {
    play_process(event);
  } else {
    play_pool(event);
  }
  carry_out();
  model_.event_over(scheduler_);
  check_workers();
  return model_.error.empty();
}

// --- users ----------------------------------------------------------------------------------------------------------------------

JobId World::pick_job(std::uint32_t number) const { return model_.active.empty() ? 0 : model_.active[number % model_.active.size()]; }

void World::submit(const Event& event) {
  if (model_.active.size() >= 8) return;
  const JobSpec spec = job_spec(event);
  model_.submitted(model_.jobs.size() + 1, spec);
  if (call().submit(spec, now_) != model_.jobs.size()) fail("submit gave an unexpected id");
}

void World::cancel(const Event& event) {
  const JobId id = pick_job(event.a);
  if (id == 0) return;
  const std::uint64_t items = model_.job(id)->items.size();
  const ItemIndex first = event.b % 3 == 0 ? 0 : event.b % (items + 2);
  const std::uint64_t count = event.c % 5 == 0 ? ~std::uint64_t{0} : event.c % (items + 2);
  const bool kill = (event.c >> 8) % 2 == 1;
  model_.cancelled(id, first, count, kill);
  call().cancel(id, first, count, kill, now_);
  if (log_ != nullptr)
    say("    job " + std::to_string(id) + " items " + std::to_string(first) + "+" + std::to_string(count) + (kill ? " kill" : ""));
}

void World::play_user(const Event& event) {
  const JobId id = pick_job(event.a);
  switch (event.kind) {
    case EventKind::submit: submit(event); break;
    case EventKind::extend:
      if (id != 0 && model_.job(id)->open && !(model_.ended() && model_.job(id)->forgotten)) {
        model_.extended(id, 1 + event.b % 20);
        call().extend(id, 1 + event.b % 20, now_);
      }
      break;
    case EventKind::close_input:
      if (id != 0 && model_.job(id)->open) {
        model_.job(id)->open = false;
        --model_.open_jobs;
        call().close_input(id, now_);
      }
      break;
    case EventKind::cancel: cancel(event); break;
    case EventKind::forget:
      if (id != 0) {
        model_.job(id)->forgotten = true;
        call().forget(id);
      }
      break;
    case EventKind::close:
      model_.closed();
      call().close(now_);
      break;
    case EventKind::terminate:
      model_.terminated();
      call().terminate(now_);
      break;
    default:
      model_.workers_wanted = 1 + event.a % 6;
      call().resize(model_.workers_wanted, now_);
      break;
  }
}

// --- worker processes -------------------------------------------------------------------------------------------------------------

WorkerModel* World::pick(std::uint32_t number, bool (*wanted)(const WorkerModel&)) {
  for (std::size_t i = 0; i < workers_.size(); ++i) {
    WorkerModel& worker = workers_[(number + i) % workers_.size()];
    if (wanted(worker)) return &worker;
  }
  return nullptr;
}

bool World::begin(WorkerModel& worker, bool racing) {
  for (ChunkModel& chunk : worker.chunks) {
    if (chunk.begun == chunk.end) continue;
    ++chunk.begun;
    worker.running = true;
    worker.started = now_;
    // Racing with a cancel whose take_back is still to be answered it may; after that event never.
    if (!racing && model_.job(chunk.job)->items[chunk.first + chunk.begun - 1].cancel && !model_.ended())
      fail("a cancelled item was begun");
    return true;
  }
  return false;
}

void World::commit(WorkerModel& worker, bool raised, Nanos time) {
  for (std::size_t i = worker.chunks.size(); i > 0; --i) {
    const ChunkModel& chunk = worker.chunks[i - 1];
    if (chunk.begun == 0) continue;
    worker.committed.push_back({chunk.id, chunk.begun - 1, raised, time});
    break;
  }
  worker.running = false;
}

void World::die(WorkerModel& worker, Cause cause) {
  worker.dead = true;
  worker.cause = cause;
}

void World::start_failed(WorkerModel& worker) {
  say("    start failed: worker " + std::to_string(worker.id));
  // One that had been retired before it was ready is missed by nobody.
  if (!worker.closed) model_.start_failed(now_);
  const WorkerId id = worker.id;
  workers_.erase(workers_.begin() + (&worker - workers_.data()));
  call().worker_start_failed(id, now_);
}

void World::play_process(const Event& event) {
  WorkerModel* worker = nullptr;
  switch (event.kind) {
    case EventKind::ready:
      worker = pick(event.a, [](const WorkerModel& w) { return !w.ready; });
      if (worker == nullptr) break;
      worker->ready = true;
      model_.worker_ready();
      call().worker_ready(worker->id, now_);
      break;
    case EventKind::start_failed:
      worker = pick(event.a, [](const WorkerModel& w) { return !w.ready; });
      if (worker != nullptr) start_failed(*worker);
      break;
    case EventKind::begin:
      worker = pick(event.a, [](const WorkerModel& w) { return !w.dead && !w.running && !w.chunks.empty(); });
      if (worker != nullptr) (void)begin(*worker);
      break;
    case EventKind::finish:
      worker = pick(event.a, [](const WorkerModel& w) { return !w.dead && w.running; });
      if (worker != nullptr) commit(*worker, event.b % 3 == 0, run_time(event.c));
      break;
    case EventKind::work:  // several items in a row, then what it committed is handed in
      worker = pick(event.a, [](const WorkerModel& w) { return !w.dead && !w.chunks.empty(); });
      if (worker == nullptr) break;
      for (std::uint32_t i = 0; i <= event.b % 12; ++i) {
        if (!worker->running && !begin(*worker)) break;
        commit(*worker, (event.c >> i) % 8 == 0, run_time(event.c + i));
      }
      hand_in(*worker, event.d % 20);
      break;
    case EventKind::die:
      worker = pick(event.a, [](const WorkerModel& w) { return w.ready && !w.dead && (w.running || w.kill_ordered); });
      if (worker == nullptr || event.b % 4 == 0) worker = pick(event.a, [](const WorkerModel& w) { return w.ready && !w.dead; });
      if (worker == nullptr) break;
      if (worker->running && event.b / 4 % 2 == 0) {  // just after a commit, perhaps with the next item begun
        commit(*worker, false, run_time(event.c));
        if (event.b / 8 % 2 == 0) (void)begin(*worker);
      }
      die(*worker, worker->kill_ordered ? worker->kill_cause : death_cause(event.c));
      break;
    default:  // leave: a retired worker that has finished what it held
      worker = pick(event.a, [](const WorkerModel& w) {
        return w.ready && !w.dead && w.closed && !w.running && (w.chunks.empty() || w.chunks.back().begun == w.chunks.back().end);
      });
      if (worker != nullptr) die(*worker, Cause::stopped_by_pool);
      break;
  }
}

// --- what the pool notices ----------------------------------------------------------------------------------------------------------

void World::hand_in(WorkerModel& worker, std::size_t most) {
  const WorkerId id = worker.id;
  for (std::size_t n = 0; n < most; ++n) {
    WorkerModel* now = find(id);  // carrying out actions may move workers
    if (now == nullptr || now->committed.empty() || !model_.error.empty()) return;
    const Committed result = now->committed.front();
    now->committed.erase(now->committed.begin());
    ChunkModel& chunk = now->chunks.front();
    if (chunk.id != result.chunk || chunk.handed != result.item) return fail("the world itself is wrong: results out of order");
    const Verdict right = model_.result(chunk.job, chunk.first + result.item, result.raised, now_);
    ++chunk.handed;
    ++now->handed_in;
    now->progress = now_;
    now->stall_excused = false;
    if (chunk.handed == chunk.end) now->chunks.erase(now->chunks.begin());
    const Verdict verdict = call().item_finished(id, result.chunk, result.item, result.raised, result.run_time, now_);
    ++seen_.verdicts[static_cast<std::size_t>(verdict)];
    if (log_ != nullptr) {
      say("    worker " + std::to_string(id) + " chunk " + std::to_string(result.chunk) + " item " + std::to_string(result.item) +
          (result.raised ? " raised" : " done") + ", verdict " + std::to_string(static_cast<int>(verdict)));
    }
    if (verdict != right)
      return fail("verdict " + std::to_string(static_cast<int>(verdict)) + ", right is " + std::to_string(static_cast<int>(right)));
    if (setup_.sabotage == Sabotage::hand_in_twice && result.run_time > Nanos{100'000'000}) {
      if (call().item_finished(id, result.chunk, result.item, false, Nanos{1}, now_) != right) return fail("handed in twice");
    }
    if (!setup_.lazy_actions) carry_out();
  }
}

void World::tell_started(WorkerModel& worker) {
  const ChunkModel* chunk = last_begun(worker);
  if (chunk == nullptr || !worker.running || worker.kill_ordered) return;
  const Policies& policies = model_.job(chunk->job)->spec.policies;
  if ((policies.task_timeout > Nanos{0} || policies.soft_timeout > Nanos{0}) && !model_.ended()) {
    const bool known = worker.timed_chunk == chunk->id && worker.timed_item == chunk->begun - 1;
    if (!known) worker.soft_told = false;
    worker.timed_chunk = chunk->id;
    worker.timed_item = chunk->begun - 1;
    worker.timed_at = policies.task_timeout > Nanos{0} ? worker.started + policies.task_timeout : kNever;
    worker.soft_at = policies.soft_timeout > Nanos{0} ? worker.started + policies.soft_timeout : kNever;
  }
  call().item_started(worker.id, chunk->id, chunk->begun - 1, worker.started);
}

void World::death_news(WorkerModel& seen) {
  const WorkerId id = seen.id;
  hand_in(seen, ~std::size_t{0});
  WorkerModel* worker = find(id);
  if (worker == nullptr || !model_.error.empty()) return;
  const WorkerModel dead = *worker;
  workers_.erase(workers_.begin() + (worker - workers_.data()));
  std::vector<Running> begun;
  const ChunkModel* lost = nullptr;
  for (const ChunkModel& chunk : dead.chunks) {
    begun.push_back({chunk.id, chunk.begun});
    if (chunk.begun > chunk.handed) lost = &chunk;
    for (std::uint32_t i = chunk.begun; i < chunk.end; ++i) {
      if (setup_.sabotage != Sabotage::forget_unbegun) model_.unbegun(chunk.job, chunk.first + i);
    }
  }
  say("    dead: worker " + std::to_string(id));
  const bool counted =
      lost != nullptr && !model_.ended() && model_.job(lost->job)->items[lost->first + lost->begun - 1].state != ItemModel::State::settled;
  const bool left = dead.closed && dead.chunks.empty();
  const bool ours = dead.kill_ordered || left || dead.cause == Cause::stopped_by_pool;
  if (counted) {
    model_.lost(lost->job, lost->first + lost->begun - 1, dead.cause, id, now_);
  } else if (dead.handed_in == 0 && !ours) {
    model_.died_without_work(!dead.chunks.empty(), now_);
  }
  memory_was_short_ = memory_was_short_ || (setup_.config.memory_gate && dead.cause == Cause::oom_killed);
  call().worker_died(id, dead.cause, begun, now_);
}

void World::tick(Time now) {
  now_ = std::max(now_, now);
  ticked_ = true;
  model_.ticked(now_);
  call().tick(now_);
}

// Calls that no right pool makes: they must be refused and change nothing.
void World::nonsense(const Event& event) {
  const std::uint64_t unsettled = scheduler_.unsettled_in_all();
  const WorkerId worker = event.b % 2 == 0 || workers_.empty() ? 1'000'000 + event.b : workers_[event.c % workers_.size()].id;
  switch (event.a % 6) {
    case 0:
      if (call().item_finished(worker, last_chunk_ + 5, event.c % 3, false, Nanos{1}, now_) != Verdict::not_owned)
        fail("took a result that nobody owns");
      break;
    case 1: call().taken_back(worker, last_chunk_ + 5, event.c, now_); break;
    case 2: call().worker_died(1'000'000 + event.b, Cause::signal, {}, now_); break;
    case 3: call().cancel(1'000'000 + event.b, 0, event.c, true, now_); break;
    case 4: call().item_started(worker, last_chunk_ + 5, 0, now_); break;
    default: {
      const WorkerModel* busy = workers_.empty() ? nullptr : &workers_[event.c % workers_.size()];
      if (busy == nullptr || busy->chunks.empty()) break;
      // A result that is not the next one of its chunk.
      const std::uint32_t wrong = busy->chunks.front().handed + 1 + event.d % 3;
      if (call().item_finished(busy->id, busy->chunks.front().id, wrong, false, Nanos{1}, now_) != Verdict::not_owned)
        fail("took a result out of order");
      break;
    }
  }
  if (scheduler_.unsettled_in_all() != unsettled || scheduler_.has_actions()) fail("a senseless call had an effect");
}

void World::play_pool(const Event& event) {
  WorkerModel* worker = nullptr;
  switch (event.kind) {
    case EventKind::hand_in:
      worker = pick(event.a, [](const WorkerModel& w) { return !w.committed.empty(); });
      if (worker != nullptr) hand_in(*worker, 1 + event.b % 8);
      break;
    case EventKind::started_news:
      worker = pick(event.a, [](const WorkerModel& w) { return w.running; });
      if (worker != nullptr) tell_started(*worker);
      break;
    case EventKind::death_news:
      worker = pick(event.a, [](const WorkerModel& w) { return w.dead; });
      if (worker != nullptr) death_news(*worker);
      break;
    case EventKind::tick: {
      const WorkerModel* timed = pick(event.a, [](const WorkerModel& w) { return w.running && std::min(w.timed_at, w.soft_at) != kNever; });
      const bool soft = timed != nullptr && timed->soft_at != kNever && (timed->timed_at == kNever || event.d % 2 == 0);
      const Time limit = timed == nullptr ? kNever : soft ? timed->soft_at : timed->timed_at;
      const Time due = timed != nullptr && event.b % 4 == 1 ? limit : scheduler_.next_deadline();
      if (event.b % 3 != 0 && due != kNever && due > now_) {
        tick(due);
      } else {
        tick(now_ + Nanos{event.c % 3'000'000});
      }
      break;
    }
    default: nonsense(event); break;
  }
}

// --- the end of a story ---------------------------------------------------------------------------------------------------------------

/// One thing that a behaving world does next; false = there is nothing to do but to wait for time.
bool World::behave() {
  for (std::uint32_t i = 0; i < workers_.size(); ++i) {
    const WorkerModel& worker = workers_[i];
    Event event{EventKind::tick, i, 1, 1, 0};
    if (!worker.ready) {
      event.kind = EventKind::ready;
    } else if (worker.dead) {
      event.kind = EventKind::death_news;
    } else if (worker.kill_ordered || model_.ended()) {
      event = {EventKind::die, i, 0, 6, 0};  // b = 0: this very worker
    } else if (worker.running || (!worker.chunks.empty() && worker.chunks.back().begun < worker.chunks.back().end)) {
      event = {EventKind::work, i, 11, 0x77777777, 19};
    } else if (!worker.committed.empty()) {
      event = {EventKind::hand_in, i, 7, 0, 0};
    } else if (worker.closed) {
      event.kind = EventKind::leave;
    } else {
      continue;
    }
    (void)play(event);
    return true;
  }
  return false;
}

bool World::finish() {
  while (!model_.active.empty() && model_.open_jobs > 0 && model_.error.empty()) {
    for (std::uint32_t i = 0; i < model_.active.size(); ++i) {
      if (!model_.job(model_.active[i])->open) continue;
      (void)play({EventKind::close_input, i, 0, 0, 0});
      break;
    }
  }
  if (!setup_.stay_open) (void)play({EventKind::close, 0, 0, 0, 0});
  const std::uint64_t enough = steps_ + 10'000 + 200 * model_.unsettled;
  bool closed = !setup_.stay_open;
  while (model_.error.empty() && steps_ < enough) {
    if (behave()) continue;
    if (model_.unsettled == 0 && !closed) {
      closed = true;
      (void)play({EventKind::close, 0, 0, 0, 0});
      continue;
    }
    if (model_.unsettled == 0 && workers_.empty()) break;
    if (scheduler_.next_deadline() == kNever) {
      fail("nothing moves and no deadline is set: " + std::to_string(model_.unsettled) + " items wait for ever (P1)");
      break;
    }
    (void)play({EventKind::tick, 0, 1, 0, 0});
  }
  if (model_.error.empty() && (model_.unsettled != 0 || !workers_.empty())) fail("the end was not reached in bounded steps");
  if (model_.error.empty()) tick(scheduler_.next_deadline() == kNever ? now_ : scheduler_.next_deadline());
  if (model_.error.empty() && scheduler_.next_deadline() != kNever) fail("an empty pool still wants to be woken");
  ++seen_.ends[static_cast<std::size_t>(model_.state)];
  return model_.error.empty();
}

}  // namespace holdfast::core::simulation
