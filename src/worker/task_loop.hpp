// What: the loop of a worker: takes frames from its channel, claims items, has them run, publishes the results, sleeps when there are none.
//
// Invariants:
//   1. An item runs only after its claim was won, and its result is committed before the next item is claimed: a death costs one item.
//   2. A forked child of a task that comes back into the loop never answers in the worker's name: it leaves.
//   3. After every item, a failed one too, `leaving` is looked at; an exception of a task or a handler never keeps a worker.
//   4. An idle worker sleeps without a time-out (after its first second).
// One thread; signals are unblocked here (the runner blocks them where handlers must not run). Callers: cpp_zygote.cpp, bind_worker.cpp.
#pragma once

#include <array>

#include "ring/channel.hpp"
#include "sys/fast_clock.hpp"
#include "sys/fork_mark.hpp"
#include "worker/buffers.hpp"
#include "worker/enrol.hpp"
#include "worker/runner.hpp"

namespace holdfast::worker {

class TaskLoop {
 public:
  /// Both outlive the loop. `mark` was made in this process.
  TaskLoop(Enrolment& worker, Runner& runner, sys::ForkMark mark);

  /// Until the pool closes or cancels the channel, or a task leaves. Returns the exit code.
  int run();

 private:
  struct Chunk {
    ChunkId id = 0;
    FunctionId function = 0;
    std::uint32_t slot = 0;
    std::uint16_t call_mode = 0;
    std::uint16_t flags = 0;
  };
  enum class Step : std::uint8_t { go_on, leave };

  Step check_signals();
  Step idle();
  Step handle(const ring::TaskFrame& frame);
  void open_chunk(const ring::TaskFrame& frame);
  const Chunk* find_chunk(ChunkId id) const;
  Step run_item(const ring::TaskFrame& frame);
  RunAnswer call(const Chunk& chunk, const ring::TaskFrame& frame);
  Step add_function(const ring::TaskFrame& frame);
  Step publish(const RunAnswer& answer, ring::ResultFrame& frame);
  Step publish_large(const RunAnswer& answer, ring::ResultFrame& frame);
  bool place_large(const RunAnswer& answer, ring::ResultFrame& frame, RunAnswer& instead);
  bool end_loan();
  Step push(const ring::ResultFrame& frame);
  Step leave(int code);
  void leave_if_forked(int code);

  Enrolment& worker_;
  ring::WorkerChannel& channel_;
  Runner& runner_;
  sys::ForkMark mark_;
  WorkerBuffers buffers_;
  std::array<Chunk, ring::kChunkSlots> chunks_{};  // by slot
  std::uint32_t current_ = 0;                      // slot of the chunk that the last item belonged to
  sys::FastClock clock_;                           // for items
  Time item_end_{0};                               // end of the last item while no sleep came after it: the next one's start
  int exit_code_ = 0;
};

}  // namespace holdfast::worker
