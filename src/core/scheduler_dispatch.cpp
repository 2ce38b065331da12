// What: who gets which items and when: sending with prefetch, stealing from behind long items, timers (see scheduler_impl.hpp).
#include <algorithm>

#include "core/scheduler_impl.hpp"

namespace holdfast::core {

namespace {

constexpr std::uint64_t kMostPerChunk = 0x7fffffff;  // a chunk's items are counted in 32 bits (ring/channel.hpp)

std::uint64_t ns(Nanos span) { return static_cast<std::uint64_t>(span.count()); }

std::uint32_t narrow(std::uint64_t value) { return static_cast<std::uint32_t>(std::min<std::uint64_t>(value, 0xffffffffU)); }

}  // namespace

// Hungry with a gap between starting and stopping: a worker is filled up when it is half empty, so that its ring is written and
// it is woken once per batch and not once per item.
void Scheduler::Impl::refresh(WorkerSlot& worker) {
  const std::uint64_t target = ns(config.target_in_flight);
  const bool checking = worker.check_timeout || worker.check_cancel;
  const bool is_idle = worker.state == WorkerState::idle && !checking;
  if (is_idle && worker.idle_at == WorkerSlot::kNowhere) next_scan = Time{0};
  idle.set(worker, is_idle);
  const bool was_hungry = worker.hungry_at != WorkerSlot::kNowhere;
  const bool room = was_hungry ? worker.chunks < config.max_chunks_in_flight && worker.load_ns < target
                               : worker.chunks <= config.max_chunks_in_flight / 2 && worker.load_ns <= target / 4 * 3;
  hungry.set(worker, worker.state == WorkerState::busy && !checking && !worker.stalled && room);
  // One chunk of one item counts too: it may not have begun, at a worker that is stopped (SIGSTOP) or has not got the processor.
  const bool has_more = worker.at_work() && worker.chunks > 0 && worker.answers_due == 0 && !worker.nothing_to_take;
  stealable.set(worker, has_more);
  if (has_more && !worker.stalled) watch(after(worker.last_progress, worker.crowded && worker.chunks > 1 ? patience() : stall(worker)));
}

// Whose turn it is, then idle workers, then hungry ones: few chunks are spread wide, many are stacked deep.
void Scheduler::Impl::dispatch(Time now) {
  if (!gate.open()) {
    gate.tick(config.workers, now);
    if (!gate.open()) return dispatch_gated(now);
  }
  while (any_ready()) {
    if (!in_turn(now)) {
      if (idle.empty() && hungry.empty()) return;
      turn_of = idle.empty() ? &hungry[hungry_turn++ % hungry.size()] : &next_idle();
      turn_left = ns(turn());
      turn_until = after(now, turn());
    }
    send(*turn_of, now);
  }
  if (may_steal(now)) steal(now);
}

// A turn is about as long as the wake-up of a process that sleeps, in work given and, while others are idle, in time. Tasks that are far
// shorter are so done as soon by the one that is awake already, and one task to each of many workers would wake them all for one task
// each, which costs the caller more than the task. What has not been measured to be short is one to a turn.
bool Scheduler::Impl::in_turn(Time now) const {
  if (turn_of == nullptr || turn_left == 0 || (!idle.empty() && now >= turn_until)) return false;
  return turn_of->hungry_at != WorkerSlot::kNowhere || turn_of->idle_at != WorkerSlot::kNowhere;
}

// The one that was busy last (its caches are warm), but not one from whom an unbegun item has just been taken back because it did not
// move, as long as there is another: it would get the same item again.
WorkerSlot& Scheduler::Impl::next_idle() const {
  for (std::size_t i = idle.size(); i > 0; --i) {
    if (!idle[i - 1].stalled) return idle[i - 1];
  }
  return idle.back();
}

// Nothing measured yet: a quarter of the target, so that a worker gets a few items at most, and one slow item cannot have many
// behind it. The average over all jobs is believed at once by jobs of one item (apply_async: each is a new job) and as an upper
// bound by others; being wrong costs little, for what lies behind a long item is taken back after stall(worker).
std::uint32_t Scheduler::Impl::estimate_for(const Job& job) const {
  if (job.estimate_ns != 0) return job.estimate_ns;
  const std::uint32_t careful = std::max(narrow(ns(config.target_in_flight) / 4), 1U);
  if (estimate_ns == 0) return careful;
  return job.items == 1 && !job.open ? estimate_ns : std::max(estimate_ns, careful);
}

// A job that was stolen from is near its end: chunks of half an equal share each, so that the workers end together and
// each steal halves what is left (otherwise two workers could take the same rest from each other again and again). Not below
// a grain that is worth a message.
std::uint64_t Scheduler::Impl::chunk_length(const Job& job) const {
  const std::uint64_t length = std::min(job.chunk_size, kMostPerChunk);
  if (!job.split) return length;
  const std::uint64_t shares = std::uint64_t{2} * config.workers;
  const std::uint64_t share = (job.ready() + shares - 1) / shares;
  const std::uint64_t grain = ns(config.target_in_flight) / 8 / estimate_for(job);
  return std::min(length, std::max({share, grain, std::uint64_t{1}}));
}

/// Workers that hold something: what they have not begun they may begin at any moment.
std::uint32_t Scheduler::Impl::working() const {
  return static_cast<std::uint32_t>(std::count_if(workers.begin(), workers.end(), [](const auto& each) { return each.second.chunks > 0; }));
}

/// Memory has run out: fewer at once from here on. All finish what they run, and give back what they have not begun.
void Scheduler::Impl::short_of_memory(const WorkerSlot& dead, std::uint32_t runs, Time now) {
  gate.killed(working(), runs, now);
  turn_of = nullptr;
  for (auto& [id, worker] : workers) {
    if (&worker != &dead && worker.state == WorkerState::busy) ask_back(worker, 0);
  }
}

/// One chunk each for as many as the gate allows, nothing ahead: what a worker has not begun should be free to go to whoever may work. What is held
/// back, ready or behind one who is stuck, comes up again when somebody finishes, or at the gate's next raise.
void Scheduler::Impl::dispatch_gated(Time now) {
  std::uint32_t busy = working();
  for (; any_ready() && !idle.empty() && busy < gate.allowed(); ++busy) send(next_idle(), now);
  if (idle.empty()) return;
  if (busy < gate.allowed() && may_steal(now)) steal(now);
  if (any_ready() || !stealable.empty()) watch(gate.next_raise());
}

/// Whose ticket is the oldest. Only when there is any.
Job& Scheduler::Impl::first_ready() {
  if (jobs.any_queued() && (line.empty() || jobs.first_queued().ticket < line.front().ticket))
    line.join(jobs.unqueue(jobs.first_queued().id));
  return line.front();
}

void Scheduler::Impl::send(WorkerSlot& worker, Time now) {
  Job& job = first_ready();
  const Run run = job.take_ready(chunk_length(job));
  Chunk chunk;
  chunk.id = next_chunk++;
  chunk.job = &job;
  chunk.first = run.first;
  chunk.count = chunk.end = static_cast<std::uint32_t>(run.count());
  chunk.estimate_ns = estimate_for(job);
  if (worker.chunks == 0) {
    worker.last_progress = now;
    worker.stalled = worker.crowded = false;
  } else if (!idle.empty()) {
    worker.crowded = true;
  }
  worker.push(chunk);
  worker.items_held += run.count();
  worker.load_ns += run.count() * chunk.estimate_ns;
  turn_left -= std::min(turn_left, run.count() * chunk.estimate_ns);
  job.in_flight += run.count();
  ++worker.chunks_given;
  worker.nothing_to_take = false;
  (void)step(worker, WorkerEvent::sent);  // idle or busy: never refused
  Action action;
  action.kind = Action::Kind::send;
  action.worker = worker.id;
  action.chunk = chunk.id;
  action.job = job.id;
  action.first = run.first;
  action.count = run.count();
  actions.push_back(action);
  if (!job.has_ready()) {
    line.leave(job);
  } else if (job.open && job.fresh.first >= job.turn_end && job.ready() == job.fresh.count()) {
    next_turn(job);
  }
  if (config.max_chunks_per_worker != 0 && worker.chunks_given >= config.max_chunks_per_worker) {
    retire(worker);
  } else {
    refresh(worker);
  }
}

// An endless input must not starve the jobs behind it: what it had when its turn came is sent, then it goes to the back.
void Scheduler::Impl::next_turn(Job& job) {
  line.leave(job);
  job.ticket = next_ticket++;
  job.turn_end = job.items;
  line.join(job);
}

void Scheduler::Impl::make_ready(Job& job, Run run) {
  if (run.empty()) return;
  job.make_ready(run);
  line.join(job);
}

void Scheduler::Impl::queue_again(Job& job, Run run) {
  while (!run.empty()) {
    const Run cut = job.rare ? job.rare->cancelled.first_within(run) : Run{};
    if (cut.empty()) {
      make_ready(job, run);
      return;
    }
    make_ready(job, {run.first, cut.first});
    settle_run(job, cut, OutcomeKind::cancelled);
    run.first = cut.end;
  }
}

// --- taking back ----------------------------------------------------------------------------------------------------------------

// Somebody is idle and nothing is queued: take from whoever has most lying before him. Of several chunks the later half, if that
// is worth the trouble; all but the first of one who got several in a turn and is still at it long after. The rest of an only chunk
// stays together, as the user cut it, unless it is known by measuring to be long; and everything is taken from one who has sat in one
// item for long, whatever was believed about it.
void Scheduler::Impl::steal(Time now) {
  WorkerSlot* victim = nullptr;
  for (std::size_t i = 0; i < stealable.size(); ++i) {
    WorkerSlot& worker = stealable[i];
    if (victim != nullptr && worker.load_ns <= victim->load_ns) continue;
    if (worth_stealing(worker) || is_late(worker, now) || is_stuck(worker, now)) victim = &worker;
  }
  if (victim == nullptr) {
    // Looking is O(workers), and at the end of a job it would be done for each item that finishes. So not again for a while, unless
    // something changes for the better (refresh: somebody becomes idle) or a stall timer fires.
    next_scan = after(now, config.target_in_flight / 4);
    return;
  }
  victim->stealing = true;
  victim->nothing_to_take = true;  // until an answer brings something
  ++stealing;
  if (is_stuck(*victim, now)) {
    ask_back(*victim, 0);
  } else if (is_late(*victim, now)) {
    ask_back(*victim, 1);
  } else {
    ask_back(*victim, victim->chunks / 2);
  }
  refresh(*victim);
}

bool Scheduler::Impl::worth_stealing(const WorkerSlot& worker) const {
  if (worker.chunks > 1) return worker.load_ns >= ns(config.target_in_flight) / 4;
  const Chunk& only = worker.at(0);
  return only.job != nullptr && only.job->estimate_ns != 0 &&
         std::uint64_t{only.end - only.done - 1} * only.job->estimate_ns >= ns(config.target_in_flight);
}

void Scheduler::Impl::ask_back(WorkerSlot& worker, std::uint32_t from, std::uint32_t most) {
  for (std::uint32_t i = from; i < worker.chunks && i - from < most; ++i) {
    Chunk& chunk = worker.at(i);
    if (chunk.asked_back) continue;
    chunk.asked_back = true;
    ++worker.answers_due;
    Action action;
    action.kind = Action::Kind::take_back;
    action.worker = worker.id;
    action.chunk = chunk.id;
    actions.push_back(action);
  }
}

// For a check (see check_running). Without a chunk there is no answer to wait for: a time limit whose item was taken back.
void Scheduler::Impl::ask_all_back(WorkerSlot& worker) {
  ask_back(worker, 0);
  if (worker.answers_due == 0) answers_complete(worker);
}

void Scheduler::taken_back(WorkerId id, ChunkId chunk_id, std::uint32_t end, Time now) {
  Impl& me = *impl_;
  WorkerSlot* worker = me.find_worker(id);
  Chunk* chunk = worker == nullptr ? nullptr : worker->find(chunk_id);
  if (chunk == nullptr || !chunk->asked_back) return;  // finished, or its worker died, before the answer
  me.give_back(*worker, *chunk, end);
  me.refresh(*worker);
  me.react(now);
}

// `end` is clamped: the number comes from a word that the worker can write. What it cannot do is make an item vanish.
void Scheduler::Impl::give_back(WorkerSlot& worker, Chunk& chunk, std::uint32_t end) {
  end = std::clamp(end, chunk.done, chunk.end);
  if (&chunk == &worker.at(0) && end == chunk.done && end < chunk.end) ++worker.false_starts;
  const Run run{chunk.first + end, chunk.first + chunk.end};
  chunk.end = end;
  chunk.asked_back = false;
  --worker.answers_due;
  worker.items_held -= run.count();
  worker.load_ns -= run.count() * chunk.estimate_ns;
  if (chunk.job != nullptr && !run.empty()) {
    Job& job = *chunk.job;
    job.in_flight -= run.count();
    count.taken_back += run.count();
    if (worker.stealing) {
      worker.nothing_to_take = false;
      job.split = true;
      // What was believed to be short is not: the others are one to a turn now, until short ones have been measured again.
      if (worker.crowded) estimate_ns = std::max(estimate_ns, narrow(ns(patience())));
    }
    queue_again(job, run);
    lift_cancel_marks(job);
    if (end == chunk.done) chunk.job = nullptr;  // nothing of it is left here; the job may go
    release_if_over(job);
  }
  if (chunk.done == chunk.end) {
    if (end == 0) --worker.chunks_given;  // it came back whole: for maxtasksperchild it was never given
    drop_chunk(worker, chunk);
  }
  if (worker.answers_due == 0) answers_complete(worker);
}

void Scheduler::Impl::drop_chunk(WorkerSlot& worker, const Chunk& chunk) {
  const bool answer_due = chunk.asked_back;
  if (&chunk == &worker.at(0)) {
    worker.pop_front();
  } else {
    worker.erase(&chunk);
  }
  if (worker.chunks == 0) (void)step(worker, WorkerEvent::emptied);  // at work or killed: never refused
  if (answer_due && --worker.answers_due == 0) answers_complete(worker);
}

void Scheduler::Impl::answers_complete(WorkerSlot& worker) {
  if (worker.stealing) {
    worker.stealing = worker.crowded = false;
    --stealing;
  }
  if (worker.check_timeout || worker.check_cancel) check_running(worker);
}

// All its chunks have been asked back, so `end` is where it stands: what it runs is the last item that it has begun, and it
// can begin no other. Only if that is the item in question is it killed: one that has finished meanwhile costs nobody anything, and an
// innocent item that had begun after it is not hit.
void Scheduler::Impl::check_running(WorkerSlot& worker) {
  const Chunk* running = worker.chunks == 0 ? nullptr : &worker.at(worker.chunks - 1);
  const bool over_time =
      worker.check_timeout && running != nullptr && running->id == worker.timed_chunk && running->end == worker.timed_item + 1;
  const bool cancelled = worker.check_cancel && running != nullptr && running->job != nullptr && running->job->rare &&
                         running->job->rare->cancelled_kill.contains(running->first + running->end - 1);
  worker.check_timeout = worker.check_cancel = false;
  if (over_time) {
    kill(worker, Cause::time_limit);
  } else if (cancelled) {
    kill(worker, Cause::stopped_by_pool);
  }
}

// By what has been handed in, the timed item still runs: else its soft deadline would be gone. What the worker has done since, it knows itself.
void Scheduler::Impl::soft_interrupt(WorkerSlot& worker) {
  const Chunk* chunk = worker.find(worker.timed_chunk);
  if (chunk == nullptr || chunk->job == nullptr) return;  // settled from outside (terminate, abort)
  worker.soft_over = true;
  Action action;
  action.kind = Action::Kind::soft_interrupt;
  action.worker = worker.id;
  action.chunk = worker.timed_chunk;
  action.first = worker.timed_item;
  action.limit = policies[chunk->job->policy].soft_timeout;
  actions.push_back(action);
}

// --- timers ---------------------------------------------------------------------------------------------------------------------

void Scheduler::Impl::run_timers(Time now) {
  while (!waiting.empty() && waiting.top().due <= now) {
    const WaitingItem due = waiting.top();
    waiting.pop();
    Job* job = jobs.find(due.job);
    if (job == nullptr || !job->rare) continue;
    auto note = job->rare->notes.find(due.item);
    if (note == job->rare->notes.end() || !note->second.waiting) continue;  // cancelled meanwhile
    note->second.waiting = false;
    make_ready(*job, {due.item, due.item + 1});
  }
  if (now < timers && unsettled > 0) return;
  if (unsettled == 0) waiting = {};  // only cancelled ones can be left: an idle pool is not to be woken for them
  timers = kNever;
  for (auto& [id, worker] : workers) {
    if (worker.at_work() && now >= worker.soft_deadline) {
      worker.soft_deadline = kNever;
      if (now < worker.deadline) soft_interrupt(worker);  // else there is no time left to clean up in
    }
    if (worker.at_work() && now >= worker.deadline) {
      worker.deadline = kNever;
      worker.check_timeout = true;
      ask_all_back(worker);
    }
    if (is_late(worker, now)) {  // dispatch() steals from it, if there is anybody to steal for
      worker.crowded = !idle.empty() && gate.open();
      next_scan = Time{0};
    }
    if (worker.stealable_at != WorkerSlot::kNowhere && !worker.stalled && is_stuck(worker, now)) {
      // Whatever the estimate said, it sits in one item (or does not run at all): what lies behind goes back to the queue, in front (its
      // tickets are old), and it gets nothing more until it moves. A chunk that has perhaps been begun is not split for this, only for
      // idle workers (steal); if it is one item, there is nothing to split.
      worker.stalled = true;
      next_scan = Time{0};
      if (any_ready()) ask_back(worker, worker.at(0).end - worker.at(0).done == 1 ? 0 : 1);
    }
    watch(std::min(worker.deadline, worker.soft_deadline));
    refresh(worker);
  }
}

}  // namespace holdfast::core
