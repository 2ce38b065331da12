// What: claiming against taking back. Every item of every chunk must be run by the worker or taken back by the parent, never both, never
// neither; frames of an old chunk must not claim items of the slot's next one (model/claim.pml).
#include "ring/pair.hpp"

namespace holdfast::ring::test {
namespace {

template <class Sides>
class RingClaim : public ::testing::Test {};
TYPED_TEST_SUITE(RingClaim, BothSides, SideNames);

// The parent takes back at a random moment while the worker runs through the chunk. What the worker answered must be exactly the items
// below the end that take_back() told.
TYPED_TEST(RingClaim, EachItemIsRunOrTakenBackNeverBoth) {
  Link link = Link::make();
  TypeParam worker(link, echo_worker);
  std::mt19937_64 random(7);
  constexpr std::uint32_t kItems = 60;
  std::uint64_t taken_back = 0;
  std::uint64_t answered = 0;
  const auto payload = pattern(1, 8);
  for (ChunkId chunk = 1; chunk <= 2000; ++chunk) {
    constexpr std::uint32_t kSlot = 4;  // the same slot each time: stale frames of the last chunk are still in the ring
    ASSERT_TRUE(link.parent->push_chunk(chunk, 1, 1, kSlot, kItems, 0, 0));
    for (std::uint32_t i = 0; i < kItems; ++i) {
      while (!link.parent->push_item(chunk, i, inline_payload(payload))) {
        link.parent->commit_tasks();
        std::this_thread::yield();  // taken-back frames are skipped by the worker without an answer: nothing to sleep for
      }
    }
    link.parent->commit_tasks();
    const auto results_before = random() % 20;
    std::uint32_t seen = 0;
    const auto take_one = [&] {
      auto result = wait_result(*link.parent, link.bell);
      ASSERT_TRUE(result.ok()) << result.error().message();
      ASSERT_EQ(result->chunk, chunk);
      ASSERT_EQ(result->item, seen);
      ++seen;
      link.parent->pop_result();
      link.parent->release_results();
    };
    while (seen < results_before) ASSERT_NO_FATAL_FAILURE(take_one());
    const auto keep = static_cast<std::uint32_t>(random() % kItems);
    const auto end = link.parent->take_back(kSlot, keep);
    ASSERT_TRUE(end.ok()) << end.error().message();
    ASSERT_GE(*end, std::max(keep, seen));
    while (seen < *end) ASSERT_NO_FATAL_FAILURE(take_one());
    const auto word = link.parent->load_chunk(kSlot);
    ASSERT_TRUE(word.ok());
    EXPECT_EQ(word->next, *end);
    EXPECT_EQ(word->end, *end);
    link.parent->release_slot(kSlot);
    taken_back += kItems - *end;
    answered += seen;
  }
  EXPECT_GT(taken_back, 0u);
  EXPECT_GT(answered, 0u);
  link.parent->set_closed();
  EXPECT_EQ(worker.join(), 0);
  EXPECT_FALSE(link.parent->results_waiting());  // nothing was run beyond its end
}

// The closest race: the parent lowers the end item by item while the worker claims towards it, until they meet.
TYPED_TEST(RingClaim, TakingBackItemByItemMeetsClaimingExactlyOnce) {
  Link link = Link::make();
  TypeParam worker(link, [](WorkerChannel& channel, BellPage& bell) {
    while (auto task = wait_task(channel)) {
      if (task->type == TaskFrameType::item && channel.claim(task->slot, task->item)) {
        for (std::uint32_t i = 0; i < 20; ++i) (void)channel.free_buffers();  // a task of some 20 ns, so that both go at one pace
        ResultFrame result;
        result.chunk = task->chunk;
        result.item = task->item;
        if (!send_result(channel, bell, result)) return 2;
      }
      channel.release_task();
    }
    return 0;
  });
  constexpr std::uint32_t kItems = 3000;
  constexpr std::uint32_t kSlot = 0;
  for (ChunkId chunk = 1; chunk <= 1000; ++chunk) {
    ASSERT_TRUE(link.parent->push_chunk(chunk, 1, 1, kSlot, kItems, 0, 0));
    for (std::uint32_t i = 0; i < kItems; ++i) {
      while (!link.parent->push_item(chunk, i, {})) std::this_thread::yield();  // the worker skips what is left of the last chunk
    }
    link.parent->commit_tasks();
    for (int polls = 0; !link.parent->results_waiting(); ++polls) {  // until it runs; asleep, the race would be over by then
      if (polls > 2000) std::this_thread::yield();
    }
    std::uint32_t end = kItems;
    for (std::uint32_t keep = kItems; keep-- > 0;) {
      const auto lowered = link.parent->take_back(kSlot, keep);
      ASSERT_TRUE(lowered.ok()) << lowered.error().message();
      end = *lowered;
      if (end > keep) break;
    }
    for (std::uint32_t seen = 0; seen < end; ++seen) {
      auto result = wait_result(*link.parent, link.bell);
      ASSERT_TRUE(result.ok()) << result.error().message();
      ASSERT_EQ(result->chunk, chunk);
      ASSERT_EQ(result->item, seen);
      link.parent->pop_result();
    }
    link.parent->release_results();
    ASSERT_EQ(link.parent->load_chunk(kSlot).value().next, end);
    link.parent->release_slot(kSlot);
  }
  link.parent->set_closed();
  EXPECT_EQ(worker.join(), 0);
}

class RingClaimAlone : public ::testing::Test {
 protected:
  RingClaimAlone() : link_(Link::make()), worker_(WorkerChannel::attach_in_process(*link_.parent).value()) {}
  ParentChannel& parent() { return *link_.parent; }
  WorkerChannel& worker() { return *worker_; }
  /// Pushes a chunk and lets the worker read its chunk frame and `read` item frames.
  void give(ChunkId chunk, std::uint32_t slot, std::uint32_t count, std::uint32_t read) {
    ASSERT_TRUE(parent().push_chunk(chunk, 1, 1, slot, count, 0, 0));
    for (std::uint32_t i = 0; i < count; ++i) ASSERT_TRUE(parent().push_item(chunk, i, inline_payload({})));
    parent().commit_tasks();
    for (std::uint32_t i = 0; i <= read; ++i) {
      ASSERT_NE(worker().next_task().value(), nullptr);
      worker().release_task();
    }
  }
  Link link_;
  std::unique_ptr<WorkerChannel> worker_;
};

TEST_F(RingClaimAlone, ClaimsGoInOrderAndOnce) {
  give(1, 0, 3, 3);
  EXPECT_FALSE(worker().claim(0, 1));
  EXPECT_TRUE(worker().claim(0, 0));
  EXPECT_FALSE(worker().claim(0, 0));
  EXPECT_TRUE(worker().claim(0, 1));
  EXPECT_TRUE(worker().claim(0, 2));
  EXPECT_FALSE(worker().claim(0, 3));
  EXPECT_FALSE(worker().claim(kChunkSlots, 0));
}

TEST_F(RingClaimAlone, TakeBackKeepsWhatHasBegunAndWhatItIsToldToKeep) {
  give(1, 0, 5, 5);
  EXPECT_TRUE(worker().claim(0, 0));
  EXPECT_TRUE(worker().claim(0, 1));
  EXPECT_EQ(parent().take_back(0, 4).value(), 4u);
  EXPECT_EQ(parent().take_back(0, 0).value(), 2u);
  EXPECT_EQ(parent().take_back(0, 5).value(), 2u);  // never raised again
  EXPECT_FALSE(worker().claim(0, 2));
}

TEST_F(RingClaimAlone, FrameOfAnOldChunkCannotClaimInTheSlotsNextOne) {
  give(1, 0, 2, 1);  // chunk frame and item 0 are read, nothing is claimed
  EXPECT_EQ(parent().take_back(0, 0).value(), 0u);
  parent().release_slot(0);
  ASSERT_TRUE(parent().push_chunk(2, 1, 1, 0, 1, 0, 0));
  parent().commit_tasks();
  EXPECT_FALSE(worker().claim(0, 0));  // the worker still stands at chunk 1
  EXPECT_EQ(parent().load_chunk(0).value().next, 0u);
}

TEST_F(RingClaimAlone, SlotServesManyChunksInTurn) {
  for (ChunkId chunk = 1; chunk < 3000; ++chunk) {
    give(chunk, 17, 1, 1);
    ASSERT_TRUE(worker().claim(17, 0));
    parent().release_slot(17);
  }
}

}  // namespace
}  // namespace holdfast::ring::test
