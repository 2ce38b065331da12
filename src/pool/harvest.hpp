// What: the outcomes of a job, moved out of it in one piece, to be read without any lock, by one thread, from the first item to the last.
// Made by Job::take_all(); callers: the C++ API's Job::get() and python/bindings (the list of a map).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <unordered_map>
#include <utility>
#include <vector>

#include "holdfast/exit_report.hpp"
#include "holdfast/outcome.hpp"
#include "pool/outcome_runs.hpp"
#include "pool/payload.hpp"

namespace holdfast::pool {

/// How an item is settled, as a reader gets it; or a run of done items (ManyItems::take() with Take::run).
struct Settled {
  ItemIndex item = 0;
  OutcomeKind kind = OutcomeKind::pending;
  OutcomeKind failure = OutcomeKind::pending;  // kind == skipped: what happened
  std::uint32_t attempts = 0;                  // runs used, when the failure was a death or a time-out
  Payload payload;                             // done, raised (also skipped after raised)
  std::shared_ptr<const ExitReport> report;    // died, timed_out (also skipped after those)
  std::uint32_t count = 1;                     // items; more than one, the first of which is `item`: all done, without a `payload`, but
  std::unique_ptr<std::byte[]> records;        // their payloads as the records of a pack, from records_at to records_end
  std::uint32_t records_at = 0;
  std::uint32_t records_end = 0;

  bool is_run() const { return records != nullptr; }
  ByteSpan run() const { return {records.get() + records_at, records_end - records_at}; }
};

/// What a reader wants: one item, or also a run of them (which he then has, and has not used: ManyItems::borrowed_).
enum class Take : std::uint8_t { item, run };

/// What there is to know about a failed item beside its kind and its payload; kept where there is anything.
struct Failure {
  OutcomeKind kind = OutcomeKind::pending;  // died, timed_out, raised: also when the outcome is `skipped`
  std::uint32_t attempts = 0;
  std::shared_ptr<const ExitReport> report;
};
/// By item.
class Failures {
 public:
  void add(ItemIndex item, Failure&& failure) { failures_.emplace(item, std::move(failure)); }
  /// Moves what is known about out.item into `out`, once.
  void take_into(Settled& out);

 private:
  std::unordered_map<ItemIndex, Failure> failures_;
};

/// An item's outcome as a job that is read item by item keeps it.
struct OutcomeSlot {
  Payload payload;
  OutcomeKind kind = OutcomeKind::pending;
  bool read = false;
};

class Harvest {
 public:
  Harvest() = default;
  Harvest(ItemIndex first, std::vector<OutcomeSlot>&& slots, Failures&& failures);
  Harvest(OutcomeRuns&& runs, Failures&& failures);
  std::size_t size() const { return runs_ ? runs_->size() : slots_.size(); }

  /// Goes to the next item (at first, to the first one). False: there is none.
  bool next() { return ++index_ < size(); }
  // Of that item:
  ItemIndex item() const { return first_ + index_; }
  /// pending: it was read before, or is not settled.
  OutcomeKind kind() const { return runs_ ? runs_->kind(index_) : slots_[index_].read ? OutcomeKind::pending : slots_[index_].kind; }
  /// Of a done item; valid until drop(), next() or take().
  ByteSpan bytes();
  /// Where they lie by themselves; nullptr: among others.
  const Payload* payload();
  void drop();  // frees its payload, where that lies by itself
  /// Moves all there is to know about it out.
  Settled take();

 private:
  ItemIndex first_ = 0;
  std::size_t index_ = ~std::size_t{0};  // before the first
  std::vector<OutcomeSlot> slots_;
  std::optional<OutcomeRuns> runs_;
  Failures failures_;
};

}  // namespace holdfast::pool
