// What: the bell page: how a worker that has committed results finds the one in the pool's process who wants to know. [channel.hpp]
// Checked with spin: model/sleep_wake.pml, which also names what each step is there for.
//
// The order on both sides, all seq_cst, so that one of the two always sees the other (no stand-alone fences):
//   worker:   result tail  ->  ready bit  ->  drainer's flag, then the supervisor's
//   sleeper:  flag up      ->  ready bits taken  ->  those workers' result tails  ->  sleep
#include <algorithm>
#include <limits>
#include <utility>

#include "ring/layout.hpp"
#include "sys/failpoint.hpp"
#include "sys/futex.hpp"
#include "sys/memfd.hpp"

namespace holdfast::ring {

struct BellPage::Impl {
  UniqueFd fd;
  sys::Mapping mapping;
  BellWords* words = nullptr;
};

BellPage::BellPage(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
BellPage::BellPage(BellPage&&) noexcept = default;
BellPage& BellPage::operator=(BellPage&&) noexcept = default;
BellPage::~BellPage() = default;

Result<BellPage> BellPage::create() {
  auto fd = sys::create_memfd("holdfast-bell", sizeof(BellWords));
  if (!fd.ok()) return std::move(fd).error();
  auto mapping = sys::Mapping::map(fd->get(), sizeof(BellWords), sys::Mapping::Mode::shared);
  if (!mapping.ok()) return std::move(mapping).error();
  auto impl = std::make_unique<Impl>(Impl{.fd = *std::move(fd), .mapping = *std::move(mapping)});
  impl->words = reinterpret_cast<BellWords*>(impl->mapping.data());
  impl->words->version = kLayoutVersion;
  impl->words->magic = kBellMagic;
  return BellPage(std::move(impl));
}

Result<BellPage> BellPage::attach(int fd) {
  if (!sys::sealed_against_resize(fd)) return Error{ErrorCode::protocol_error, 0, "ring.attach_bell", "the bell page is not sealed"};
  auto mapping = sys::Mapping::map(fd, sizeof(BellWords), sys::Mapping::Mode::shared);
  if (!mapping.ok()) return std::move(mapping).error();
  auto impl = std::make_unique<Impl>(Impl{.fd = UniqueFd(), .mapping = *std::move(mapping)});
  impl->words = reinterpret_cast<BellWords*>(impl->mapping.data());
  if (impl->words->magic != kBellMagic || impl->words->version != kLayoutVersion) {
    return Error{ErrorCode::protocol_error, 0, "ring.attach_bell", "not a bell page of this version of holdfast"};
  }
  return BellPage(std::move(impl));
}

int BellPage::fd() const { return impl_->fd.get(); }
void BellPage::close_fd() { impl_->fd.reset(); }

// --- drainer ---

std::uint32_t BellPage::bell() const {
  // acquire: must be read before the announcement and the look, or a ring between look and reading would be slept through (mutant
  // BELL_READ_LATE).
  return impl_->words->bell.load(std::memory_order_acquire);
}

void BellPage::drainer_announce() { impl_->words->drainer_sleeping.store(1, std::memory_order_seq_cst); }

bool BellPage::drainer_announced() const { return impl_->words->drainer_sleeping.load(std::memory_order_seq_cst) != 0; }
void BellPage::drainer_withdraw() {
  // relaxed: only the drainer sets this flag, and the role changes hands under the pool's mutex, which orders this store before the
  // successor's announcement. So: withdraw while the role is still yours (mutant WITHDRAW_AFTER_HAND_OVER).
  impl_->words->drainer_sleeping.store(0, std::memory_order_relaxed);
}

bool BellPage::anything_new(std::uint32_t words, std::uint32_t seen_bell) const {
  // acquire: hints. What is found here is looked at in earnest (take_ready), and what is missed is found after the announcement.
  bool found = impl_->words->bell.load(std::memory_order_acquire) != seen_bell;
  for (std::uint32_t i = 0; i < std::min(words, kMaxWorkers / 64); ++i)
    found = found || impl_->words->ready[i].load(std::memory_order_acquire) != 0;
  return found;
}

BellPage::Woke BellPage::drainer_sleep(std::uint32_t seen_bell, Nanos timeout) {
  switch (sys::futex_wait(impl_->words->bell, seen_bell, timeout)) {
    case sys::FutexWake::interrupted: return Woke::interrupted;
    case sys::FutexWake::timed_out: return Woke::timed_out;
    case sys::FutexWake::woken:
    case sys::FutexWake::changed: break;
  }
  return Woke::rung;
}

void BellPage::ring_from_parent() {
  // Whether or not the flag is up: a worker may have taken it and died before it rang (mutant RING_ONLY_IF_FLAGGED).
  // release: pairs with bell(); what the caller did before is visible to a drainer that sees the new count.
  impl_->words->bell.fetch_add(1, std::memory_order_release);
  sys::futex_wake(impl_->words->bell, std::numeric_limits<int>::max());
}

// --- supervisor ---

void BellPage::supervisor_announce() { impl_->words->supervisor_sleeping.store(1, std::memory_order_seq_cst); }

void BellPage::supervisor_withdraw() {
  // relaxed: whoever withdraws goes on to drain, and announces again (seq_cst) before anybody sleeps.
  impl_->words->supervisor_sleeping.store(0, std::memory_order_relaxed);
}

std::uint64_t BellPage::take_ready(std::uint32_t word) {
  if (word >= kMaxWorkers / 64) return 0;
  Word64& bits = impl_->words->ready[word];
  if (bits.load(std::memory_order_seq_cst) == 0) return 0;
  // Taken before the rings are read: a bit set later stands for something that this look may have missed (mutant BITS_CLEARED_LAST).
  return bits.exchange(0, std::memory_order_seq_cst);
}

// --- worker ---

bool BellPage::ring_from_worker(std::uint32_t worker_index) {
  if (worker_index >= kMaxWorkers) return false;
  BellWords& words = *impl_->words;
  Word64& bits = words.ready[worker_index / 64];
  const std::uint64_t mine = std::uint64_t{1} << (worker_index % 64);
  // Loads first: while the parent is busy draining, committing writes to no line that all workers share. The load is seq_cst and
  // behind the seq_cst store of the tail: if it finds the bit still up, whoever takes the bit reads the tail afterwards.
  if ((bits.load(std::memory_order_seq_cst) & mine) == 0) bits.fetch_or(mine, std::memory_order_seq_cst);
  // exchange and not a store: a store could wipe out a flag that the sleeper has set again (mutant PLAIN_STORE).
  if (words.drainer_sleeping.load(std::memory_order_seq_cst) != 0 && words.drainer_sleeping.exchange(0, std::memory_order_seq_cst) != 0) {
    HF_FAILPOINT(ring_bell_taken);
    words.bell.fetch_add(1, std::memory_order_release);  // changes the word first, so that a drainer not yet asleep does not fall asleep
    sys::futex_wake(words.bell, 1);
    return false;
  }
  return words.supervisor_sleeping.load(std::memory_order_seq_cst) != 0 &&
         words.supervisor_sleeping.exchange(0, std::memory_order_seq_cst) != 0;
}

}  // namespace holdfast::ring
