// What: notices that the worker has been in one item for long without using the processor (a lock that somebody held when it was forked, a
// peer that never answers), and tells the pool, once per item, with the program's stacks. It changes nothing: waiting is no fault. Who is
// ready to run and gets no processor does not stall.
//
// The watcher's thread calls look(); the stacks come from a thread of their own, for the language's lock may never come free
// (C code that holds the GIL): then the report goes without them. Callers: watcher.cpp; made by bind_worker.cpp.
#pragma once

#include <functional>
#include <memory>

#include "base/types.hpp"
#include "ring/channel.hpp"

namespace holdfast::worker {

class StallWatch {
 public:
  struct Charge {
    Nanos after{0};
    const ring::WorkerChannel* channel = nullptr;  // both outlive the process's use of this
    int socket = -1;                               // to the pool
    WorkerId worker = 0;
    /// Writes the stacks of all threads into the descriptor. May block for ever. Called in a thread of its own.
    std::function<void(int fd)> write_stacks;
  };
  explicit StallWatch(Charge charge);

  Time next_look() const { return next_look_; }
  void look(Time now);

 private:
  struct Report;
  void forget_item(Time now, std::uint64_t version, Nanos cpu);
  void begin_report(Time now);
  void send_report(bool with_stacks);

  Charge charge_;
  Time next_look_{0};
  std::uint64_t version_ = 0;  // of the progress words: changes with each item
  Time since_{0};              // since when nothing has moved
  Nanos cpu_{0};               // the process's processor time then
  Time told_at_{0};            // when this item was found stalled; 0 = it was not
  bool sent_ = false;
  std::shared_ptr<Report> report_;  // shared with the thread that writes it
};

}  // namespace holdfast::worker
