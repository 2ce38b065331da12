// What: the items of a job, and the outcome of each, where a job is more than one item that is known from the start (job.hpp). Owned by its
// Job, guarded by the pool's one mutex.
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <unordered_map>
#include <utility>
#include <vector>

#include "pool/engine.hpp"
#include "pool/item_store.hpp"
#include "pool/lazy_runs.hpp"
#include "pool/waiter.hpp"
#include "pool/window.hpp"

namespace holdfast::pool {

class ManyItems {
 public:
  /// Takes the items out of the request. Throws std::bad_alloc, as add_items() does.
  explicit ManyItems(JobRequest& request);

  const bool unordered;
  const bool lazy;     // read item by item while it runs (imap); else an open job is only one submitted in slices
  const bool in_runs;  // read whole, with chunks that are long enough to keep its results in runs
  const std::uint64_t chunk_size;

  Window window;  // of a lazy job
  ItemStore items;
  bool input_open;
  bool forgotten = false;  // as Job's
  bool unlimited = false;  // close() lifts the window
  std::optional<ItemIndex> first_failure;
  std::unordered_map<ItemIndex, std::uint32_t> deaths_under;  // runs that ended with the worker's death
  std::uint32_t item_waiters = 0;                             // waiters that want single items
  WaiterList feeders;                                         // for room in the window

  void add_items(ItemBatch&& batch);
  /// Frees the encoded items of a job that needs them no more.
  void drop_items_when_over();
  std::uint64_t size() const { return in_runs ? runs_->size() : lazy_runs_ ? lazy_runs_->size() : base_ + slots_.size(); }
  /// Results that are done are welcome in runs: room_for_run(), settle_run().
  bool takes_runs() const { return in_runs || lazy_runs_; }
  std::uint64_t unsettled() const { return unsettled_; }
  /// All settled and the input closed.
  bool finished() const { return unsettled_ == 0 && !input_open; }
  /// Room in the window: items that may be taken now. What nobody will read counts as consumed once it is settled.
  std::uint64_t room() const {
    if (!window.limited() || unlimited) return UINT64_MAX;
    const std::uint64_t in_flight = forgotten ? unsettled_ : size() - consumed_ + borrowed_;
    return in_flight >= window.size() ? 0 : window.size() - in_flight;
  }
  void wake_feeder_if_worth_it() {
    if (!feeders.empty() && room() >= window.worth_feeding()) feeders.wake_all();
  }

  /// Stores the outcome of a pending item; false = it was settled already (nothing changes: P1).
  bool settle(ItemIndex item, OutcomeKind kind, Payload&& payload, Failure failure);
  /// settle() for the usual case, done: what a map of a million items does a million times.
  bool settle_done(ItemIndex item, Payload&& payload) {
    if (lazy || forgotten || in_runs) return settle(item, OutcomeKind::done, std::move(payload), {});
    if (!is_pending(item)) return false;
    Slot& found = slots_[item - base_];
    found.kind = OutcomeKind::done;
    found.payload = std::move(payload);
    if (--unsettled_ == 0) drop_items_when_over();
    return true;
  }
  /// settle_done() for the results that lie in room_for_run() (jobs with takes_runs()). Returns how many items were pending.
  std::uint64_t settle_run(ItemIndex first, std::uint32_t count, std::size_t bytes);
  MutableByteSpan room_for_run() { return in_runs ? runs_->room() : lazy_runs_->room(); }
  bool is_pending(ItemIndex item) const {
    if (in_runs) return item < runs_->size() && runs_->kind(item) == OutcomeKind::pending;
    if (lazy_runs_) return lazy_runs_->is_pending(item);
    const Slot* found = slot(item);
    return found != nullptr && found->kind == OutcomeKind::pending;
  }
  /// Moves a settled, unread item out. Read items at the front are freed, so a lazy job stays flat.
  bool take(ItemIndex item, Settled& out, Take what);
  /// The oldest settled, unread item in completion order (jobs with `unordered`).
  bool take_any(Settled& out, Take what);
  /// Some of what take_any() (of a job with `unordered`), or take() from `next` on, would give. The reader has them, but has not used them yet:
  /// they fill the window until he comes back. Takes none where there is no memory for them.
  void take_more(ItemIndex next, std::vector<Settled>& out);
  void reader_is_back() {
    if (std::exchange(borrowed_, 0) != 0) wake_feeder_if_worth_it();
  }
  /// The reader of runs has to wait: whether results come so fast, with so many on their way, that a moment later there will be a long run.
  bool reads_fast(Time now);
  bool any_settled_unread() const {
    return lazy_runs_ ? lazy_runs_->has_any() : completion_order_ != nullptr && !completion_order_->empty();
  }
  bool settled_unread(ItemIndex item) const;
  /// Everything settled and unread, in one move: a million outcomes cost what one costs. (Of a lazy job: take_pieces().)
  Harvest take_all();
  /// The same of a lazy job with long chunks, for one that nobody will read: they are freed without the mutex.
  std::map<ItemIndex, Settled> take_pieces() { return lazy_runs_ ? lazy_runs_->take_pieces() : std::map<ItemIndex, Settled>(); }

 private:
  using Slot = OutcomeSlot;
  const Slot* slot(ItemIndex item) const {
    if (item < base_ || item - base_ >= slots_.size()) return nullptr;
    return &slots_[item - base_];
  }
  void settle_slot(ItemIndex item, OutcomeKind kind, Payload&& payload);
  void move_out(ItemIndex item, Slot& slot, Settled& out);
  void drop_read_prefix();

  std::uint64_t settle_lazy_run(ItemIndex first, std::uint32_t count, std::size_t bytes);
  bool piece_taken(Settled& out);

  std::unique_ptr<OutcomeRuns> runs_;    // with in_runs; or
  std::unique_ptr<LazyRuns> lazy_runs_;  // of a lazy job with long chunks; or
  std::vector<Slot> slots_;              // of items base_ .. size()-1
  ItemIndex base_ = 0;                   // items before it are settled and read
  ItemIndex read_prefix_ = 0;            // items before it are read (>= base_)
  std::uint64_t unsettled_ = 0;
  Time waited_at_{0};               // when reads_fast() was asked last, and how many items were
  std::uint64_t settled_then_ = 0;  // settled then
  std::uint64_t consumed_ = 0;
  std::uint64_t borrowed_ = 0;                               // of those consumed: by take_more(), since the reader was here last
  std::unique_ptr<std::deque<ItemIndex>> completion_order_;  // with unordered
  Failures failures_;
};

}  // namespace holdfast::pool
