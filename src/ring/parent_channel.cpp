// What: the parent's side of a channel. Nothing that the worker can write is believed: see the checks at each load. [channel.hpp]
// Thread safety: under the pool's mutex, but for release_buffer() and progress(), which any thread may call.
#include <algorithm>
#include <array>
#include <bit>
#include <csignal>
#include <string>
#include <utility>

#include "base/check.hpp"
#include "ring/byte_ring.hpp"
#include "ring/frame.hpp"
#include "ring/layout.hpp"
#include "ring/wait.hpp"
#include "sys/failpoint.hpp"
#include "sys/memfd.hpp"

namespace holdfast::ring {
namespace {

using frame::Fault;

Error protocol_error(Fault fault, const char* operation, std::uint32_t worker_index) {
  return Error{ErrorCode::protocol_error, 0, operation,
               std::string("the worker wrote ") + frame::describe(fault) + " (worker index " + std::to_string(worker_index) + ")"};
}

/// What the parent knows of a chunk slot. The shared word is compared with this; only `next` may differ, and only upwards.
struct Slot {
  bool used = false;
  std::uint32_t count = 0;
  std::uint32_t end = 0;
  std::uint32_t next_seen = 0;
  std::uint32_t tag = 0;
  ChunkId chunk = 0;
};

bool valid_ring_size(std::uint32_t bytes) { return std::has_single_bit(bytes) && bytes >= kMinRingBytes && bytes <= kMaxRingBytes; }

}  // namespace

struct ParentChannel::Impl {
  Impl(UniqueFd memory, std::shared_ptr<sys::Mapping> mapped, const Geometry& geometry, std::uint32_t index)
      : fd(std::move(memory)),
        mapping(std::move(mapped)),
        page(*reinterpret_cast<ChannelPage*>(mapping->data())),
        worker_index(index),
        tasks(mapping->data() + kRingOffset, geometry.task_ring_bytes, page.task_tail, page.task_head),
        results(mapping->data() + kRingOffset + geometry.task_ring_bytes, geometry.result_ring_bytes, page.result_tail, page.result_head),
        stacks(reinterpret_cast<const char*>(mapping->data()) + stacks_offset(geometry), kMaxStacksText) {}

  Result<PackedChunk> check_word(std::uint32_t slot);
  bool push_id(TaskFrameType type, std::uint64_t id);
  std::uint32_t slot_of(ChunkId chunk);
  void give_order(std::uint32_t order);

