// What: the simulated pool carries out the scheduler's actions, and the promises about workers are checked (see
// simulation_world.hpp).
#include <algorithm>

#include "core/retry.hpp"
#include "core/simulation_world.hpp"

namespace holdfast::core::simulation {

namespace {

std::string worker_name(WorkerId id) { return "worker " + std::to_string(id); }

}  // namespace

WorkerModel* World::find(WorkerId id) {
  for (WorkerModel& worker : workers_) {
    if (worker.id == id) return &worker;
  }
  return nullptr;
}

// With lazy actions a worker's death may lie between the making of an action and its taking: then it is dropped.
bool World::named(const Action& action, WorkerModel*& worker) {
  worker = find(action.worker);
  if (worker == nullptr && !setup_.lazy_actions) fail("an action names " + worker_name(action.worker) + " which is gone (invariant 5)");
  return worker != nullptr;
}

void World::carry_out() {
  while (scheduler_.has_actions() && model_.error.empty()) {
    std::vector<Action> batch;
    batch.swap(actions_);
    scheduler_.take_actions(batch);
    for (const Action& action : batch) {
      if (!model_.error.empty()) break;
      ++seen_.actions[static_cast<std::size_t>(action.kind)];
      switch (action.kind) {
        case Action::Kind::start_worker: do_start(action); break;
        case Action::Kind::send: do_send(action); break;
        case Action::Kind::take_back: do_take_back(action); break;
        case Action::Kind::retire_worker: do_retire(action); break;
        case Action::Kind::kill_worker: do_kill(action); break;
        case Action::Kind::soft_interrupt: do_soft_interrupt(action); break;
        case Action::Kind::settle:
          if (log_ != nullptr) {
            say("    settle job " + std::to_string(action.settle.job) + " items " + std::to_string(action.settle.first) + "+" +
                std::to_string(action.settle.count) + " kind " + std::to_string(static_cast<int>(action.settle.kind)));
          }
          if (setup_.sabotage == Sabotage::drop_a_settle && ++settles_ == 3) break;
          seen_.outcomes[static_cast<std::size_t>(action.settle.kind)] += action.settle.count;
          model_.settled(action.settle);
          break;
        case Action::Kind::pool_broken:
        case Action::Kind::pool_aborted:
          say("    the pool is over");
          if (told_end_ || model_.unsettled != 0) fail("the pool's end was told twice or too early");
          if ((action.kind == Action::Kind::pool_broken) != (model_.state == Model::PoolState::broken)) fail("told the wrong end");
          told_end_ = true;
          break;
      }
    }
    batch.clear();
    batch.swap(actions_);  // keep the memory
  }
}

void World::do_start(const Action& action) {
  if (log_ != nullptr) say("    start " + worker_name(action.worker));
  if (action.worker <= last_worker_) return fail("a worker's id was used before");
  last_worker_ = action.worker;
  if (workers_.size() >= model_.workers_wanted) return fail("more processes than wanted");
  if (now_ < model_.restart_at) return fail("a start before its backoff was over (P12)");
  if (model_.ended() && !setup_.lazy_actions) return fail("a start after the end");  // lazy: made before an end of the same batch
  workers_.emplace_back();
  workers_.back().id = action.worker;
}

void World::do_send(const Action& action) {
  if (log_ != nullptr) {
    say("    send " + worker_name(action.worker) + " chunk " + std::to_string(action.chunk) + " job " + std::to_string(action.job) +
        " items " + std::to_string(action.first) + "+" + std::to_string(action.count));
  }
  if (action.chunk <= last_chunk_) return fail("a chunk's id was used before");
  last_chunk_ = action.chunk;
  WorkerModel* worker = nullptr;
  if (!named(action, worker)) return;
  if (model_.ended()) {
    // Made just before the end by an event of the same batch; the pool drops it, nobody will run it.
    if (!setup_.lazy_actions) fail("sent after the end");
    return;
  }
  if (!worker->ready || worker->closed || worker->kill_ordered) return fail("sent to a worker that takes nothing");
  if (worker->chunks.size() >= setup_.config.max_chunks_in_flight) return fail("more chunks in flight than allowed (invariant 5)");
  // Fairness: no job that came earlier (and was whole then) has items that were never sent.
  const JobModel* job = model_.job(action.job);
  if (job != nullptr && !job->spec.open && action.first < job->items.size() && !job->items[action.first].sent) {
    for (JobId id : model_.active) {
      if (id >= action.job) break;
      const JobModel& earlier = *model_.job(id);
      if (earlier.spec.open) continue;
      for (const ItemModel& item : earlier.items) {
        if (!item.sent && item.state == ItemModel::State::queued && !item.cancel) return fail("a later job was served first");
      }
    }
  }
  model_.sent(worker->id, action.job, action.first, action.count, now_);
  if (worker->chunks.empty()) {
    worker->progress = now_;
    worker->stall_excused = false;
  }
  ++worker->sent;
  ++worker->given;
  worker->chunks.push_back({action.chunk, action.job, action.first, static_cast<std::uint32_t>(action.count), 0, 0});
}

// The answer races with the worker: it may begin or finish something just before its word is changed.
void World::do_take_back(const Action& action) {
  WorkerModel* worker = nullptr;
  if (!named(action, worker)) return;
  const std::uint64_t dice = next_random(dice_);
  if (!worker->dead && (dice & 3) == 0) {
    if (worker->running) commit(*worker, (dice & 16) != 0, Nanos{1000});
    if ((dice & 4) != 0) (void)begin(*worker, /*racing=*/true);
  }
  if (!worker->dead && (dice & 0xff00) == 0) die(*worker, Cause::killed_by_unknown);
  const auto it = std::find_if(worker->chunks.begin(), worker->chunks.end(), [&](const ChunkModel& c) { return c.id == action.chunk; });
  if (it == worker->chunks.end()) {
    if (!setup_.lazy_actions) fail("take_back of a chunk that is not there");
    return;
  }
  if (log_ != nullptr) {
    say("    take_back " + worker_name(worker->id) + " chunk " + std::to_string(it->id) + ": " + std::to_string(it->begun) + " of " +
        std::to_string(it->end) + " stay");
  }
  const std::uint32_t end = it->begun;
  for (std::uint32_t i = end; i < it->end; ++i) model_.unbegun(it->job, it->first + i);
  if (it->begun == it->end) worker->stall_excused = true;
  it->end = end;
  const ChunkId chunk = it->id;
  const WorkerId id = worker->id;
  if (end == it->handed) {
    if (end == 0) --worker->given;
    worker->chunks.erase(it);
  }
  call().taken_back(id, chunk, end, now_);
}

void World::do_retire(const Action& action) {
  if (log_ != nullptr) say("    retire " + worker_name(action.worker));
  WorkerModel* worker = nullptr;
  if (!named(action, worker)) return;
  if (worker->closed) return fail("retired twice");
  const std::uint64_t limit = setup_.config.max_chunks_per_worker;
  const auto staying = static_cast<std::size_t>(
      std::count_if(workers_.begin(), workers_.end(), [](const WorkerModel& w) { return !w.closed && !w.kill_ordered; }));
  const bool used_up = limit != 0 && worker->sent >= limit;  // not `given`: a chunk may have come back since the order was made
  const bool closing = scheduler_.state() == Model::PoolState::closed && model_.all_done();
  const bool too_late = setup_.lazy_actions && model_.ended();  // made before an end of the same batch
  if (!too_late && !used_up && !closing && staying <= model_.workers_wanted) fail("retired " + worker_name(worker->id) + " for no reason");
  worker->closed = true;
}

const ChunkModel* World::last_begun(const WorkerModel& worker) {
  for (std::size_t i = worker.chunks.size(); i > 0; --i) {
    const ChunkModel& chunk = worker.chunks[i - 1];
    if (chunk.begun > chunk.handed) return &chunk;
  }
  return nullptr;
}

void World::do_kill(const Action& action) {
  if (log_ != nullptr) say("    kill " + worker_name(action.worker) + " for " + std::to_string(static_cast<int>(action.cause)));
  WorkerModel* worker = nullptr;
  if (!named(action, worker)) return;
  if (worker->kill_ordered) return fail("killed twice");
  const ChunkModel* chunk = last_begun(*worker);
  if (chunk == nullptr) {
    // Its result was handed in by the same batch: the kill comes too late and hits nobody's item.
    if (!setup_.lazy_actions) return fail("killed a worker that runs nothing");
  } else if (action.cause == Cause::time_limit) {
    const bool right = chunk->id == worker->timed_chunk && chunk->begun == worker->timed_item + 1 && now_ >= worker->timed_at;
    if (!right) return fail("killed for a time limit that its item has not passed");
  } else if (action.cause == Cause::stopped_by_pool) {
    if (!model_.job(chunk->job)->items[chunk->first + chunk->begun - 1].kill) return fail("killed under an innocent item");
  } else {
    return fail("killed for an unknown cause");
  }
  for (const ChunkModel& other : worker->chunks) {
    if (other.begun < other.end) return fail("killed before all that had not begun was taken back");
  }
  worker->kill_ordered = true;
  if (action.cause == Cause::time_limit) ++seen_.timeout_kills;
  worker->kill_cause = action.cause;
  // Mostly SIGKILL comes in time. If not, the worker may still finish its item, or die of something else.
  if (!worker->dead && next_random(dice_) % 3 != 0) die(*worker, action.cause);
}

// It is for the item that runs by what the scheduler has been told, for that one alone, and once.
void World::do_soft_interrupt(const Action& action) {
  if (log_ != nullptr) {
    say("    soft interrupt " + worker_name(action.worker) + " chunk " + std::to_string(action.chunk) + " item " +
        std::to_string(action.first));
  }
  WorkerModel* worker = nullptr;
  if (!named(action, worker)) return;
  if (worker->kill_ordered) return fail("interrupted a worker that is being killed");
  const auto of_item = [&](const ChunkModel& c) { return c.id == action.chunk && c.handed <= action.first && action.first < c.begun; };
  const auto chunk = std::find_if(worker->chunks.begin(), worker->chunks.end(), of_item);
  if (chunk == worker->chunks.end()) {
    if (!setup_.lazy_actions) fail("interrupted an item that is over");  // lazy: its result was handed in by the same batch
    return;
  }
  if (action.chunk != worker->timed_chunk || action.first != worker->timed_item || now_ < worker->soft_at)
    return fail("interrupted an item that has not passed its soft limit");
  if (worker->soft_told) return fail("interrupted an item twice");
  if (action.limit != model_.job(chunk->job)->spec.policies.soft_timeout) return fail("named another soft limit");
  worker->soft_told = true;
  // It comes too late, or the item lets it out, or catches it: then it may return, go on, or hang until its hard limit.
  const bool in_time = worker->running && chunk->begun == action.first + 1;
  const std::uint64_t dice = next_random(dice_) % 4;
  if (in_time && !worker->dead && dice != 0) commit(*worker, /*raised=*/dice != 1, Nanos{1000});
}

// --- what must be true after each event -----------------------------------------------------------------------------------------

bool World::is_idle(const WorkerModel& worker) const {
  return worker.ready && !worker.closed && !worker.kill_ordered && worker.chunks.empty();
}

void World::check_workers() {
  if (!model_.error.empty()) return;
  if (scheduler_.live_workers() != workers_.size()) return fail("live_workers is wrong");
  bool somebody_idle = false;
  for (const WorkerModel& worker : workers_) {
    check_worker(worker);
    somebody_idle = somebody_idle || is_idle(worker);
  }
  if (model_.ended()) return;
  // Behind a memory gate items may wait for those at work to finish; but never for nobody.
  const bool somebody_works = std::any_of(workers_.begin(), workers_.end(), [](const WorkerModel& each) { return !each.chunks.empty(); });
  if (somebody_idle && model_.queued > 0 && !(memory_was_short_ && somebody_works)) fail("an item waits although a worker is idle");
  const bool needed = !(model_.state == Model::PoolState::closed && model_.all_done());
  if (ticked_ && needed && workers_.size() < model_.workers_wanted && now_ >= model_.restart_at)
    fail("a worker is missing and none was started");
  if (ticked_) check_idle_hands(somebody_idle);
}

void World::check_worker(const WorkerModel& worker) {
  const std::uint64_t limit = setup_.config.max_chunks_per_worker;
  if (limit != 0 && worker.given > limit) fail("more chunks than maxtasksperchild");
  if (model_.ended()) return;
  const bool over = model_.state == Model::PoolState::closed && model_.all_done();
  if (over && !worker.closed && !worker.kill_ordered) fail("all is done, and a worker was not retired");
  const ChunkModel* chunk = last_begun(worker);
  if (chunk == nullptr || worker.kill_ordered) return;
  const ItemModel& item = model_.job(chunk->job)->items[chunk->first + chunk->begun - 1];
  // A kill is owed from the moment of the cancel() or of the tick. An item handed out again after such a moment cannot be begun.
  if (item.kill && item.state != ItemModel::State::settled) fail("a cancelled item runs on although its kill was asked for");
  const bool timed = chunk->id == worker.timed_chunk && chunk->begun == worker.timed_item + 1;
  if (timed && ticked_ && now_ >= worker.timed_at) fail("an item runs on beyond its time limit");
  if (timed && ticked_ && now_ >= worker.soft_at && !worker.soft_told) fail("an item runs on beyond its soft limit and was not told");
}

// Nobody sits idle beside a worker that has sat in one item for long with others behind it. Behind a memory gate it may be for a while; but
// somebody must look again.
void World::check_idle_hands(bool somebody_idle) {
  if (!somebody_idle || (memory_was_short_ && scheduler_.next_deadline() != kNever)) return;
  for (const WorkerModel& worker : workers_) {
    if (worker.kill_ordered || worker.stall_excused || now_ < worker.progress + scheduler_.stall_of(worker.id)) continue;
    bool unbegun = false;
    for (const ChunkModel& chunk : worker.chunks) { unbegun = unbegun || chunk.begun < chunk.end; }
    if (unbegun) fail("a worker is idle, and items lie behind a long one at " + worker_name(worker.id));
  }
}

}  // namespace holdfast::core::simulation
