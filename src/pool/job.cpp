// What: see job.hpp.
#include "pool/job.hpp"

#include <cstring>
#include <new>
#include <utility>

#include "base/check.hpp"

namespace holdfast::pool {

// relaxed: whoever copies a reference has one, so the count cannot be at its end. acq_rel below: what each thread did to the job lies
// before its release, and the last one's destruction behind all of them.
void retain(Job& job) noexcept { job.references_.fetch_add(1, std::memory_order_relaxed); }

void release(Job& job) noexcept {
  if (job.references_.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
  job.~Job();
  ::operator delete(&job);  // no size: the item's bytes are part of it
}

bool Job::is_single(const JobRequest& request) {
  return request.items.count() == 1 && request.items.is_record() && !request.open && !request.unordered;
}

JobRef Job::make(JobRequest&& request) {
  std::unique_ptr<ManyItems> many;
  ByteSpan item;
  std::unique_ptr<std::byte[]> apart;
  if (is_single(request)) {
    item = request.items.first_record();
    if (item.size() > kItemInPlace) {
      apart = std::make_unique<std::byte[]>(item.size());
      std::memcpy(apart.get(), item.data(), item.size());
    }
  } else {
    many = std::make_unique<ManyItems>(request);
  }
  static_assert(alignof(Job) <= __STDCPP_DEFAULT_NEW_ALIGNMENT__ && sizeof(Job) % alignof(Outcome) == 0);
  std::size_t behind = 0;
  if (!many) behind = apart ? sizeof(Outcome) : std::max(item.size(), sizeof(Outcome));
  void* const memory = ::operator new(sizeof(Job) + behind);
  Job* const job = new (memory) Job(request, std::move(many), static_cast<std::uint32_t>(item.size()));
  if (std::byte* bytes = apart.release(); bytes != nullptr) {
    std::memcpy(job->storage(), &bytes, sizeof bytes);
  } else if (!item.empty()) {
    std::memcpy(job->storage(), item.data(), item.size());
  }
  return JobRef::adopt(job);
}

Job::Job(JobRequest& request, std::unique_ptr<ManyItems> many, std::uint32_t size)
    : function(std::move(request.function)),
      call_mode(request.call_mode),
      dispatch(request.dispatch),
      soft_limited(request.policies.soft_timeout > Nanos{0}),
      many_(std::move(many)),
      size_(size) {}

Job::~Job() {
  if (many_) return;
  if (kind_ == OutcomeKind::pending)
    free_item();
  else
    std::destroy_at(&outcome());
}

const std::byte* Job::item_bytes() const {
  if (!item_apart()) return storage();
  std::byte* apart = nullptr;
  std::memcpy(&apart, storage(), sizeof apart);
  return apart;
}

void Job::free_item() {
  if (item_apart()) delete[] item_bytes();
}

std::optional<ItemIndex> Job::first_failure() const {
  if (many_) return many_->first_failure;
  const bool failed = kind_ != OutcomeKind::pending && kind_ != OutcomeKind::done && kind_ != OutcomeKind::skipped;
  return failed ? std::optional<ItemIndex>(0) : std::nullopt;
}

bool Job::settle_single(ItemIndex item, OutcomeKind kind, Payload&& payload, Failure&& failure) {
  if (!is_pending(item)) return false;
  free_item();
  kind_ = kind;
  auto* settled = new (storage()) Outcome;
  read_ = forgotten_;
  if (forgotten_) return true;
  settled->payload = std::move(payload);
  if (failure.kind != OutcomeKind::pending) settled->failure = std::make_unique<Failure>(std::move(failure));
  return true;
}

bool Job::take_single(ItemIndex item, Settled& out) {
  if (!settled_unread(item)) return false;
  read_ = true;
  out.item = item;
  out.kind = kind_;
  out.payload = std::move(outcome().payload);
  if (const std::unique_ptr<Failure> failure = std::move(outcome().failure)) {
    out.failure = failure->kind;
    out.attempts = failure->attempts;
    out.report = std::move(failure->report);
  }
  return true;
}

Harvest Job::take_all_single() {
  Settled settled;
  if (!take_single(0, settled)) return {};
  std::vector<OutcomeSlot> slots(1);
  slots[0].kind = settled.kind;
  slots[0].payload = std::move(settled.payload);
  Failures failures;
  if (settled.failure != OutcomeKind::pending)
    failures.add(0, {.kind = settled.failure, .attempts = settled.attempts, .report = std::move(settled.report)});
  return {0, std::move(slots), std::move(failures)};
}

}  // namespace holdfast::pool
