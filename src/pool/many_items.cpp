// What: see many_items.hpp.
#include "pool/many_items.hpp"

#include <algorithm>
#include <iterator>
#include <utility>

namespace holdfast::pool {

namespace {
constexpr std::uint64_t kLongChunk = 16;  // shorter ones: a run is a record or a few, and costs more than their slots
constexpr std::uint64_t kBatch = 64;      // items that a reader takes at once, at most
constexpr std::uint64_t kLeast = 8;       // fewer are not worth it: what is borrowed keeps the feeder waiting
constexpr std::uint64_t kFast = 64;       // items between two waits of a reader, in
constexpr Nanos kFastWithin = std::chrono::milliseconds(1);
constexpr std::uint64_t kManyOnTheirWay = 2048;  // so that no worker runs dry in a short nap
constexpr std::uint64_t kPartOfWindow = 4;       // and not more than this part of it, or the feeder would wait for him
}  // namespace

ManyItems::ManyItems(JobRequest& request)
    : unordered(request.unordered),
      lazy(request.open && request.window != 0),
      in_runs(request.whole && request.chunk_size >= kLongChunk),
      chunk_size(request.chunk_size),
      window(request.window, request.widest, request.chunk_size),
      input_open(request.open),
      runs_(in_runs ? std::make_unique<OutcomeRuns>() : nullptr),
      lazy_runs_(lazy && chunk_size >= kLongChunk ? std::make_unique<LazyRuns>(unordered) : nullptr),
      completion_order_(unordered && !lazy_runs_ ? std::make_unique<std::deque<ItemIndex>>() : nullptr) {
  add_items(std::move(request.items));
}

void ManyItems::add_items(ItemBatch&& batch) {
  const std::uint64_t added = batch.count();
  if (in_runs)
    runs_->grow(added);
  else if (lazy_runs_)
    lazy_runs_->grow(added);
  else
    slots_.resize(slots_.size() + added);
  if (lazy && added != 0) window.saw(batch.bytes_per_item());
  items.append(std::move(batch));
  unsettled_ += added;
}

bool ManyItems::settled_unread(ItemIndex item) const {
  if (lazy_runs_) return lazy_runs_->has(item);
  const Slot* found = slot(item);
  return found != nullptr && found->kind != OutcomeKind::pending && !found->read;
}

bool ManyItems::settle(ItemIndex item, OutcomeKind kind, Payload&& payload, Failure failure) {
  if (!is_pending(item)) return false;
  --unsettled_;
  if (kind != OutcomeKind::done && kind != OutcomeKind::skipped && !first_failure) first_failure = item;
  if (failure.kind != OutcomeKind::pending && !forgotten) failures_.add(item, std::move(failure));
  if (in_runs)
    runs_->settle(item, kind, forgotten ? Payload{} : std::move(payload));
  else if (lazy_runs_) {
    window.saw(payload.bytes().size());
    lazy_runs_->settle(item, kind, std::move(payload), !forgotten);
  } else
    settle_slot(item, kind, std::move(payload));
  if (lazy)
    items.settled(item, 1);  // else the bytes go all at once, with the job's last item
  else
    drop_items_when_over();
  return true;
}

void ManyItems::settle_slot(ItemIndex item, OutcomeKind kind, Payload&& payload) {
  Slot& found = slots_[item - base_];
  found.kind = kind;
  if (forgotten) {
    found.read = true;
    drop_read_prefix();
    return;
  }
  if (lazy) window.saw(payload.bytes().size());
  found.payload = std::move(payload);
  if (unordered) completion_order_->push_back(item);
}

bool ManyItems::reads_fast(Time now) {
  if (!lazy_runs_) return false;
  const std::uint64_t settled = size() - unsettled_;
  const bool dense = settled - std::exchange(settled_then_, settled) >= kFast;
  return now - std::exchange(waited_at_, now) < kFastWithin && dense && unsettled_ >= kManyOnTheirWay;
}

std::uint64_t ManyItems::settle_lazy_run(ItemIndex first, std::uint32_t count, std::size_t bytes) {
  if (lazy_runs_->all_pending(first, count) && lazy_runs_->settle_run(first, count, bytes, !forgotten)) {
    window.saw(bytes / count);  // what it holds is bounded in bytes: the mean says as much as each
    unsettled_ -= count;
    items.settled(first, count);
    return count;
  }
  // Rare: some were cancelled or terminated meanwhile, or there is no memory for them in one piece.
  ring::pack::Reader records(lazy_runs_->records_in_room(bytes));
  ByteSpan record;
  std::uint64_t settled = 0;
  for (ItemIndex item = first; records.next(record); ++item) {
    Payload payload = Payload::copy(record);
    const OutcomeKind kind = payload.is_lost() ? OutcomeKind::raised : OutcomeKind::done;
    if (settle(item, kind, std::move(payload), {})) ++settled;
  }
  return settled;
}

std::uint64_t ManyItems::settle_run(ItemIndex first, std::uint32_t count, std::size_t bytes) {
  if (lazy_runs_) return settle_lazy_run(first, count, bytes);
  const std::uint64_t settled = runs_->settle_run(first, count, bytes);
  if (forgotten) (void)runs_->take_payloads();
  unsettled_ -= settled;
  drop_items_when_over();
  return settled;
}

void ManyItems::drop_items_when_over() {
  if (finished()) items = ItemStore{};
}

void ManyItems::move_out(ItemIndex item, Slot& found, Settled& out) {
  out.item = item;
  out.kind = found.kind;
  out.payload = std::move(found.payload);
  found.read = true;
  ++consumed_;
  if (found.kind == OutcomeKind::done) return;
  failures_.take_into(out);
}

/// Of lazy_runs_.
bool ManyItems::piece_taken(Settled& out) {
  consumed_ += out.count;
  borrowed_ += out.count - 1;
  if (out.kind != OutcomeKind::done) failures_.take_into(out);
  return true;
}

bool ManyItems::take(ItemIndex item, Settled& out, Take what) {
  if (lazy_runs_) return lazy_runs_->take(item, out, what) && piece_taken(out);
  if (!settled_unread(item)) return false;
  move_out(item, slots_[item - base_], out);
  drop_read_prefix();
  return true;
}

bool ManyItems::take_any(Settled& out, Take what) {
  if (lazy_runs_) return lazy_runs_->take_any(out, what) && piece_taken(out);
  while (any_settled_unread()) {
    const ItemIndex item = completion_order_->front();
    completion_order_->pop_front();
    if (take(item, out, what)) return true;
  }
  return false;
}

void ManyItems::take_more(ItemIndex next, std::vector<Settled>& out) {
  const std::uint64_t most = window.limited() ? std::min(kBatch, window.size() / kPartOfWindow) : kBatch;
  if (most < kLeast) return;
  try {
    out.reserve(out.size() + most);
  } catch (const std::bad_alloc&) { return; }
  for (std::uint64_t taken = 0; taken < most; ++borrowed_) {
    Settled settled;
    if (unordered ? !take_any(settled, Take::run) : !take(next + taken, settled, Take::run)) return;
    taken += settled.count;
    out.push_back(std::move(settled));
  }
}

Harvest ManyItems::take_all() {
  Harvest all;
  if (lazy_runs_) return all;
  if (completion_order_) completion_order_->clear();
  if (in_runs) return {unsettled_ == 0 ? std::exchange(*runs_, {}) : runs_->take_payloads(), std::exchange(failures_, {})};
  if (unsettled_ == 0) {
    consumed_ = size();
    all = Harvest(base_, std::exchange(slots_, {}), std::exchange(failures_, {}));
    base_ = read_prefix_ = base_ + all.size();
    return all;
  }
  // Some are pending (a handle dropped in the middle): the settled ones are moved one by one, the others stay.
  std::vector<OutcomeSlot> settled(slots_.size());
  for (std::size_t index = 0; index < slots_.size(); ++index) {
    Slot& each = slots_[index];
    if (each.kind == OutcomeKind::pending || each.read) continue;
    settled[index].payload = std::move(each.payload);
    settled[index].kind = each.kind;
    each.read = true;
    ++consumed_;
  }
  all = Harvest(base_, std::move(settled), std::exchange(failures_, {}));
  drop_read_prefix();
  return all;
}

// The read prefix is erased once it is at least half of what is kept: amortised O(1) per item, memory at most twice what is unread.
void ManyItems::drop_read_prefix() {
  while (read_prefix_ - base_ < slots_.size() && slots_[read_prefix_ - base_].read) ++read_prefix_;
  const std::size_t done = read_prefix_ - base_;
  if (done < 32 && done < slots_.size()) return;
  if (done * 2 < slots_.size()) return;
  slots_.erase(slots_.begin(), slots_.begin() + static_cast<std::ptrdiff_t>(done));
  base_ = read_prefix_;
}

}  // namespace holdfast::pool
