#include "worker/stall_watch.hpp"

#include <algorithm>
#include <atomic>
#include <utility>

#include <unistd.h>

#include "ring/control.hpp"
#include "sys/clock.hpp"
#include "sys/memfd.hpp"
#include "sys/procfs.hpp"
#include "sys/socket.hpp"
#include "sys/thread.hpp"

namespace holdfast::worker {
namespace {

constexpr int kLooks = 4;                                     // in the time of one stall: a report is late by a quarter at most
constexpr Nanos kStacksWithin = std::chrono::seconds(2);      // a language that has not given its lock by then holds it
constexpr Nanos kStacksLook = std::chrono::milliseconds(20);  // while they are being written
constexpr std::size_t kStackBytes = 512 * 1024;
// Less than one part in so many of the time on the processor counts as none: a thread that wakes to look at a flag is stalled, too.
constexpr int kIdlePart = 100;
constexpr Nanos kIdleFloor = std::chrono::milliseconds(2);

/// It is the machine that is slow: the program would go on at once (state R of the main thread, whose pid is the process's).
bool waits_for_a_processor() {
  const auto stat = sys::read_stat(static_cast<int>(::getpid()));
  return stat.ok() && stat->state == 'R';
}

}  // namespace

struct StallWatch::Report {
  UniqueFd text;
  std::atomic<bool> written{false};
};

StallWatch::StallWatch(Charge charge) : charge_(std::move(charge)) { next_look_ = sys::now() + charge_.after / kLooks; }

void StallWatch::forget_item(Time now, std::uint64_t version, Nanos cpu) {
  version_ = version;
  since_ = now;
  cpu_ = cpu;
  told_at_ = Time{0};
  sent_ = false;
  report_.reset();
}

void StallWatch::look(Time now) {
  next_look_ = now + charge_.after / kLooks;
  const auto doing = charge_.channel->doing();
  const Nanos cpu = sys::process_cpu_time();
  const bool another = !doing.running || doing.version != version_;
  if (another || (told_at_ == Time{0} && cpu - cpu_ > std::max(kIdleFloor, (now - since_) / kIdlePart))) {
    forget_item(now, doing.version, cpu);
    return;
  }
  if (sent_ || now - since_ < charge_.after) return;
  if (told_at_ == Time{0}) {
    if (waits_for_a_processor()) {
      forget_item(now, doing.version, cpu);
      return;
    }
    begin_report(now);
  }
  // acquire: pairs with the release in begin_report()'s thread, so the text is whole.
  const bool written = report_ != nullptr && report_->written.load(std::memory_order_acquire);
  if (written || report_ == nullptr || now - told_at_ >= kStacksWithin) {
    send_report(written);
  } else {
    next_look_ = now + kStacksLook;
  }
}

void StallWatch::begin_report(Time now) {
  told_at_ = now;
  auto text = sys::create_memfd("holdfast-stacks", ring::kMaxStacksText);
  if (!text) return;  // no descriptor left: the report goes without stacks
  report_ = std::make_shared<Report>();
  report_->text = std::move(text).value();
  auto thread = sys::NativeThread::start({"hf-stacks", kStackBytes}, [report = report_, write = charge_.write_stacks] {
    write(report->text.get());
    report->written.store(true, std::memory_order_release);
  });
  if (!thread) {
    report_.reset();
    return;
  }
  thread->forget();  // it may never come back; the process does not wait for it
}

void StallWatch::send_report(bool with_stacks) {
  sent_ = true;
  ring::Message message;
  message.type = ring::MessageType::stalled;
  message.worker = charge_.worker;
  message.a = std::chrono::duration_cast<std::chrono::milliseconds>(sys::now() - since_).count();
  const int fd = with_stacks ? report_->text.get() : -1;
  // A pool that does not read now has other worries: a report that does not fit is dropped.
  (void)sys::send_pod(charge_.socket, message, std::span<const int>(&fd, with_stacks ? 1 : 0), /*dont_wait=*/true);
}

}  // namespace holdfast::worker
