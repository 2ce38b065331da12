// What: the worker's side of a channel. [channel.hpp] One thread uses it: the task loop.
// It trusts the parent but checks all the same: a stray write of user code into the mapping should end as an error, not as a wild read.
//
// A forked child of the worker (a task that forks and returns into the loop) has the channel mapped too. It must not answer in the
// worker's name: the ForkMark tells, and every step that would claim or publish refuses; to such a child the channel is cancelled.
#include <algorithm>
#include <array>
#include <bit>
#include <string>
#include <utility>

#include "base/check.hpp"
#include "ring/byte_ring.hpp"
#include "ring/frame.hpp"
#include "ring/layout.hpp"
#include "ring/pack.hpp"
#include "ring/spinner.hpp"
#include "ring/wait.hpp"
#include "sys/failpoint.hpp"
#include "sys/fork_mark.hpp"
#include "sys/memfd.hpp"
#include "sys/process.hpp"

namespace holdfast::ring {
namespace {

using frame::Fault;

constexpr const char* kAttach = "ring.attach";

Error not_a_channel(const char* why) { return Error{ErrorCode::protocol_error, 0, kAttach, why}; }

/// The header of a mapped channel, checked against the size of its file.
Result<Geometry> read_geometry(const ChannelPage& page, std::size_t size) {
  if (page.magic != kChannelMagic || page.version != kLayoutVersion) return not_a_channel("not a channel of this version of holdfast");
  const Geometry geometry{.task_ring_bytes = page.task_ring_bytes, .result_ring_bytes = page.result_ring_bytes};
  for (const std::uint32_t bytes : {geometry.task_ring_bytes, geometry.result_ring_bytes}) {
    if (!std::has_single_bit(bytes) || bytes < kMinRingBytes || bytes > kMaxRingBytes) return not_a_channel("impossible ring size");
  }
  if (size != segment_size(geometry) || page.worker_index >= kMaxWorkers) {
    return not_a_channel("the header does not fit the file's size");
  }
  return geometry;
}

}  // namespace

struct WorkerChannel::Impl {
  Impl(std::shared_ptr<sys::Mapping> mapped, const Geometry& geometry, sys::ForkMark fork_mark)
      : mapping(std::move(mapped)),
        page(*reinterpret_cast<ChannelPage*>(mapping->data())),
        worker_index(page.worker_index),
        mark(std::move(fork_mark)),
        tasks(mapping->data() + kRingOffset, geometry.task_ring_bytes, page.task_tail, page.task_head),
        results(mapping->data() + kRingOffset + geometry.task_ring_bytes, geometry.result_ring_bytes, page.result_tail, page.result_head),
        stacks_at(ring::stacks_offset(geometry)) {}

  bool has_order(std::uint32_t order) const { return (page.orders.load(std::memory_order_seq_cst) & order) != 0; }
  bool foreign() const { return !mark.in_original(); }
  Fault complete(const frame::TaskExtra& extra);
  Fault next_record();

  struct Slot {
    ChunkId chunk = 0;
    std::uint32_t tag = 0;
  };

