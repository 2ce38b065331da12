#include "worker/watcher.hpp"

#include <unistd.h>
#include <algorithm>
#include <array>
#include <csignal>
#include <utility>

#include "sys/clock.hpp"
#include "sys/failpoint.hpp"
#include "sys/pidfd.hpp"
#include "sys/process.hpp"
#include "worker/hunt.hpp"
#include "worker/tree.hpp"

namespace holdfast::worker {
namespace {

constexpr std::uint64_t kParentTag = 1;
constexpr std::uint64_t kWakeTag = 2;
constexpr int kRounds = 20;  // a tree that still grows after so many is left to its group and the zygote
constexpr Nanos kZygoteLimit = std::chrono::milliseconds(100);
constexpr int kHuntTurns = 20;
constexpr useconds_t kHuntTurnUs = 10'000;
constexpr Nanos kLastResort = std::chrono::seconds(2);
constexpr std::size_t kStackBytes = 128 * 1024;

}  // namespace

Watcher::Watcher(Charge charge, sys::Epoll epoll, sys::Wakeup wakeup)
    : charge_(std::move(charge)), epoll_(std::move(epoll)), wakeup_(std::move(wakeup)) {}

Result<std::unique_ptr<Watcher>> Watcher::start(Charge charge) {
  auto epoll = sys::Epoll::create();
  if (!epoll.ok()) return epoll.error();
  auto wakeup = sys::Wakeup::create();
  if (!wakeup.ok()) return wakeup.error();
  std::unique_ptr<Watcher> watcher(new Watcher(std::move(charge), std::move(epoll).value(), std::move(wakeup).value()));
  if (auto done = watcher->epoll_.add(watcher->charge_.parent_pidfd, kParentTag, sys::kReadable); !done.ok()) return done.error();
  if (auto done = watcher->epoll_.add(watcher->wakeup_.fd(), kWakeTag, sys::kReadable); !done.ok()) return done.error();
  auto thread = sys::NativeThread::start({"hf-watcher", kStackBytes}, [raw = watcher.get()] { raw->watch(); });
  if (!thread.ok()) return thread.error();
  watcher->thread_ = std::move(thread).value();
  return watcher;
}

Watcher::~Watcher() {
  stop_.store(true, std::memory_order_release);  // pairs with the acquire load in watch(), after the wake-up below
  wakeup_.signal();
  thread_.join();
}

void Watcher::exit_at_latest(Nanos after, int code) {
  exit_code_.store(code, std::memory_order_relaxed);  // published by the release store of the time
  exit_at_ns_.store((sys::now() + after).count(), std::memory_order_release);
  wakeup_.signal();
}

void Watcher::watch_stalls(StallWatch::Charge charge) {
  stalls_ = std::make_unique<StallWatch>(std::move(charge));
  stalls_watched_.store(true, std::memory_order_release);  // pairs with the acquire loads in watch(): stalls_ is whole then
  wakeup_.signal();
}

void Watcher::work() {
  if (!resting_.exchange(false, std::memory_order_relaxed)) return;
  if (stalls_watched_.load(std::memory_order_relaxed)) wakeup_.signal();  // set by this very thread
}

Nanos Watcher::time_to_sleep() const {
  Time until{exit_at_ns_.load(std::memory_order_relaxed)};  // watch() has loaded it with acquire
  const bool looks = stalls_watched_.load(std::memory_order_acquire) && !resting_.load(std::memory_order_relaxed);
  if (looks) until = std::min(until, stalls_->next_look());
  return until == Time::max() ? Nanos::max() : std::max(Nanos{0}, until - sys::now());
}

void Watcher::watch() {
  std::array<sys::Event, 2> events;
  while (!stop_.load(std::memory_order_acquire)) {
    // acquire: exit_code_ was written before this time was.
    const std::int64_t exit_at = exit_at_ns_.load(std::memory_order_acquire);
    const bool limited = exit_at != Time::max().count();
    if (limited && sys::now().count() >= exit_at) sys::exit_now(exit_code_.load(std::memory_order_relaxed));
    const auto count = epoll_.wait(events, time_to_sleep());
    if (!count.ok()) return;  // cannot happen with descriptors of our own; the parent-death signal and the zygote remain
    wakeup_.drain();
    for (int i = 0; i < count.value(); ++i) {
      if (events[static_cast<std::size_t>(i)].tag == kParentTag) take_all_along();
    }
    const bool looks = stalls_watched_.load(std::memory_order_acquire) && !resting_.load(std::memory_order_relaxed);
    if (looks && sys::now() >= stalls_->next_look()) stalls_->look(sys::now());
  }
}

void Watcher::take_all_along() {
  HF_FAILPOINT(worker_orphaned);
  // The program's own threads run on: they must not start what would be seen by no look of ours.
  (void)sys::refuse_new_processes();  // not on every kernel, not in every sandbox
  sys::kill_self_after(kLastResort);  // should no thread be to be had for looks that hang (inspection.hpp)
  for (int round = 0; round < kRounds && kill_below(getpid()) > 0; ++round) {}
  // Daemons hang below the zygote, which is about to kill them and us. If it has died, or is stuck, nobody may be left but us who knows of them,
  // nor of those that workers before us have left: then all that came from this pool is ours to end, the other workers too.
  // Not getppid(): the kernel changes it thread by thread, and wakes us before it is our turn.
  if (charge_.zygote_pidfd && !sys::pidfd_wait_exited(charge_.zygote_pidfd.get(), kZygoteLimit)) {
    (void)sys::pidfd_send_signal(charge_.zygote_pidfd.get(), SIGCONT);  // it may be stopped; we will not be there to look again
  }
  sys::raise_descriptor_limit();
  // One after the other: a hunt reads all of /proc, and the first one ends the rest of us, too. A stopped one must not hold up the others for long.
  for (int turn = 0; turn < kHuntTurns && !sys::try_lock_file(charge_.bell_fd); ++turn) (void)usleep(kHuntTurnUs);
  Hunt(charge_.lineage).kill();
  if (getpgrp() == charge_.group) (void)kill(0, SIGKILL);  // takes us along
  sys::exit_now(1);
}

}  // namespace holdfast::worker
