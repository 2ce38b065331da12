// What: what one item costs in the channel alone: push, claim, answer, read, on one thread; the worker's and the parent's halves on two; and
// a wake-up there and back between two threads on one channel. Build: cmake --preset release; run build/release/bench/ring_bench.
#include <thread>

#include <benchmark/benchmark.h>

#include "ring/channel.hpp"

namespace holdfast::ring {
namespace {

constexpr std::uint32_t kSlot = 0;

struct Ends {
  std::unique_ptr<ParentChannel> parent = ParentChannel::create({}, 0).value();
  std::unique_ptr<WorkerChannel> worker = WorkerChannel::attach_in_process(*parent).value();
  BellPage bell = BellPage::create().value();
};

/// The worker's part for every task that is there.
void answer_all(Ends& ends) {
  for (;;) {
    const auto next = ends.worker->next_task();
    if (*next == nullptr) return;
    const TaskFrame* task = &**next;
    if (task->type == TaskFrameType::item && ends.worker->claim(task->slot, task->item)) {
      ends.worker->set_progress(task->chunk, task->item, Time{1}, 1);
      ResultFrame result;
      result.chunk = task->chunk;
      result.item = task->item;
      result.payload = task->payload;
      benchmark::DoNotOptimize(ends.worker->push_result(result));
      ends.worker->commit_result();
      benchmark::DoNotOptimize(ends.bell.ring_from_worker(0));
      ends.worker->count_item_done();
    }
    ends.worker->release_task();
  }
}

/// Chunks of range(0) items of 8 bytes: all four hands of an item on one thread, so no wake-ups and warm caches.
void item_through_the_channel(benchmark::State& state) {
  Ends ends;
  const auto count = static_cast<std::uint32_t>(state.range(0));
  const std::byte bytes[8]{};
  const PayloadRef payload{.inline_bytes = bytes, .buffer = 0, .size = sizeof bytes};
  ChunkId chunk = 0;
  for (auto _ : state) {
    ++chunk;
    ends.parent->push_chunk(chunk, 1, 1, kSlot, count, 0, 0);
    for (std::uint32_t i = 0; i < count; ++i) ends.parent->push_item(chunk, i, payload);
    ends.parent->commit_tasks();
    answer_all(ends);
    benchmark::DoNotOptimize(ends.bell.take_ready(0));
    for (;;) {
      const auto next = ends.parent->next_result();
      if (!next->has_value()) break;
      benchmark::DoNotOptimize((*next)->payload.inline_bytes.data());
      ends.parent->pop_result();
    }
    ends.parent->release_results();
    ends.parent->release_slot(kSlot);
  }
  state.SetItemsProcessed(state.iterations() * count);
}
BENCHMARK(item_through_the_channel)->Arg(1)->Arg(32)->Arg(512);

/// One task out, one result back, both sides asleep in between: two futex wake-ups.
void wake_up_there_and_back(benchmark::State& state) {
  Ends ends;
  std::thread worker([&ends] {
    for (;;) {
      answer_all(ends);
      if (ends.worker->wait_for_tasks(Nanos::max()) == WorkerChannel::Wake::closed) return;
    }
  });
  ChunkId chunk = 0;
  for (auto _ : state) {
    ends.parent->push_chunk(++chunk, 1, 1, kSlot, 1, 0, 0);
    ends.parent->push_item(chunk, 0, {});
    ends.parent->commit_tasks();
    for (bool answered = false; !answered;) {
      const std::uint32_t seen = ends.bell.bell();
      ends.bell.drainer_announce();
      answered = ends.parent->next_result().value().has_value();
      if (!answered) benchmark::DoNotOptimize(ends.bell.drainer_sleep(seen, Nanos::max()));
      ends.bell.drainer_withdraw();
    }
    ends.parent->pop_result();
    ends.parent->release_results();
    ends.parent->release_slot(kSlot);
  }
  ends.parent->set_closed();
  worker.join();
}
BENCHMARK(wake_up_there_and_back)->UseRealTime();

}  // namespace
}  // namespace holdfast::ring

BENCHMARK_MAIN();