  std::shared_ptr<sys::Mapping> mapping;
  ChannelPage& page;
  std::uint32_t worker_index;
  sys::ForkMark mark;
  RingReader tasks;
  RingWriter results;
  const std::size_t stacks_at;
  std::array<Slot, kChunkSlots> slots{};  // as the chunk frames told
  frame::TaskContext context;             // behind the last frame released
  frame::TaskContext pending;             // behind the one that `task` is from
  std::size_t current = 0;                // bytes of that one; 0: none is looked at
  TaskFrame task;                         // what next_task() returned
  bool task_stands = false;               // and it has not been released
  pack::Reader records;                   // of an items frame: behind `task`
  std::uint32_t records_left = 0;         // items of that frame behind `task`
  frame::ResultContext answered;          // behind the last result written
  Spinner spinner{sys::usable_cpus()};
};

WorkerChannel::WorkerChannel(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
WorkerChannel::~WorkerChannel() = default;

Result<std::unique_ptr<WorkerChannel>> WorkerChannel::attach(int fd) {
  if (!sys::sealed_against_resize(fd)) return not_a_channel("the channel's memory is not sealed");
  const auto size = sys::file_size(fd);
  if (!size.ok()) return size.error();
  if (*size < kRingOffset) return not_a_channel("the channel's file is too small");
  auto mapping = sys::Mapping::map(fd, *size, sys::Mapping::Mode::shared);
  if (!mapping.ok()) return std::move(mapping).error();
  return attach(std::make_shared<sys::Mapping>(*std::move(mapping)));
}

Result<std::unique_ptr<WorkerChannel>> WorkerChannel::attach_in_process(const ParentChannel& parent) { return attach(parent.mapping()); }

Result<std::unique_ptr<WorkerChannel>> WorkerChannel::attach(std::shared_ptr<sys::Mapping> mapping) {
  auto geometry = read_geometry(*reinterpret_cast<const ChannelPage*>(mapping->data()), mapping->size());
  if (!geometry.ok()) return std::move(geometry).error();
  auto mark = sys::ForkMark::create();
  if (!mark.ok()) return std::move(mark).error();
  auto impl = std::make_unique<Impl>(std::move(mapping), *geometry, *std::move(mark));
  return std::unique_ptr<WorkerChannel>(new WorkerChannel(std::move(impl)));
}

std::uint32_t WorkerChannel::worker_index() const { return impl_->worker_index; }
bool WorkerChannel::still_owner() const { return !impl_->foreign(); }

// --- tasks ---

/// What a frame says only in connexion with its chunk's: the slot table. An item frame gets its chunk's full id.
Fault WorkerChannel::Impl::complete(const frame::TaskExtra& extra) {
  pending = context;
  records_left = 0;
  if (task.type == TaskFrameType::chunk) {
    slots[task.slot] = {.chunk = task.chunk, .tag = extra.tag};
    pending = frame::behind_chunk(task.slot);
  } else if (task.type == TaskFrameType::item) {
    const Slot& slot = slots[task.slot];
    if (slot.chunk == 0 || (extra.names_chunk && static_cast<std::uint32_t>(slot.chunk) != task.chunk)) return Fault::chunk;
    task.chunk = slot.chunk;
    pending = frame::behind_item(task.slot, task.item + std::max(extra.count, 1U) - 1);
    if (extra.count != 0) {
      records = pack::Reader(extra.records);
      records_left = extra.count;
      return next_record();
    }
  }
  return Fault::none;
}

/// `task` gets the payload of the next record of its frame.
Fault WorkerChannel::Impl::next_record() {
  if (!records.next(task.payload.inline_bytes)) return Fault::record;
  task.payload.size = task.payload.inline_bytes.size();
  if (--records_left == 0 && !records.at_end()) return Fault::record;
  return Fault::none;
}

Result<const TaskFrame*> WorkerChannel::next_task() {
  constexpr const char* kOperation = "ring.next_task";
  Impl& my = *impl_;
  if (my.foreign()) return Error{ErrorCode::closed, 0, kOperation, "this process is a fork of the worker, not the worker"};
  if (my.task_stands) return &my.task;
  Fault fault = Fault::none;
  if (my.records_left != 0) {
    ++my.task.item;
    fault = my.next_record();
  } else {
    RingReader::Piece piece;
    fault = my.tasks.peek(piece);
    if (fault == Fault::none && piece.at == nullptr) return nullptr;
    frame::TaskExtra extra;
    my.task = TaskFrame{};
    if (fault == Fault::none) fault = frame::decode_task(piece.at, piece.available, my.context, my.task, extra);
    if (fault == Fault::none) fault = my.complete(extra);
    my.current = extra.bytes;
  }
  if (fault != Fault::none) {
    return Error{ErrorCode::protocol_error, 0, kOperation, std::string("the task ring holds ") + frame::describe(fault)};
  }
  my.task_stands = true;
  return &my.task;
}

void WorkerChannel::release_task() {
  Impl& my = *impl_;
  if (my.foreign() || !std::exchange(my.task_stands, false) || my.records_left != 0) return;
  my.tasks.advance(std::exchange(my.current, 0));
  my.context = my.pending;
  my.tasks.release_quietly();
}

bool WorkerChannel::claim(std::uint32_t slot, std::uint32_t item) {
  if (slot >= kChunkSlots || impl_->foreign()) return false;
  Word64& word = impl_->page.chunks[slot];
  std::uint64_t seen = word.load(std::memory_order_acquire);
  for (;;) {
    PackedChunk chunk = PackedChunk::unpack(seen);
    if (chunk.tag != impl_->slots[slot].tag || chunk.next != item || item >= chunk.end) return false;
    ++chunk.next;
    // compare-exchange against the parent's take_back() (model/claim.pml). acq_rel: as there. A failure means `end` was lowered: look again.
    if (word.compare_exchange_strong(seen, chunk.pack(), std::memory_order_acq_rel, std::memory_order_acquire)) return true;
  }
}

WorkerChannel::Wake WorkerChannel::wait_for_tasks(Nanos timeout) {
  Impl& my = *impl_;
  Wake wake = Wake::cancelled;
  if (my.foreign()) return wake;
  const auto ready = [&my, &wake] {
    // `orders` before the ring: a worker that reads "closed" then sees every task committed before it.
    const std::uint32_t orders = my.page.orders.load(std::memory_order_seq_cst);
    if ((orders & (kOrderCancelled | kOrderLeaving)) != 0) {
      wake = Wake::cancelled;
    } else if (my.tasks.anything_there()) {
      wake = Wake::tasks;
    } else if ((orders & kOrderClosed) != 0) {
      wake = Wake::closed;
    } else {
      return false;
    }
    return true;
  };
  if (ready() || my.spinner.spin(ready)) return wake;
  switch (sleep_until(my.page.sleeping, SleepReason::for_tasks, timeout, ready)) {
    case SleepEnd::interrupted: return Wake::interrupted;
    case SleepEnd::timed_out: return Wake::timed_out;
    case SleepEnd::ready: break;
  }
  return wake;
}

bool WorkerChannel::closed() const { return impl_->has_order(kOrderClosed) || impl_->foreign(); }
bool WorkerChannel::leaving() const { return impl_->has_order(kOrderCancelled | kOrderLeaving) || impl_->foreign(); }
bool WorkerChannel::cancelled() const { return impl_->has_order(kOrderCancelled) || impl_->foreign(); }

// --- results ---

bool WorkerChannel::push_result(const ResultFrame& frame) {
  Impl& my = *impl_;
  if (frame.payload.inline_bytes.size() > kInlineLimit || my.foreign()) return false;
  // The short header does where the frame before says the rest.
  const bool is_next = frame.payload.buffer == 0 && frame::is_next_done(frame, my.answered);
  const std::size_t header = is_next ? frame::kHeadSize : frame::kSizeOf<frame::ResultHeader>;
  std::byte* at = my.results.reserve(frame::cost(header, frame.payload));
  if (at == nullptr) return false;
  HF_FAILPOINT(ring_result_reserved);
  const std::uint32_t length = frame::put_payload(at, header, frame.payload);
  if (is_next) {
    frame::put_word(at, frame::next_done_head(length, frame.run_time));
  } else {
    const frame::Head head{.length = length, .type = static_cast<std::uint8_t>(frame.kind), .form = frame::form_of(frame.payload)};
    const auto run_time_ns = static_cast<std::uint64_t>(std::max(frame.run_time, Nanos{0}).count());
    const std::uint32_t flags = frame.argument_kept ? frame::ResultHeader::kArgumentKept : 0;
    frame::put_header(
        at, frame::ResultHeader{.head = head, .item = frame.item, .flags = flags, .chunk = frame.chunk, .run_time_ns = run_time_ns});
  }
  my.results.advance(frame::align_up(length));
  my.answered = frame::behind(frame, my.answered);
  return true;
}

void WorkerChannel::commit_result() {
  if (impl_->foreign()) return;
  HF_FAILPOINT(ring_result_written);
  impl_->results.publish();
}

WorkerChannel::Wake WorkerChannel::wait_for_room(std::size_t bytes, Nanos timeout) {
  Impl& my = *impl_;
  Wake wake = Wake::cancelled;
  if (my.foreign()) return wake;
  HF_FAILPOINT(ring_room_missing);
  commit_result();  // or the parent could not free what it cannot see
  const std::size_t needed = frame::align_up(frame::kSizeOf<frame::ResultHeader> + std::min(bytes, kInlineLimit));
  const auto ready = [&my, &wake, needed] {
    const bool fits = my.results.fits(needed);
    wake = fits ? Wake::room : Wake::cancelled;
    return fits || my.has_order(kOrderCancelled);
  };
  switch (sleep_until(my.page.sleeping, SleepReason::for_room, timeout, ready)) {
    case SleepEnd::interrupted: return Wake::interrupted;
    case SleepEnd::timed_out: return Wake::timed_out;
    case SleepEnd::ready: break;
  }
  return wake;
}

// --- hints ---

void WorkerChannel::set_progress(ChunkId chunk, std::uint32_t item, Time started, std::uint32_t phase) {
  if (impl_->foreign()) return;
  ProgressWords& words = impl_->page.progress;
  // The seqlock's writing half: odd, the words, even. Every store is a release, so none moves before the odd one or behind the even
  // one; readers load with acquire (ParentChannel::progress). Plain stores on x86.
  const std::uint64_t version = words.version.load(std::memory_order_relaxed);
  words.version.store(version + 1, std::memory_order_relaxed);
  words.chunk.store(chunk, std::memory_order_release);
  words.item.store(item, std::memory_order_release);
  words.phase.store(phase, std::memory_order_release);
  words.started_ns.store(static_cast<std::uint64_t>(started.count()), std::memory_order_release);
  words.version.store(version + 2, std::memory_order_release);
}

// relaxed: the two words are only compared with what they were some seconds ago; a torn pair makes one look worthless.
WorkerChannel::Doing WorkerChannel::doing() const {
  const ProgressWords& words = impl_->page.progress;
  return {words.version.load(std::memory_order_relaxed), words.started_ns.load(std::memory_order_relaxed) != 0};
}

void WorkerChannel::count_item_done() {
  if (impl_->foreign()) return;
  Word64& done = impl_->page.progress.items_done;
  done.store(done.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);  // one writer: no RMW needed
}

// seq_cst in both: see ParentChannel::set_overdue.
void WorkerChannel::set_soft_signal(int signal) {
  if (impl_->foreign()) return;
  impl_->page.soft_signal.store(static_cast<std::uint32_t>(signal), std::memory_order_seq_cst);
}

std::optional<Nanos> WorkerChannel::overdue(ChunkId chunk, std::uint32_t item) const {
  if (impl_->foreign()) return std::nullopt;
  const OverdueWords& words = impl_->page.overdue;
  if (words.item.load(std::memory_order_seq_cst) != item_number(chunk, item)) return std::nullopt;
  // Not the next one's: nobody names an item while this one runs.
  return Nanos(static_cast<Nanos::rep>(words.limit_ns.load(std::memory_order_relaxed)));
}

std::span<const char> WorkerChannel::stacks_text() const {
  return {reinterpret_cast<const char*>(impl_->mapping->data()) + impl_->stacks_at, kMaxStacksText};
}
std::size_t WorkerChannel::stacks_offset() const { return impl_->stacks_at; }

// relaxed: see ParentChannel::stacks_signal. That a text is whole, the message says which follows it, or the process's end.
void WorkerChannel::set_stacks_signal(int signal) {
  impl_->page.stacks_signal.store(static_cast<std::uint32_t>(signal), std::memory_order_relaxed);
}
WorkerChannel::StacksWanted WorkerChannel::stacks_wanted() const {
  const std::uint32_t word = impl_->page.stacks_wanted.load(std::memory_order_seq_cst);  // see stack_report.cpp, on_request()
  return {.number = word & ~kLastLook, .last = (word & kLastLook) != 0};
}
std::uint32_t WorkerChannel::stacks_taken() const { return impl_->page.stacks_taken.load(std::memory_order_relaxed); }
void WorkerChannel::set_stacks_taken(std::uint32_t number) { impl_->page.stacks_taken.store(number, std::memory_order_release); }
void WorkerChannel::set_crash_signal(int signal) {
  impl_->page.crash_signal.store(static_cast<std::uint32_t>(signal), std::memory_order_relaxed);
}

std::uint64_t WorkerChannel::free_buffers() const { return impl_->page.free_buffers.load(std::memory_order_acquire); }

void WorkerChannel::take_buffer(std::uint32_t index) {
  if (index >= 64 || impl_->foreign()) return;
  impl_->page.free_buffers.fetch_and(~(std::uint64_t{1} << index), std::memory_order_acquire);
}

}  // namespace holdfast::ring
