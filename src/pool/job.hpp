// What: one user call: its items, the outcome of each, and who waits for it. Every field is guarded by the pool's one mutex
// (Engine::Impl::mutex) except the id and the constants. Made by Engine::submit, kept alive by JobRef.
//
// Most jobs are single calls, and there may be a million of them unfinished. So a job of one item that is known from the start is one piece of
// memory: the encoded item lies behind the Job, and its outcome takes the item's place. All else is in ManyItems, for the jobs that have it.
//
// Invariant: storage() holds the item while kind_ is pending, and from then on an Outcome: an item is settled once (P1).
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "pool/counted_ref.hpp"
#include "pool/engine.hpp"
#include "pool/many_items.hpp"

namespace holdfast::pool {

class Job {
 public:
  /// Throws std::bad_alloc, as add_items() does. A single small item is copied out of the request's batch, else that is moved from.
  static JobRef make(JobRequest&& request);
  Job(const Job&) = delete;
  Job& operator=(const Job&) = delete;

  JobId id = 0;  // set once, when the scheduler has given it
  const FunctionRef function;
  const std::uint16_t call_mode;
  // Bits, these and read_ and forgotten_: one byte, guarded by the mutex also where they are constant.
  const bool dispatch : 1;
  const bool soft_limited : 1;
  bool delivered : 1 = false;   // dispatch jobs: the callbacks have run
  bool touched : 1 = false;     // in Impl::touched, to be notified
  bool waited_for : 1 = false;  // by some of Impl::sleepers

  std::uint16_t chunk_flags() const { return soft_limited ? ring::kSoftLimited : std::uint16_t{0}; }  // TaskFrame::flags
  /// nullptr: a single item.
  ManyItems* many() { return many_.get(); }
  const ManyItems* many() const { return many_.get(); }
  bool lazy() const { return many_ && many_->lazy; }
  bool takes_runs() const { return many_ && many_->takes_runs(); }
  bool input_open() const { return many_ && many_->input_open; }
  bool forgotten() const { return forgotten_; }
  /// The user dropped the handle: outcomes are counted, payloads dropped.
  void forget() {
    forgotten_ = true;
    if (many_) many_->forgotten = true;
  }
  std::uint64_t size() const { return many_ ? many_->size() : 1; }
  std::uint64_t unsettled() const { return many_ ? many_->unsettled() : std::uint64_t{kind_ == OutcomeKind::pending}; }
  /// All settled and the input closed; for dispatch jobs the callbacks have run too.
  bool finished() const { return many_ ? many_->finished() : kind_ != OutcomeKind::pending; }
  bool ready() const { return finished() && (!dispatch || delivered); }
  std::optional<ItemIndex> first_failure() const;
  bool single_items_wanted() const { return many_ && many_->item_waiters != 0; }
  void wake_feeders() {
    if (many_) many_->feeders.wake_all();
  }
  void wake_feeder_if_worth_it() {
    if (many_) many_->wake_feeder_if_worth_it();
  }
  /// One more run of this item has ended with its worker's death: how many there were.
  std::uint32_t count_death(ItemIndex item) { return many_ ? ++many_->deaths_under[item] : ++deaths_; }

  /// An unsettled item, to be sent; valid as ItemStore says.
  StoredItem stored(ItemIndex item) const { return many_ ? many_->items.at(item) : StoredItem{{item_bytes(), size_}, nullptr, size_}; }
  StoredRun stored_run(ItemIndex item, std::uint64_t most) const {
    return many_ ? many_->items.run_at(item, most) : StoredRun{.count = 1, .records = {}};
  }

  // As ManyItems has them.
  bool is_pending(ItemIndex item) const { return many_ ? many_->is_pending(item) : item == 0 && kind_ == OutcomeKind::pending; }
  bool settle(ItemIndex item, OutcomeKind kind, Payload&& payload, Failure failure) {
    return many_ ? many_->settle(item, kind, std::move(payload), std::move(failure))
                 : settle_single(item, kind, std::move(payload), std::move(failure));
  }
  bool settle_done(ItemIndex item, Payload&& payload) {
    return many_ ? many_->settle_done(item, std::move(payload)) : settle_single(item, OutcomeKind::done, std::move(payload), {});
  }
  bool settled_unread(ItemIndex item) const {
    return many_ ? many_->settled_unread(item) : item == 0 && kind_ != OutcomeKind::pending && !read_;
  }
  bool take(ItemIndex item, Settled& out, Take what = Take::item) { return many_ ? many_->take(item, out, what) : take_single(item, out); }
  Harvest take_all() { return many_ ? many_->take_all() : take_all_single(); }

 private:
  friend void retain(Job& job) noexcept;
  friend void release(Job& job) noexcept;
  /// What is there of a single item once it is settled.
  struct Outcome {
    Payload payload;
    std::unique_ptr<Failure> failure;  // where there is anything to know
  };
  static constexpr std::size_t kItemInPlace = 256;  // longer ones are not kept for as long as the result is: they lie by themselves

  Job(JobRequest& request, std::unique_ptr<ManyItems> many, std::uint32_t size);
  ~Job();
  static bool is_single(const JobRequest& request);

  std::byte* storage() { return reinterpret_cast<std::byte*>(this + 1); }
  const std::byte* storage() const { return reinterpret_cast<const std::byte*>(this + 1); }
  bool item_apart() const { return size_ > kItemInPlace; }
  const std::byte* item_bytes() const;
  Outcome& outcome() { return *std::launder(reinterpret_cast<Outcome*>(storage())); }
  void free_item();
  bool settle_single(ItemIndex item, OutcomeKind kind, Payload&& payload, Failure&& failure);
  bool take_single(ItemIndex item, Settled& out);
  Harvest take_all_single();

  // In this order a Job is 40 bytes, and with the item behind it one of malloc's smaller pieces.
  bool read_ : 1 = false;  // the single item's outcome
  bool forgotten_ : 1 = false;
  OutcomeKind kind_ = OutcomeKind::pending;  // the single item's state
  std::atomic<std::uint32_t> references_{1};
  const std::unique_ptr<ManyItems> many_;  // constant: which of the two kinds of job it is needs no mutex
  const std::uint32_t size_;               // of the single item
  std::uint32_t deaths_ = 0;               // its runs that ended with the worker's death
};
static_assert(sizeof(void*) != 8 || sizeof(Job) == 40);

}  // namespace holdfast::pool
