// What: carries out the scheduler's actions, and writes task frames: by whichever thread holds the mutex, so an idle worker gets its task
// straight from the submitting thread. Part of Engine::Impl (engine_impl.hpp).
#include <algorithm>

#include "pool/engine_impl.hpp"
#include "sys/failpoint.hpp"
#include "sys/socket.hpp"

namespace holdfast::pool {

void Engine::Impl::run_actions() {
  end_memory_rest();
  while (scheduler.has_actions()) {
    // Taken back chunks are answered within run_action, which may bring more actions: hence the loop; `batch` keeps the buffer of this
    // round apart from the next one's.
    std::vector<core::Action> batch = std::exchange(actions, {});
    batch.clear();
    scheduler.take_actions(batch);
    for (const core::Action& action : batch) run_action(action);
    actions = std::move(batch);
  }
  commit_dirty();
  nudge_supervisor();
}

bool Engine::Impl::call_off_birth(WorkerId id) {
  if (std::erase(wanted, id) == 0) return false;
  scheduler.worker_start_failed(id, clock.now());  // it retired or killed it itself: to it this is a quiet end
  wake_supervisor();                               // it may have been the last one: check_ended()
  return true;
}

void Engine::Impl::run_action(const core::Action& action) {
  using Kind = core::Action::Kind;
  switch (action.kind) {
    case Kind::start_worker: wanted.push_back(action.worker); break;  // one of the supervisor's chores; nudge_supervisor() follows
    case Kind::send: send_chunk(action); break;
    case Kind::take_back: take_back(action); break;
    case Kind::settle: settle_range(action.settle); break;
    case Kind::retire_worker:
      if (call_off_birth(action.worker)) break;
      if (Worker* worker = find_worker(action.worker)) {
        HF_FAILPOINT(parent_retires);
        worker->closing = true;
        worker->channel->set_closed();
        mark_dirty(*worker);
      }
      break;
    case Kind::kill_worker:
      if (call_off_birth(action.worker)) break;
      if (Worker* worker = find_worker(action.worker)) kill_worker(*worker, action.cause);
      break;
    case Kind::soft_interrupt: soft_interrupt(action); break;
    case Kind::pool_broken:
      broken_text = last_start_failure ? describe(*last_start_failure) : std::string("workers cannot be started");
      end_inputs();
      begin_ending(options.grace, core::StopReason::terminate);  // those that did start have nothing to do any more
      state_waiters.wake_all();
      break;
    case Kind::pool_aborted:
      end_inputs();
      begin_ending(options.grace, core::StopReason::terminate);
      break;
  }
}

void Engine::Impl::mark_dirty(Worker& worker) {
  if (worker.uncommitted) return;
  worker.uncommitted = true;
  dirty.push_back(&worker);
}

void Engine::Impl::commit_dirty() {
  for (Worker* worker : dirty) {
    worker->uncommitted = false;
    worker->channel->commit_tasks();
  }
  dirty.clear();
}

void Engine::Impl::send_chunk(const core::Action& action) {
  Worker* worker = find_worker(action.worker);
  const JobRef* const job = jobs.find(action.job);
  // Neither can be missing by the scheduler's invariant 5; a death in between is reported to it, which takes the chunk back.
  if (worker == nullptr || job == nullptr) return;
  HF_FAILPOINT(parent_sends);
  ChunkInFlight& chunk = worker->chunks.emplace_back();
  chunk.chunk = action.chunk;
  chunk.job = *job;
  chunk.first = action.first;
  chunk.count = static_cast<std::uint32_t>(action.count);
  chunk.end = chunk.count;
  worker->last_sent = std::max(worker->last_sent, action.chunk);
  // All before it are pushed whole, unless the worker wants room: then this one is pushed in its turn.
  if (!worker->wants_room && takes_frames(*worker)) worker->wants_room = !push_items(*worker, chunk);
}

/// Once the pool has ended (terminated, aborted, broken) every item is settled and the jobs' bytes are gone: there is nothing to push.
bool Engine::Impl::takes_frames(const Worker& worker) const { return !work_is_over() && worker.life != Worker::Life::dying; }

/// Pushes what is waiting for this worker, in order, as far as its ring has room.
void Engine::Impl::pump(Worker& worker) {
  worker.wants_room = false;
  if (!takes_frames(worker)) return;
  for (ChunkInFlight& chunk : worker.chunks) {
    if (chunk.announced && chunk.pushed >= chunk.end) continue;
    if (!chunk.announced && chunk.end == 0) continue;
    if (!push_items(worker, chunk)) {
      worker.wants_room = true;
      return;
    }
  }
}

bool Engine::Impl::push_items(Worker& worker, ChunkInFlight& chunk) {
  ring::ParentChannel& channel = *worker.channel;
  const Job& job = *chunk.job;
  if (!chunk.announced) {
    if (!push_function(worker, *job.function)) return false;
    const auto slot = worker.take_slot();
    if (!slot) return false;
    if (!channel.push_chunk(chunk.chunk, job.id, job.function->id, *slot, chunk.count, job.call_mode, job.chunk_flags())) {
      worker.free_slots.push_back(*slot);
      return false;
    }
    chunk.slot = *slot;
    chunk.announced = true;
    mark_dirty(worker);
  }
  while (chunk.pushed < chunk.end) {
    const StoredRun run = job.stored_run(chunk.first + chunk.pushed, chunk.end - chunk.pushed);
    if (run.count > 1) {
      if (!channel.push_items(chunk.chunk, chunk.pushed, run.count, run.records)) return false;
      counts.bytes_sent += run.records.size() - run.count * ring::pack::kPrefix;
      chunk.pushed += run.count;
    } else {
      if (!push_item(worker, chunk, job.stored(chunk.first + chunk.pushed))) return false;
      ++chunk.pushed;
    }
    mark_dirty(worker);
  }
  return true;
}

/// One item by itself: alone in its pack, or too large for one.
bool Engine::Impl::push_item(Worker& worker, ChunkInFlight& chunk, const StoredItem& item) {
  ring::PayloadRef payload{.inline_bytes = item.inline_bytes, .buffer = 0, .size = item.size};
  if (item.buffer != nullptr) {
    if (!send_buffer(worker, **item.buffer)) return false;
    chunk.lend(*item.buffer, /*staged=*/false);
    payload.buffer = (*item.buffer)->id();
  } else if (item.size > ring::kInlineLimit) {
    payload.buffer = stage(worker, chunk, item.inline_bytes);
    if (payload.buffer == 0) return false;
    payload.inline_bytes = {};
  }
  if (!worker.channel->push_item(chunk.chunk, chunk.pushed, payload)) return false;
  counts.bytes_sent += item.size;
  return true;
}

/// Puts an argument that is too large for the ring into a shared buffer and sends that ahead. 0: not now (enough lie at this worker, or there is
/// no memory or descriptor for one: some come back with its results).
BufferId Engine::Impl::stage(Worker& worker, ChunkInFlight& chunk, ByteSpan bytes) {
  // Staged before, when the ring then had no room for its frame.
  if (!chunk.lent.empty() && chunk.lent.back().item == chunk.pushed) return chunk.lent.back().buffer->id();
  if (worker.staged() >= Worker::kStagedAtOnce) return 0;
  auto buffer = buffers->sealed_copy(bytes);
  if (!buffer || !send_buffer(worker, **buffer)) return 0;
  chunk.lend(*std::move(buffer), /*staged=*/true);
  return chunk.lent.back().buffer->id();
}

bool Engine::Impl::push_function(Worker& worker, const Function& function) {
  if (worker.functions.contains(function.id)) return true;
  ring::PayloadRef payload{.inline_bytes = {}, .buffer = 0, .size = function.size};
  if (function.buffer) {
    if (!send_buffer(worker, *function.buffer)) return false;
    payload.buffer = function.buffer->id();
  } else {
    payload.inline_bytes = function.bytes.bytes();
  }
  if (!worker.channel->push_function(function.id, payload)) return false;
  mark_dirty(worker);
  worker.functions.insert(function.id);
  return true;
}

/// The descriptor of an argument buffer goes ahead of the frame that names it. False: the socket has no room now.
bool Engine::Impl::send_buffer(Worker& worker, const ring::SharedBuffer& buffer) {
  if (worker.buffers.contains(buffer.id())) return true;
  ring::Message message{.type = ring::MessageType::buffer, .worker = worker.id};
  message.a = static_cast<std::int64_t>(buffer.id());
  message.b = static_cast<std::int64_t>(buffer.capacity());
  message.c = -1;
  const int fds[] = {buffer.fd()};
  if (const auto sent = sys::send_pod(worker.socket.get(), message, fds, /*dont_wait=*/true); !sent) {
    // Gone or no room: either way the chunk stays unbegun; a death will bring it back, room will come with results.
    return false;
  }
  HF_FAILPOINT(parent_buffer_sent);
  worker.buffers.insert(buffer.id());
  return true;
}

void Engine::Impl::take_back(const core::Action& action) {
  Worker* worker = find_worker(action.worker);
  ChunkInFlight* chunk = worker == nullptr ? nullptr : worker->find_chunk(action.chunk);
  if (chunk == nullptr) return;  // answered in this very batch: nothing is left of it
  std::uint32_t end = 0;
  if (chunk->announced) {
    // Also bounded by what was pushed: the worker cannot begin what it has not got, and an item that was never pushed is taken back here.
    HF_FAILPOINT(parent_takes_back);
    auto lowered = worker->channel->take_back(chunk->slot, 0);
    if (!lowered) {
      condemn(*worker, lowered.error().message());
      end = chunk->end;  // nothing is taken back from a worker that lies; its death will tell
    } else {
      end = std::min(*lowered, chunk->end);
    }
  }
  chunk->end = end;
  const ChunkId id = chunk->chunk;
  if (chunk->answered >= chunk->end) chunk_answered(*worker, *chunk);
  scheduler.taken_back(action.worker, id, end, clock.now());
}

/// Tells workers which functions and argument buffers nobody needs any more. Called by the supervisor, off the hot path.
void Engine::Impl::tell_forgotten() {
  const std::vector<FunctionId> dead = functions.take_dead();
  const std::vector<BufferId> dropped = buffers->take_dropped();
  for (auto& [id, worker] : workers) {
    if (worker->life == Worker::Life::dying) continue;
    // A frame that finds no room is not tried again: the worker then keeps a function or a mapping until its end, no more.
    for (const FunctionId function : dead) {
      if (worker->functions.erase(function) != 0 && worker->channel->push_forget_function(function)) mark_dirty(*worker);
    }
    for (const BufferId buffer : dropped) {
      if (worker->buffers.erase(buffer) != 0 && worker->channel->push_buffer_gone(buffer)) mark_dirty(*worker);
    }
    for (const BufferId buffer : worker->results->take_gone()) {
      if (worker->channel->push_buffer_gone(buffer)) mark_dirty(*worker);
    }
  }
  commit_dirty();
}

}  // namespace holdfast::pool
