// What: the worker's own watchman: a native thread that waits for the death of the pool's process and then takes the worker and all it
// started along. It never touches Python and takes no lock of the program, so a worker that hangs in C with the GIL held goes too.
// Also keeps the promise that a worker which has begun to leave does leave (exit_at_latest), and looks for stalls where that is wanted.
// Callers: enrol.cpp. The object may be used from any thread; its destructor joins.
#pragma once

#include <atomic>
#include <memory>

#include "base/result.hpp"
#include "base/types.hpp"
#include "sys/epoll.hpp"
#include "sys/fd.hpp"
#include "sys/thread.hpp"
#include "sys/wakeup.hpp"
#include "worker/lineage.hpp"
#include "worker/stall_watch.hpp"

namespace holdfast::worker {

class Watcher {
 public:
  struct Charge {
    int parent_pidfd = -1;  // whose death is waited for
    UniqueFd zygote_pidfd;  // while it lives, it kills the orphans, and us
    int bell_fd = -1;       // of the pool; only for a lock on it
    int group = 0;          // the group noted at enrolment: killed only while we are still in it
    Lineage lineage;
  };
  static Result<std::unique_ptr<Watcher>> start(Charge charge);
  ~Watcher();

  /// _exit(code) after that time, whatever the other threads do. A later call replaces an earlier one.
  void exit_at_latest(Nanos after, int code);

  /// From now on it also looks for stalls (stall_watch.hpp). Once.
  void watch_stalls(StallWatch::Charge charge);
  /// The worker goes to a long sleep, and comes back from it: in between there is nothing to look for, and nothing wakes this thread.
  void rest() { resting_.store(true, std::memory_order_relaxed); }  // seen late: one look too many
  void work();

  Watcher(const Watcher&) = delete;
  Watcher& operator=(const Watcher&) = delete;

 private:
  Watcher(Charge charge, sys::Epoll epoll, sys::Wakeup wakeup);
  void watch();
  Nanos time_to_sleep() const;
  [[noreturn]] void take_all_along();

  Charge charge_;
  sys::Epoll epoll_;
  sys::Wakeup wakeup_;
  std::atomic<bool> stop_{false};
  std::atomic<std::int64_t> exit_at_ns_{Time::max().count()};
  std::atomic<int> exit_code_{0};
  std::unique_ptr<StallWatch> stalls_;
  std::atomic<bool> stalls_watched_{false};  // stalls_ is there
  std::atomic<bool> resting_{false};
  sys::NativeThread thread_;
};

}  // namespace holdfast::worker
