// What: see harvest.hpp.
#include "pool/harvest.hpp"

#include <utility>

namespace holdfast::pool {

void Failures::take_into(Settled& out) {
  const auto found = failures_.find(out.item);
  if (found == failures_.end()) return;
  out.failure = found->second.kind;
  out.attempts = found->second.attempts;
  out.report = std::move(found->second.report);
  failures_.erase(found);
}

Harvest::Harvest(ItemIndex first, std::vector<OutcomeSlot>&& slots, Failures&& failures)
    : first_(first), slots_(std::move(slots)), failures_(std::move(failures)) {}

Harvest::Harvest(OutcomeRuns&& runs, Failures&& failures) : runs_(std::move(runs)), failures_(std::move(failures)) {
  runs_->sort_for_reading();
}

ByteSpan Harvest::bytes() {
  if (!runs_) return slots_[index_].payload.bytes();
  if (const ByteSpan record = runs_->read(index_); record.data() != nullptr) return record;
  const Payload* payload = runs_->other(index_);
  return payload == nullptr ? ByteSpan{} : payload->bytes();
}

const Payload* Harvest::payload() { return runs_ ? runs_->other(index_) : &slots_[index_].payload; }

void Harvest::drop() {
  Payload* payload = runs_ ? runs_->other(index_) : &slots_[index_].payload;
  if (payload != nullptr) payload->reset();
}

Settled Harvest::take() {
  Settled out;
  out.item = item();
  out.kind = kind();
  if (Payload* payload = runs_ ? runs_->other(index_) : &slots_[index_].payload; payload != nullptr)
    out.payload = std::move(*payload);
  else if (out.kind == OutcomeKind::done)
    out.payload = Payload::copy(bytes());
  else if (out.kind == OutcomeKind::raised)
    out.payload = Payload::lost();
  if (!runs_) slots_[index_].read = true;
  failures_.take_into(out);
  return out;
}

}  // namespace holdfast::pool
