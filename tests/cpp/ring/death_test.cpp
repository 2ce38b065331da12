// What: a worker killed by SIGKILL at any instant of its writing. What it committed is there and valid; what it did not commit is not seen;
// at most the one item it was running is lost (P2). Real processes only.
#include "ring/pair.hpp"

#include <ctime>

namespace holdfast::ring::test {
namespace {

constexpr std::uint32_t kSlot = 2;

/// Lets the worker run for a random time, short enough to hit it in the middle of its work.
void a_moment(std::mt19937_64& random) {
  const timespec pause{.tv_sec = 0, .tv_nsec = static_cast<long>(random() % 400'000)};
  (void)::nanosleep(&pause, nullptr);
}

/// Answers each item with a pattern of its own, of a size that makes writing it take a while.
int pattern_worker(WorkerChannel& channel, BellPage& bell) {
  while (auto task = wait_task(channel)) {
    if (task->type == TaskFrameType::item && channel.claim(task->slot, task->item)) {
      const auto payload = pattern(task->chunk * 1000 + task->item, (task->item * 7919) % kInlineLimit);
      ResultFrame result;
      result.chunk = task->chunk;
      result.item = task->item;
      result.payload = inline_payload(payload);
      if (!send_result(channel, bell, result)) return 2;
    }
    channel.release_task();
  }
  return 0;
}

TEST(RingDeathProcesses, KilledAnywhereLosesAtMostTheItemItRan) {
  std::mt19937_64 random(99);
  constexpr std::uint32_t kItems = 200;
  std::uint32_t lost_in_all = 0;
  std::uint32_t cut_in_all = 0;
  for (ChunkId round = 1; round <= 100; ++round) {
    Link link = Link::make();
    ASSERT_TRUE(link.parent->push_chunk(round, 1, 1, kSlot, kItems, 0, 0));
    for (std::uint32_t i = 0; i < kItems; ++i) ASSERT_TRUE(link.parent->push_item(round, i, inline_payload({})));
    link.parent->commit_tasks();
    Processes worker(link, pattern_worker);
    std::uint32_t answered = 0;
    const auto drain = [&] {
      for (;;) {
        auto result = link.parent->next_result();
        ASSERT_TRUE(result.ok()) << result.error().message();
        if (!result->has_value()) break;
        ASSERT_EQ((*result)->item, answered);
        ASSERT_TRUE(is_pattern((*result)->payload.inline_bytes, round * 1000 + answered));
        ++answered;
        link.parent->pop_result();
      }
      link.parent->release_results();
    };
    // Wait for the first answers, so that the kill falls into the work and not into the start; then let it run on for a moment.
    for (const auto enough = random() % 100; answered < enough;) {
      auto first = wait_result(*link.parent, link.bell);
      ASSERT_TRUE(first.ok());
      ASSERT_NO_FATAL_FAILURE(drain());
    }
    a_moment(random);
    worker.kill();
    ASSERT_EQ(worker.join(), -SIGKILL);
    ASSERT_NO_FATAL_FAILURE(drain());
    const auto word = link.parent->load_chunk(kSlot);
    ASSERT_TRUE(word.ok()) << word.error().message();
    ASSERT_GE(word->next, answered);
    ASSERT_LE(word->next - answered, 1u);
    lost_in_all += word->next - answered;
    cut_in_all += answered < kItems ? 1 : 0;
    ASSERT_EQ(link.parent->take_back(kSlot, 0).value(), word->next);  // the rest is the parent's again
  }
  EXPECT_GT(cut_in_all, 0u);
  RecordProperty("lost_items", static_cast<int>(lost_in_all));
}

// Killed while it fills its ring without ever being read: the parent then finds whole frames only, up to the last commit.
TEST(RingDeathProcesses, UncommittedFramesAreNotSeen) {
  std::mt19937_64 random(5);
  for (int round = 0; round < 60; ++round) {
    Link link = Link::make();
    Processes worker(link, [](WorkerChannel& channel, BellPage&) {
      for (std::uint32_t i = 0;; ++i) {
        const auto payload = pattern(i, 100 + i % 3000);
        ResultFrame frame;
        frame.item = i;
        frame.payload = inline_payload(payload);
        if (!channel.push_result(frame)) {
          channel.commit_result();
          (void)channel.wait_for_room(payload.size(), Nanos::max());
        }
        if (i % 5 == 4) channel.commit_result();
      }
      return 0;
    });
    while (!link.parent->results_waiting()) std::this_thread::yield();
    a_moment(random);
    worker.kill();
    ASSERT_EQ(worker.join(), -SIGKILL);
    std::uint32_t seen = 0;
    while (auto result = link.parent->next_result().value()) {
      ASSERT_EQ(result->item, seen);
      ASSERT_TRUE(is_pattern(result->payload.inline_bytes, seen));
      ++seen;
      link.parent->pop_result();
    }
    ASSERT_GT(seen, 0u);
  }
}

// The parent's death does not matter to the ring; a worker's does not either to the parent that goes on pushing.
TEST(RingDeathProcesses, ParentGoesOnPushingToADeadWorker) {
  Link link = Link::make();
  Processes worker(link, [](WorkerChannel& channel, BellPage&) {
    (void)channel.wait_for_tasks(Nanos::max());
    return 0;
  });
  ASSERT_TRUE(link.parent->push_function(1, inline_payload({})));
  link.parent->commit_tasks();
  worker.kill();
  (void)worker.join();
  for (FunctionId id = 2; link.parent->push_function(id, inline_payload({})); ++id) link.parent->commit_tasks();
  EXPECT_LT(link.parent->task_room(), 64u);
  link.parent->set_closed();
}

TEST(RingForkProcesses, ForkedChildOfTheWorkerCannotAnswerInItsName) {
  Link link = Link::make();
  ASSERT_TRUE(link.parent->push_chunk(1, 1, 1, kSlot, 2, 0, 0));
  ASSERT_TRUE(link.parent->push_item(1, 0, inline_payload({})));
  ASSERT_TRUE(link.parent->push_item(1, 1, inline_payload({})));
  link.parent->commit_tasks();
  Processes worker(link, [](WorkerChannel& channel, BellPage& bell) {
    (void)channel.next_task();
    channel.release_task();
    if (!channel.still_owner() || !channel.claim(kSlot, 0)) return 10;
    const pid_t child = ::fork();
    if (child == 0) {  // as if a task forked and its child returned into the loop
      ResultFrame frame;
      if (channel.still_owner()) ::_exit(1);
      if (channel.claim(kSlot, 1)) ::_exit(2);
      if (channel.push_result(frame)) ::_exit(3);
      if (channel.next_task().ok()) ::_exit(5);
      if (!channel.cancelled()) ::_exit(6);
      if (channel.wait_for_tasks(Nanos::max()) != WorkerChannel::Wake::cancelled) ::_exit(7);
      if (channel.wait_for_room(1, Nanos::max()) != WorkerChannel::Wake::cancelled) ::_exit(8);
      channel.commit_result();
      channel.release_task();
      channel.set_progress(66, 6, Time{6}, 6);
      channel.count_item_done();
      ::_exit(0);
    }
    int status = -1;
    (void)::waitpid(child, &status, 0);
    ResultFrame frame;
    frame.chunk = 1;
    (void)send_result(channel, bell, frame);
    return status == 0 ? 0 : 20 + WEXITSTATUS(status);
  });
  EXPECT_EQ(worker.join(), 0);
  ASSERT_TRUE(link.parent->next_result().value().has_value());
  link.parent->pop_result();
  EXPECT_FALSE(link.parent->next_result().value().has_value());
  EXPECT_EQ(link.parent->load_chunk(kSlot).value().next, 1u);
  EXPECT_EQ(link.parent->progress().items_done, 0u);
}

}  // namespace
}  // namespace holdfast::ring::test
