// What: takes committed results out of the rings and settles items. Whoever holds the mutex drains: a user thread in a wait (the
// drainer), or the supervisor. Part of Engine::Impl (engine_impl.hpp).
//
// Promise P8: every field of a frame is checked against the parent's own record before it is used; nonsense kills the worker.
#include <bit>

#include "pool/engine_impl.hpp"
#include "sys/failpoint.hpp"

namespace holdfast::pool {

void Engine::Impl::drain_ready() {
  const std::uint32_t words = static_cast<std::uint32_t>((by_index.size() + 63) / 64);
  for (std::uint32_t word = 0; word < words; ++word) {
    std::uint64_t bits = bell.take_ready(word);
    while (bits != 0) {
      const auto index = word * 64U + static_cast<std::uint32_t>(std::countr_zero(bits));
      bits &= bits - 1;
      if (index < by_index.size() && by_index[index] != nullptr) drain_worker(*by_index[index]);
    }
  }
  run_actions();
}

void Engine::Impl::drain_all() {
  for (Worker* worker : by_index) {
    if (worker != nullptr && worker->channel->results_waiting()) drain_worker(*worker);
  }
  run_actions();
}

void Engine::Impl::drain_worker(Worker& worker) {
  if (worker.kill_cause == Cause::protocol_error) return;  // nothing it says is read any more
  DoneRun run;
  bool any = false;
  bool sound = true;
  const Time now = clock.now();  // one reading for the batch
  while (sound) {
    auto next = worker.channel->next_result();
    if (!next) {
      worker.report.detail = next.error().message();
      sound = false;
      break;
    }
    if (!next->has_value()) break;
    any = true;
    HF_FAILPOINT(parent_drains);
    sound = accept_result(worker, **next, run, now);
    worker.channel->pop_result();
    if (sound && run.count != 0 && run.chunk->job->takes_runs()) sound = take_run(worker, run, now);
  }
  sound = close_run(worker, run, now) && sound;
  if (!sound) kill_worker(worker, Cause::protocol_error);
  if (!any) return;
  HF_FAILPOINT(parent_drained);
  worker.channel->release_results();
  if (worker.wants_room) pump(worker);
}

/// Tells the scheduler of the done items that were stored since the last call: once for the run, not once for each.
bool Engine::Impl::close_run(Worker& worker, DoneRun& run, Time now) {
  if (run.count == 0) return true;
  ChunkInFlight& chunk = *run.chunk;
  // Verdict `ignore`: terminated or aborted meanwhile; then each was settled before, and Job::settle() has refused it. `not_owned`: results of a
  // chunk before those of an earlier one.
  const core::Verdict verdict = scheduler.items_done(worker.id, chunk.chunk, run.first, run.count, run.run_time, now);
  counts.items_done += run.count;
  counts.items_settled += run.settled;
  worker.items_run += run.count;
  if (run.settled != 0) touch(chunk.job);
  run = DoneRun{};
  results_seen(worker, chunk);
  if (verdict == core::Verdict::not_owned) worker.report.detail = "results out of order";
  return verdict != core::Verdict::not_owned;
}

/// The results behind an accepted one, as long as they are done and of its chunk: copied out of the ring in one go.
bool Engine::Impl::take_run(Worker& worker, DoneRun& run, Time now) {
  ChunkInFlight& chunk = *run.chunk;
  Job& job = *chunk.job;
  while (chunk.answered < chunk.end) {
    const ring::ParentChannel::DoneRun taken = worker.channel->take_done_run(chunk.end - chunk.answered, job.many()->room_for_run());
    if (taken.count == 0) return true;
    run.settled += static_cast<std::uint32_t>(job.many()->settle_run(chunk.first + chunk.answered, taken.count, taken.pack_bytes));
    run.count += taken.count;
    run.run_time += taken.run_time;
    chunk.answered += taken.count;
    counts.bytes_received += taken.pack_bytes - taken.count * ring::pack::kPrefix;
  }
  return close_run(worker, run, now);
}

Result<Payload> Engine::Impl::open_payload(Worker& worker, const ring::PayloadRef& payload) {
  if (payload.buffer == 0) return Payload::copy(payload.inline_bytes);
  return worker.results->open(payload.buffer, payload.size);
}

/// False: the frame makes no sense (protocol_error).
bool Engine::Impl::accept_result(Worker& worker, const ring::ResultFrame& frame, DoneRun& run, Time now) {
  ChunkInFlight* chunk = run.count != 0 && run.chunk->chunk == frame.chunk ? run.chunk : worker.find_chunk(frame.chunk);
  const bool is_note = frame.kind == ring::ResultKind::note;
  // Results come in order, one for each item begun: anything else was not run by this worker.
  if (!is_note && (chunk == nullptr || frame.item != chunk->answered || frame.item >= chunk->end)) {
    worker.report.detail = "a result for an item that the worker does not own";
    return false;
  }
  if (frame.argument_kept && !argument_kept(worker, chunk, frame.item)) return false;
  auto payload = open_payload(worker, frame.payload);
  if (!payload) {
    worker.report.detail = payload.error().message();
    return false;
  }
  counts.bytes_received += frame.payload.size;
  // A result that there is no memory for is an error of its item, not of the pool.
  if (frame.kind != ring::ResultKind::done || payload->is_lost()) {
    if (!close_run(worker, run, now)) return false;
    if (!is_note) return accept_raised(worker, *chunk, frame, *std::move(payload), now);
    DispatchEvent event;
    event.kind = DispatchEvent::Kind::note;
    event.note = *std::move(payload);
    event.worker = worker.id;
    dispatch_queue.push_back(std::move(event));
    dispatch_waiters.wake_all();
    return true;
  }
  if (run.count == 0 || run.chunk != chunk) {
    if (!close_run(worker, run, now)) return false;
    // Now the scheduler knows of all before it. Judged before it is stored: the item of a worker that lies is given to another one.
    if (!scheduler.is_next(worker.id, frame.chunk, frame.item)) {
      worker.report.detail = "results out of order";
      return false;
    }
    run.chunk = chunk;
    run.first = frame.item;
  }
  ++run.count;
  run.run_time += frame.run_time;
  ++chunk->answered;
  if (chunk->job->settle_done(chunk->first + frame.item, *std::move(payload))) ++run.settled;
  return chunk->answered < chunk->end || close_run(worker, run, now);
}

/// A task holds on to its argument, whose pages are the worker's own now: to be used there again the buffer must be sent again.
bool Engine::Impl::argument_kept(Worker& worker, const ChunkInFlight* chunk, std::uint32_t item) {
  const ring::SharedBuffer* buffer = chunk == nullptr ? nullptr : chunk->lent_for(item);
  if (buffer == nullptr) {
    worker.report.detail = "an argument is kept that came in no buffer";
    return false;
  }
  worker.buffers.erase(buffer->id());
  return true;
}

bool Engine::Impl::accept_raised(Worker& worker, ChunkInFlight& chunk, const ring::ResultFrame& frame, Payload&& payload, Time now) {
  ++chunk.answered;
  ++worker.items_run;
  const ItemIndex item = chunk.first + frame.item;
  const core::Verdict verdict = scheduler.item_finished(worker.id, frame.chunk, frame.item, /*raised=*/true, frame.run_time, now);
  const JobRef job = chunk.job;
  results_seen(worker, chunk);
  switch (verdict) {
    case core::Verdict::settle:
      ++counts.items_raised;
      settle_item(job, item, OutcomeKind::raised, std::move(payload), {});
      break;
    case core::Verdict::settle_skipped:
      ++counts.items_raised;
      settle_item(job, item, OutcomeKind::skipped, std::move(payload), {.kind = OutcomeKind::raised, .attempts = 0, .report = nullptr});
      break;
    case core::Verdict::retry:
    case core::Verdict::ignore: break;
    case core::Verdict::not_owned: worker.report.detail = "a result for an item that the worker does not own"; return false;
  }
  return true;
}

/// `chunk.answered` has grown. The chunk is gone after this when that was all of it.
void Engine::Impl::results_seen(Worker& worker, ChunkInFlight& chunk) {
  worker.saw_result_of(chunk.chunk);
  chunk.drop_answered();
  if (chunk.answered >= chunk.end) chunk_answered(worker, chunk);
}

/// Every item the worker could begin is answered: the chunk's slot comes back.
void Engine::Impl::chunk_answered(Worker& worker, ChunkInFlight& chunk) {
  if (chunk.announced) worker.give_slot(chunk.slot, /*passed=*/chunk.pushed <= chunk.end);
  if (&chunk == &worker.chunks.front()) {  // results come in order: nearly always
    worker.chunks.pop_front();
    return;
  }
  const ChunkId id = chunk.chunk;
  std::erase_if(worker.chunks, [id](const ChunkInFlight& each) { return each.chunk == id; });
}

void Engine::Impl::touch(const JobRef& job) {
  if (job->touched) return;
  job->touched = true;
  touched.push_back(job);
}

void Engine::Impl::settle_item(const JobRef& job, ItemIndex item, OutcomeKind kind, Payload&& payload, Failure failure) {
  if (!job->settle(item, kind, std::move(payload), std::move(failure))) return;
  ++counts.items_settled;
  touch(job);
}

void Engine::Impl::settle_range(const core::Settle& settle) {
  const JobRef* const found = jobs.find(settle.job);
  if (found == nullptr) return;
  HF_FAILPOINT(parent_settles);
  const JobRef job = *found;
  Failure failure{
      .kind = settle.failure == OutcomeKind::pending ? settle.kind : settle.failure, .attempts = settle.attempts, .report = nullptr};
  const bool plain = settle.worker == 0 && settle.kind != OutcomeKind::skipped;  // cancelled, aborted, terminated: the kind says it all
  if (plain) failure = Failure{};
  if (const auto dead = departed.find(settle.worker); settle.worker != 0 && dead != departed.end()) {
    auto mine = std::make_shared<ExitReport>(*dead->second.report);
    mine->attempts = settle.attempts;
    failure.report = std::move(mine);
  }
  for (ItemIndex item = settle.first; item < settle.first + settle.count; ++item) {
    if (failure.report && (failure.kind == OutcomeKind::died || failure.kind == OutcomeKind::timed_out)) {
      ++counts.items_died;
      note_killed(*job, item, settle.kind, *failure.report);
    }
    settle_item(job, item, settle.kind, Payload{}, failure);
  }
}

/// Keeps the frames of a killed item, so that get_killed_tasks() can rebuild the call. Before settle(): that frees them.
void Engine::Impl::note_killed(const Job& job, ItemIndex item, OutcomeKind outcome, const ExitReport& report) {
  KilledItem entry;
  entry.function = job.function;
  entry.call_mode = job.call_mode;
  entry.report = report;
  entry.outcome = outcome;
  const StoredItem stored = job.stored(item);
  if (stored.buffer != nullptr) {
    entry.large_item = *stored.buffer;
    entry.large_size = stored.size;
  } else {
    entry.item = Payload::copy(stored.inline_bytes);
  }
  killed.add(std::move(entry));
}

void Engine::Impl::notify() {
  bool dispatcher_has_news = false;
  for (const JobRef& job : touched) {
    job->touched = false;
    const bool finished = job->finished();
    if (finished) {
      jobs.erase(job->id);
      if (job->dispatch && !job->forgotten()) {
        dispatch_queue.emplace_back();
        dispatch_queue.back().job = job;
        dispatcher_has_news = true;
      }
    }
    // A closed job's waiters want all of it; a lazy one's want any item.
    if (finished || job->lazy() || job->single_items_wanted()) wake_sleepers_of(*job);
    if (finished)
      job->wake_feeders();
    else if (job->forgotten())
      job->wake_feeder_if_worth_it();
    if (drainer_job == job.get()) bell.ring_from_parent();
  }
  touched.clear();
  if (dispatcher_has_news) dispatch_waiters.wake_all();
}

}  // namespace holdfast::pool
