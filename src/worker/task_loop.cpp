#include "worker/task_loop.hpp"

#include <algorithm>
#include <utility>

#include "ring/control.hpp"
#include "sys/clock.hpp"
#include "sys/failpoint.hpp"
#include "sys/process.hpp"
#include "sys/socket.hpp"

namespace holdfast::worker {
namespace {

// A signal that comes between the last check and the sleep does not end the sleep (os-mechanisms.md, section 4). Just after work is
// when one is likely, so the first second is slept in short pieces; after it nothing wakes an idle worker.
constexpr Nanos kWatchfulPiece = std::chrono::milliseconds(50);
constexpr Nanos kWatchfulTime = std::chrono::seconds(1);
// The pool reads results all the time; it is only slow when it was stopped. Then look for `cancelled` so often.
constexpr Nanos kRoomPiece = std::chrono::milliseconds(200);
constexpr std::size_t kFrameOverhead = 128;  // more than any result frame's header and padding

constexpr std::uint32_t kPhaseRunning = 1;

}  // namespace

TaskLoop::TaskLoop(Enrolment& worker, Runner& runner, sys::ForkMark mark)
    : worker_(worker),
      channel_(*worker.channel),
      runner_(runner),
      mark_(std::move(mark)),
      buffers_(worker.seed.socket.get(), *worker.channel) {}

int TaskLoop::run() {
  for (;;) {
    if (check_signals() == Step::leave) break;
    if (channel_.leaving()) break;
    const bool closed = channel_.closed();  // read first: what was committed before it was set is then seen by next_task
    auto frame = channel_.next_task();
    if (!frame.ok()) {
      exit_code_ = 1;  // the pool's own memory is damaged: nothing can be trusted here any more
      break;
    }
    if (frame.value() == nullptr) {
      if (closed) break;
      if (idle() == Step::leave) break;
      continue;
    }
    const Step step = handle(*frame.value());
    channel_.release_task();
    if (step == Step::leave) break;
  }
  channel_.set_progress(0, 0, Time{0}, 0);
  HF_FAILPOINT(worker_leaves);
  return exit_code_;
}

TaskLoop::Step TaskLoop::leave(int code) {
  exit_code_ = code;
  return Step::leave;
}

TaskLoop::Step TaskLoop::check_signals() {
  for (;;) {
    const IdleAnswer answer = runner_.check_signals();
    if (answer.next == IdleAnswer::Next::go_on) return Step::go_on;
    leave_if_forked(answer.exit_code);
    if (answer.next == IdleAnswer::Next::leave) return leave(answer.exit_code);
    ring::ResultFrame note;
    note.kind = ring::ResultKind::note;
    note.payload.inline_bytes = answer.note.first(std::min(answer.note.size(), ring::kInlineLimit));
    note.payload.size = note.payload.inline_bytes.size();
    if (push(note) == Step::leave) return Step::leave;
  }
}

TaskLoop::Step TaskLoop::idle() {
  channel_.set_progress(0, 0, Time{0}, 0);
  item_end_ = Time{0};
  const Time since = sys::now();
  for (;;) {
    const bool watchful = sys::now() - since < kWatchfulTime;
    if (!watchful) worker_.watcher->rest();
    runner_.wait_begin();
    const auto woke = channel_.wait_for_tasks(watchful ? kWatchfulPiece : Nanos::max());
    runner_.wait_end();
    if (!watchful) worker_.watcher->work();
    if (check_signals() == Step::leave) return Step::leave;
    if (woke == ring::WorkerChannel::Wake::timed_out) runner_.prepare();
    if (woke != ring::WorkerChannel::Wake::timed_out && woke != ring::WorkerChannel::Wake::interrupted) return Step::go_on;
  }
}

TaskLoop::Step TaskLoop::handle(const ring::TaskFrame& frame) {
  switch (frame.type) {
    case ring::TaskFrameType::function: return add_function(frame);
    case ring::TaskFrameType::forget_function: runner_.forget_function(frame.function); return Step::go_on;
    case ring::TaskFrameType::chunk: open_chunk(frame); return Step::go_on;
    case ring::TaskFrameType::item: return run_item(frame);
    case ring::TaskFrameType::buffer_gone: buffers_.gone(frame.buffer); return Step::go_on;
  }
  return leave(1);  // next_task() hands out no other type
}

TaskLoop::Step TaskLoop::add_function(const ring::TaskFrame& frame) {
  if (frame.payload.buffer == 0) {
    runner_.add_function(frame.function, frame.payload.inline_bytes);
    return Step::go_on;
  }
  {
    runner_.wait_begin();
    const auto lent = buffers_.argument(frame.payload);
    runner_.wait_end();
    if (!lent.ok() && lent.error().code == ErrorCode::closed) return leave(1);
    // Without it the function stays unknown, and each of its items says so.
    if (lent.ok()) runner_.add_function(frame.function, lent->bytes);
  }
  buffers_.end_loan_of_function();
  return Step::go_on;
}

void TaskLoop::open_chunk(const ring::TaskFrame& frame) {
  current_ = frame.slot % ring::kChunkSlots;
  chunks_[current_] = Chunk{frame.chunk, frame.function, frame.slot, frame.call_mode, frame.flags};
}

const TaskLoop::Chunk* TaskLoop::find_chunk(ChunkId id) const {
  if (chunks_[current_].id == id) return &chunks_[current_];
  for (const Chunk& chunk : chunks_) {
    if (chunk.id == id) return &chunk;
  }
  return nullptr;
}

TaskLoop::Step TaskLoop::run_item(const ring::TaskFrame& frame) {
  const Chunk* chunk = find_chunk(frame.chunk);
  if (chunk == nullptr) return leave(1);  // an item of no chunk: the pool's own error
  HF_FAILPOINT(worker_takes);
  if (!channel_.claim(chunk->slot, frame.item)) return Step::go_on;  // taken back before it began
  HF_FAILPOINT(worker_claimed);
  const Time started = item_end_ != Time{0} ? item_end_ : clock_.now();
  channel_.set_progress(frame.chunk, frame.item, started, kPhaseRunning);
  HF_FAILPOINT(worker_begins);
  const RunAnswer answer = call(*chunk, frame);
  leave_if_forked(answer.next == RunAnswer::Next::leave ? answer.exit_code : 0);
  if (answer.next == RunAnswer::Next::leave) return leave(answer.exit_code);
  HF_FAILPOINT(worker_ran);
  item_end_ = clock_.now();
  ring::ResultFrame result;
  result.kind = answer.kind;
  result.chunk = frame.chunk;
  result.item = frame.item;
  result.run_time = item_end_ - started;
  const Step step = publish(answer, result);
  runner_.release();
  if (step == Step::leave) return step;
  channel_.count_item_done();
  return answer.last ? leave(0) : Step::go_on;
}

RunAnswer TaskLoop::call(const Chunk& chunk, const ring::TaskFrame& frame) {
  ItemCall item;
  item.function = chunk.function;
  item.chunk = frame.chunk;
  item.item = frame.item;
  item.call_mode = chunk.call_mode;
  item.flags = chunk.flags;
  item.payload = frame.payload.inline_bytes;
  if (frame.payload.buffer != 0) {
    HF_FAILPOINT(worker_wants_argument);
    runner_.wait_begin();
    auto lent = buffers_.argument(frame.payload);
    runner_.wait_end();
    if (!lent.ok()) return runner_.failed(lent.error().message(), lent.error().err_no, /*result_phase=*/false);
    item.payload = lent->bytes;
    item.memory = std::move(lent->mapping);
    HF_FAILPOINT(worker_has_argument);
  }
  return runner_.run(item);
}

// Finds a buffer for a large answer and has it filled. False: there is none, `instead` is the answer now, or (closed) to leave.
bool TaskLoop::place_large(const RunAnswer& answer, ring::ResultFrame& frame, RunAnswer& instead) {
  runner_.wait_begin();
  const auto buffer = buffers_.for_result(answer.large_size);
  runner_.wait_end();
  if (buffer.ok()) {
    HF_FAILPOINT(worker_has_buffer);
    runner_.write_large(buffer.value()->data());
    HF_FAILPOINT(worker_buffer_filled);
    frame.payload.buffer = buffer.value()->id();
    frame.payload.size = answer.large_size;
    return true;
  }
  if (buffer.error().code == ErrorCode::closed) {
    instead.next = RunAnswer::Next::leave;
    return false;
  }
  instead = runner_.failed(buffer.error().message(), buffer.error().err_no, /*result_phase=*/true);
  return false;
}

TaskLoop::Step TaskLoop::publish(const RunAnswer& answer, ring::ResultFrame& frame) {
  if (answer.large_size != 0) return publish_large(answer, frame);
  frame.payload.inline_bytes = answer.bytes;
  frame.payload.size = answer.bytes.size();
  frame.argument_kept = end_loan();
  return push(frame);
}

// Before the commit: from there on the pool may use the argument's buffer for another item. Letting the arguments go may run code of theirs
// (__del__), so that is done here only where views of the buffer live; else after the result is out.
bool TaskLoop::end_loan() {
  if (buffers_.has_views()) {
    runner_.release_arguments();
    leave_if_forked(0);
  }
  return buffers_.end_loan();
}

TaskLoop::Step TaskLoop::publish_large(const RunAnswer& answer, ring::ResultFrame& frame) {
  RunAnswer instead;
  if (place_large(answer, frame, instead)) {
    frame.argument_kept = end_loan();
    return push(frame);
  }
  if (instead.next == RunAnswer::Next::leave || instead.large_size != 0) return leave(1);
  frame.kind = instead.kind;
  return publish(instead, frame);
}

TaskLoop::Step TaskLoop::push(const ring::ResultFrame& frame) {
  while (!channel_.push_result(frame)) {
    if (channel_.cancelled()) return leave(0);
    runner_.wait_begin();
    (void)channel_.wait_for_room(frame.payload.inline_bytes.size() + kFrameOverhead, kRoomPiece);  // whatever woke us: look again
    runner_.wait_end();
  }
  channel_.commit_result();
  HF_FAILPOINT(worker_committed);
  if (worker_.bell.ring_from_worker(channel_.worker_index())) {
    HF_FAILPOINT(worker_wakes_supervisor);
    ring::Message wake;
    wake.type = ring::MessageType::wake;
    // A full socket is full of wake messages: one more would say nothing new.
    (void)sys::send_pod(worker_.seed.socket.get(), wake, {}, /*dont_wait=*/true);
  }
  HF_FAILPOINT(worker_rang);
  return Step::go_on;
}

// A task forked, and this is its child, which returned from the task (or left it by an exception) instead of ending. The item belongs
// to its parent: no result, no claim, no message, and no clean-up of what it shares with the parent.
void TaskLoop::leave_if_forked(int code) {
  if (mark_.in_original()) return;
  runner_.flush_in_forked_child();
  sys::exit_now(code);
}

}  // namespace holdfast::worker