  UniqueFd fd;
  std::shared_ptr<sys::Mapping> mapping;
  ChannelPage& page;
  std::uint32_t worker_index;
  RingWriter tasks;
  RingReader results;
  std::span<const char> stacks;
  std::array<Slot, kChunkSlots> slots{};
  std::uint64_t uncommitted = 0;     // bit i: slot i's chunk was pushed since the last commit
  std::uint32_t last_item_slot = 0;  // slot of the chunk that items are being pushed for
  frame::TaskContext context;        // behind the last frame pushed
  frame::TaskContext committed;      // behind the last frame committed
  frame::ResultContext answered;     // behind the last result popped
  frame::ResultContext pending;      // behind the one that next_result() returned
  std::size_t current = 0;           // bytes of that one
  Fault fault = Fault::none;         // sticky: nothing is read after nonsense
};

ParentChannel::ParentChannel(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
ParentChannel::~ParentChannel() = default;

Result<std::unique_ptr<ParentChannel>> ParentChannel::create(const Geometry& geometry, std::uint32_t worker_index) {
  if (!valid_ring_size(geometry.task_ring_bytes) || !valid_ring_size(geometry.result_ring_bytes)) {
    return Error{ErrorCode::invalid_argument, 0, "ring.create",
                 "ring sizes must be powers of two from " + std::to_string(kMinRingBytes) + " to " + std::to_string(kMaxRingBytes) +
                     " bytes; got " + std::to_string(geometry.task_ring_bytes) + " and " + std::to_string(geometry.result_ring_bytes)};
  }
  if (worker_index >= kMaxWorkers) {
    return Error{ErrorCode::invalid_argument, 0, "ring.create",
                 "worker index " + std::to_string(worker_index) + ": a pool has at most " + std::to_string(kMaxWorkers) + " workers"};
  }
  const std::size_t size = segment_size(geometry);
  auto fd = sys::create_memfd("holdfast-ring", size);
  if (!fd.ok()) return std::move(fd).error();
  auto mapping = sys::Mapping::map(fd->get(), size, sys::Mapping::Mode::shared);
  if (!mapping.ok()) return std::move(mapping).error();
  auto impl = std::make_unique<Impl>(*std::move(fd), std::make_shared<sys::Mapping>(*std::move(mapping)), geometry, worker_index);
  ChannelPage& page = impl->page;  // fresh memory: all zero
  page.task_ring_bytes = geometry.task_ring_bytes;
  page.result_ring_bytes = geometry.result_ring_bytes;
  page.worker_index = worker_index;
  page.version = kLayoutVersion;
  page.magic = kChannelMagic;
  return std::unique_ptr<ParentChannel>(new ParentChannel(std::move(impl)));
}

int ParentChannel::fd() const { return impl_->fd.get(); }
void ParentChannel::close_fd() { impl_->fd.reset(); }
std::shared_ptr<sys::Mapping> ParentChannel::mapping() const { return impl_->mapping; }

// --- tasks ---

std::size_t ParentChannel::task_room() const { return impl_->tasks.room(); }
std::size_t ParentChannel::function_cost(const PayloadRef& payload) { return frame::cost(frame::kSizeOf<frame::IdHeader>, payload); }
std::size_t ParentChannel::chunk_cost() { return frame::kSizeOf<frame::ChunkHeader>; }
std::size_t ParentChannel::item_cost(const PayloadRef& payload) { return frame::cost(frame::kSizeOf<frame::ItemHeader>, payload); }

bool ParentChannel::push_function(FunctionId function, const PayloadRef& payload) {
  HF_CHECK(payload.inline_bytes.size() <= kInlineLimit);
  const std::size_t bytes = function_cost(payload);
  std::byte* at = impl_->tasks.reserve(bytes);
  if (at == nullptr) return false;
  frame::IdHeader header{.head = {.type = static_cast<std::uint8_t>(TaskFrameType::function), .form = frame::form_of(payload)},
                         .id = function};
  header.head.length = frame::put_payload(at, frame::kSizeOf<frame::IdHeader>, payload);
  frame::put_header(at, header);
  impl_->tasks.advance(bytes);
  return true;
}

bool ParentChannel::Impl::push_id(TaskFrameType type, std::uint64_t id) {
  std::byte* at = tasks.reserve(frame::kSizeOf<frame::IdHeader>);
  if (at == nullptr) return false;
  frame::put_header(
      at, frame::IdHeader{.head = {.length = frame::kSizeOf<frame::IdHeader>, .type = static_cast<std::uint8_t>(type)}, .id = id});
  tasks.advance(frame::kSizeOf<frame::IdHeader>);
  return true;
}

bool ParentChannel::push_forget_function(FunctionId function) { return impl_->push_id(TaskFrameType::forget_function, function); }
bool ParentChannel::push_buffer_gone(BufferId buffer) { return impl_->push_id(TaskFrameType::buffer_gone, buffer); }

bool ParentChannel::push_chunk(ChunkId chunk, JobId job, FunctionId function, std::uint32_t slot, std::uint32_t count,
                               std::uint16_t call_mode, std::uint16_t flags) {
  HF_CHECK(slot < kChunkSlots && !impl_->slots[slot].used);
  HF_CHECK(count > 0 && count <= kMaxChunkItems && chunk != 0);
  std::byte* at = impl_->tasks.reserve(frame::kSizeOf<frame::ChunkHeader>);
  if (at == nullptr) return false;
  Slot& mine = impl_->slots[slot];
  mine = Slot{.used = true, .count = count, .end = count, .next_seen = 0, .tag = (mine.tag + 1) & kTagMask, .chunk = chunk};
  impl_->uncommitted |= std::uint64_t{1} << slot;
  impl_->last_item_slot = slot;
  // relaxed: published with the chunk's frame by commit_tasks(). A frame of the slot's old chunk cannot claim on it: its tag is older.
  impl_->page.chunks[slot].store(PackedChunk{.next = 0, .end = count, .tag = mine.tag}.pack(), std::memory_order_relaxed);
  frame::ChunkHeader header{
      .head = {.length = frame::kSizeOf<frame::ChunkHeader>, .type = static_cast<std::uint8_t>(TaskFrameType::chunk)}};
  header.head.slot = static_cast<std::uint16_t>(slot);
  header.count = count;
  header.call_mode = call_mode;
  header.flags = flags;
  header.chunk = chunk;
  header.job = job;
  header.function = function;
  header.tag = mine.tag;
  frame::put_header(at, header);
  impl_->tasks.advance(frame::kSizeOf<frame::ChunkHeader>);
  impl_->context = frame::behind_chunk(slot);
  return true;
}

std::uint32_t ParentChannel::Impl::slot_of(ChunkId chunk) {
  if (slots[last_item_slot].chunk != chunk) {  // rare: back to a chunk that could not be pushed whole
    std::uint32_t slot = 0;
    while (slot < kChunkSlots && !(slots[slot].used && slots[slot].chunk == chunk)) ++slot;
    HF_CHECK(slot < kChunkSlots);
    last_item_slot = slot;
  }
  return last_item_slot;
}

bool ParentChannel::push_items(ChunkId chunk, std::uint32_t first, std::uint32_t count, ByteSpan records) {
  HF_CHECK(count > 0 && records.size() <= kInlineLimit);
  const std::uint32_t slot = impl_->slot_of(chunk);
  constexpr std::size_t kHeader = frame::kSizeOf<frame::ItemsHeader>;
  const std::size_t bytes = frame::align_up(kHeader + records.size());
  std::byte* at = impl_->tasks.reserve(bytes);
  if (at == nullptr) return false;
  const frame::Head head{
      .length = static_cast<std::uint32_t>(kHeader + records.size()), .type = frame::kItems, .slot = static_cast<std::uint16_t>(slot)};
  frame::put_header(
      at, frame::ItemsHeader{.head = head, .first = first, .chunk_low = static_cast<std::uint32_t>(chunk), .count = count, .reserved = 0});
  std::memcpy(at + kHeader, records.data(), records.size());
  impl_->tasks.advance(bytes);
  impl_->context = frame::behind_item(slot, first + count - 1);
  return true;
}

bool ParentChannel::push_item(ChunkId chunk, std::uint32_t item, const PayloadRef& payload) {
  HF_CHECK(payload.inline_bytes.size() <= kInlineLimit);
  const std::uint32_t slot = impl_->slot_of(chunk);
  const bool is_next = impl_->context.expects(slot, item);
  const std::size_t size = is_next ? frame::kHeadSize : frame::kSizeOf<frame::ItemHeader>;
  const std::size_t bytes = frame::cost(size, payload);
  std::byte* at = impl_->tasks.reserve(bytes);
  if (at == nullptr) return false;
  frame::Head head{
      .length = frame::put_payload(at, size, payload), .form = frame::form_of(payload), .slot = static_cast<std::uint16_t>(slot)};
  if (is_next) {
    head.type = frame::kNextItem;
    frame::put_word(at, head.pack());
  } else {
    head.type = static_cast<std::uint8_t>(TaskFrameType::item);
    frame::put_header(at, frame::ItemHeader{.head = head, .item = item, .chunk_low = static_cast<std::uint32_t>(chunk)});
  }
  impl_->tasks.advance(bytes);
  impl_->context = frame::behind_item(slot, item);
  return true;
}

void ParentChannel::commit_tasks() {
  if (!impl_->tasks.anything_pushed()) return;
  impl_->uncommitted = 0;
  impl_->committed = impl_->context;
  HF_FAILPOINT(ring_tasks_written);
  impl_->tasks.publish();
  HF_FAILPOINT(ring_tasks_published);
  wake_sleeper(impl_->page.sleeping, SleepReason::for_tasks);
}

void ParentChannel::abandon_pushed() {
  for (; impl_->uncommitted != 0; impl_->uncommitted &= impl_->uncommitted - 1) {
    release_slot(static_cast<std::uint32_t>(std::countr_zero(impl_->uncommitted)));
  }
  impl_->context = impl_->committed;
  impl_->tasks.abandon();
}

// --- chunk words ---

/// Reads the word of a slot in use once and compares it with what the parent knows: the worker may only have raised `next`.
Result<PackedChunk> ParentChannel::Impl::check_word(std::uint32_t slot) {
  HF_CHECK(slot < kChunkSlots && slots[slot].used);
  Slot& mine = slots[slot];
  // acquire: pairs with the compare-exchange of claim().
  const auto word = PackedChunk::unpack(page.chunks[slot].load(std::memory_order_acquire));
  if (word.tag != mine.tag || word.end != mine.end || word.next > word.end || word.next < mine.next_seen) {
    return protocol_error(Fault::chunk_word, "ring.chunk_word", worker_index);
  }
  mine.next_seen = word.next;
  return word;
}

Result<ChunkWord> ParentChannel::load_chunk(std::uint32_t slot) const {
  auto word = impl_->check_word(slot);
  if (!word.ok()) return std::move(word).error();
  return ChunkWord{.next = word->next, .end = word->end};
}

Result<std::uint32_t> ParentChannel::take_back(std::uint32_t slot, std::uint32_t keep) {
  for (;;) {
    auto word = impl_->check_word(slot);
    if (!word.ok()) return std::move(word).error();
    const std::uint32_t new_end = std::max(word->next, keep);
    if (new_end >= word->end) return word->end;
    std::uint64_t expected = word->pack();
    // compare-exchange: an item is either claimed or taken back, never both (mutant PLAIN_TAKE_BACK). acq_rel: nothing else hangs on
    // this word; it is the order that is easiest to argue. The loop ends: it goes round only when the worker has raised `next`, which
    // check_word() lets it do `count` times at most.
    if (impl_->page.chunks[slot].compare_exchange_strong(expected, PackedChunk{word->next, new_end, word->tag}.pack(),
                                                         std::memory_order_acq_rel, std::memory_order_acquire)) {
      impl_->slots[slot].end = new_end;
      return new_end;
    }
    if (PackedChunk::unpack(expected).next <= word->next) return protocol_error(Fault::chunk_word, "ring.take_back", impl_->worker_index);
  }
}

void ParentChannel::release_slot(std::uint32_t slot) {
  HF_CHECK(slot < kChunkSlots);
  impl_->slots[slot].used = false;
}

// --- results ---

Result<std::optional<ResultFrame>> ParentChannel::next_result() {
  Impl& my = *impl_;
  // Decoded straight into what is returned (one variable in every return: the compiler then elides the copy), from a copy of a constant: no
  // fresh narrow stores are read back by wide loads. Those store-forwarding stalls were half of this function's time.
  static constexpr std::optional<ResultFrame> kFresh(std::in_place);
  Result<std::optional<ResultFrame>> out(kFresh);
  Fault fault = my.fault;
  RingReader::Piece piece;
  if (fault == Fault::none) fault = my.tasks.head_was_nonsense() ? Fault::position : my.results.peek(piece);
  if (fault == Fault::none) {
    if (piece.at == nullptr) {
      out->reset();
      return out;
    }
    ResultFrame& result = **out;
    fault = frame::decode_result(piece.at, piece.available, my.answered, result, my.current);
    if (fault == Fault::none) {
      my.pending = frame::behind(result, my.answered);
      return out;
    }
  }
  my.fault = fault;
  out = protocol_error(fault, "ring.next_result", my.worker_index);
  return out;
}

ParentChannel::DoneRun ParentChannel::take_done_run(std::uint32_t limit, MutableByteSpan into) {
  Impl& my = *impl_;
  DoneRun run;
  if (my.fault != Fault::none || my.answered.chunk == 0 || my.tasks.head_was_nonsense()) return run;
  limit = std::min(limit, kMaxChunkItems - std::min(my.answered.next_item, kMaxChunkItems));
  while (run.count < limit) {
    RingReader::Piece piece;
    if (my.results.peek(piece) != Fault::none || piece.at == nullptr) break;  // next_result() looks again, and says what is wrong
    const auto copied = frame::copy_next_dones(piece.at, piece.available, limit - run.count, into.subspan(run.pack_bytes));
    if (copied.count == 0) break;
    my.results.advance(copied.frame_bytes);
    my.answered.next_item += copied.count;
    run.count += copied.count;
    run.pack_bytes += copied.pack_bytes;
    run.run_time += Nanos(static_cast<Nanos::rep>(copied.short_times * frame::kShortRunTimeUnit));
  }
  return run;
}

void ParentChannel::pop_result() {
  impl_->results.advance(std::exchange(impl_->current, 0));
  impl_->answered = impl_->pending;
}

void ParentChannel::release_results() {
  impl_->results.release();
  wake_sleeper(impl_->page.sleeping, SleepReason::for_room);
}

bool ParentChannel::results_waiting() const { return impl_->fault == Fault::none && impl_->results.anything_there(); }

// --- the end ---

void ParentChannel::set_closed() {
  commit_tasks();
  impl_->give_order(kOrderClosed);
}
void ParentChannel::set_leaving() { impl_->give_order(kOrderLeaving); }
void ParentChannel::set_cancelled() { impl_->give_order(kOrderCancelled); }

void ParentChannel::Impl::give_order(std::uint32_t order) {
  // seq_cst: before the look at `sleeping`, behind the last publication: a worker that sees the order sees every task (wait.hpp).
  page.orders.fetch_or(order, std::memory_order_seq_cst);
  wake_any_sleeper(page.sleeping);
}

void ParentChannel::release_buffer(std::uint32_t index) {
  if (index >= 64) return;
  // release: pairs with free_buffers(): the parent's reads of the buffer are over before the worker writes into it again.
  impl_->page.free_buffers.fetch_or(std::uint64_t{1} << index, std::memory_order_release);
}

// seq_cst on `item` and on the look at `soft_signal`: the worker sets its signal and then looks at `item` (SoftLimit::begin), so at least one
// of the two sees the other, and an item that becomes overdue while the handler is put in place is not forgotten.
int ParentChannel::set_overdue(ChunkId chunk, std::uint32_t item, Nanos limit) {
  OverdueWords& words = impl_->page.overdue;
  words.limit_ns.store(static_cast<std::uint64_t>(limit.count()), std::memory_order_relaxed);  // published by the next store
  words.item.store(item_number(chunk, item), std::memory_order_seq_cst);
  const int signal = static_cast<int>(impl_->page.soft_signal.load(std::memory_order_seq_cst));
  return signal >= SIGRTMIN && signal <= SIGRTMAX ? signal : 0;
}

// relaxed, here and below: hints. A number that is seen late is answered late or not at all, which the asker's time limit covers.
int ParentChannel::stacks_signal() const {
  const int signal = static_cast<int>(impl_->page.stacks_signal.load(std::memory_order_relaxed));
  return signal >= SIGRTMIN && signal <= SIGRTMAX ? signal : 0;
}

// seq_cst: see stack_report.cpp, on_request().
void ParentChannel::want_stacks(std::uint32_t number, bool last) {
  impl_->page.stacks_wanted.store(number | (last ? kLastLook : 0), std::memory_order_seq_cst);
}
// acquire: pairs with set_stacks_taken(), so the text is whole.
std::uint32_t ParentChannel::stacks_taken() const { return impl_->page.stacks_taken.load(std::memory_order_acquire); }

bool ParentChannel::says_crashed() const { return impl_->page.crash_signal.load(std::memory_order_relaxed) != 0; }

std::string ParentChannel::stacks_text() const {
  std::string text(impl_->stacks.data(), impl_->stacks.size());  // first: the worker may still write
  text.resize(std::min(text.find('\0'), text.size()));
  for (char& each : text) {
    if ((static_cast<unsigned char>(each) < 0x20 && each != '\n' && each != '\t') || each == 0x7f) each = '?';
  }
  return text;
}

ParentChannel::Progress ParentChannel::progress() const {
  const ProgressWords& words = impl_->page.progress;
  constexpr int kTries = 16;  // a worker that keeps `version` odd must not hold us
  Progress out{};
  for (int i = 0; i < kTries; ++i) {
    // The seqlock's reading half. acquire on each load keeps the second look at `version` behind them; see set_progress().
    const std::uint64_t before = words.version.load(std::memory_order_acquire);
    out.chunk = words.chunk.load(std::memory_order_acquire);
    out.item = words.item.load(std::memory_order_acquire);
    out.phase = words.phase.load(std::memory_order_acquire);
    out.started = Time(static_cast<Time::rep>(words.started_ns.load(std::memory_order_acquire)));
    if ((before & 1) == 0 && words.version.load(std::memory_order_relaxed) == before) {
      out.items_done = words.items_done.load(std::memory_order_relaxed);
      return out;
    }
  }
  return Progress{.items_done = words.items_done.load(std::memory_order_relaxed), .chunk = 0, .item = 0, .started = Time{0}, .phase = 0};
}

}  // namespace holdfast::ring
