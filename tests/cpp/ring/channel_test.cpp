// What: a channel's two rings used as they are meant to be: order, content, batches, wrap-around, full rings, the end. Both as two
// threads on one mapping and as two processes.
#include "ring/control.hpp"
#include "ring/pair.hpp"
#include "sys/memfd.hpp"

namespace holdfast::ring::test {
namespace {

template <class Sides>
class RingChannel : public ::testing::Test {};
TYPED_TEST_SUITE(RingChannel, BothSides, SideNames);

void push_whole_chunk(ParentChannel& parent, ChunkId chunk, std::uint32_t slot, const std::vector<std::vector<std::byte>>& payloads) {
  ASSERT_TRUE(parent.push_chunk(chunk, 1, 1, slot, static_cast<std::uint32_t>(payloads.size()), 0, 0));
  for (std::uint32_t i = 0; i < payloads.size(); ++i) ASSERT_TRUE(parent.push_item(chunk, i, inline_payload(payloads[i])));
}

TYPED_TEST(RingChannel, CarriesPayloadsOfEverySizeBothWays) {
  Link link = Link::make();
  TypeParam worker(link, echo_worker);
  std::vector<std::size_t> sizes;
  for (std::size_t size = 0; size <= 70; ++size) sizes.push_back(size);
  for (const std::size_t size : {511UL, 512UL, 4095UL, 4096UL, 4097UL, kInlineLimit - 1, kInlineLimit}) sizes.push_back(size);
  ChunkId chunk = 0;
  for (const std::size_t size : sizes) {
    ++chunk;
    const auto payload = pattern(chunk, size);
    push_whole_chunk(*link.parent, chunk, static_cast<std::uint32_t>(chunk % kChunkSlots), {payload});
    link.parent->commit_tasks();
    auto result = wait_result(*link.parent, link.bell);
    ASSERT_TRUE(result.ok()) << result.error().message();
    EXPECT_EQ(result->chunk, chunk);
    EXPECT_EQ(result->kind, ResultKind::done);
    EXPECT_EQ(result->payload.size, size);
    EXPECT_TRUE(same(result->payload.inline_bytes, payload)) << size;
    link.parent->pop_result();
    link.parent->release_results();
    link.parent->release_slot(static_cast<std::uint32_t>(chunk % kChunkSlots));
  }
  link.parent->set_closed();
  EXPECT_EQ(worker.join(), 0);
}

TYPED_TEST(RingChannel, AnswersABatchCommittedByOneStoreInOrder) {
  Link link = Link::make();
  TypeParam worker(link, echo_worker);
  constexpr std::uint32_t kItems = 1000;
  std::vector<std::vector<std::byte>> payloads;
  for (std::uint32_t i = 0; i < kItems; ++i) payloads.push_back(pattern(i, i % 97));
  push_whole_chunk(*link.parent, 7, 3, payloads);
  link.parent->commit_tasks();
  for (std::uint32_t i = 0; i < kItems; ++i) {
    auto result = wait_result(*link.parent, link.bell);
    ASSERT_TRUE(result.ok());
    EXPECT_EQ(result->item, i);
    EXPECT_TRUE(same(result->payload.inline_bytes, payloads[i]));
    link.parent->pop_result();
    link.parent->release_results();
  }
  const auto word = link.parent->load_chunk(3);
  ASSERT_TRUE(word.ok());
  EXPECT_EQ(word->next, kItems);
  EXPECT_EQ(word->end, kItems);
  link.parent->set_closed();
  EXPECT_EQ(worker.join(), 0);
}

// A random mix of batches and sizes against what was sent; small rings, so that they wrap, fill and make both sides wait.
TYPED_TEST(RingChannel, SoakMatchesWhatWasSent) {
  Link link = Link::make(5, {.task_ring_bytes = 128 * 1024, .result_ring_bytes = 128 * 1024});
  TypeParam worker(link, echo_worker);
  std::mt19937_64 random(20261121);
  constexpr std::uint32_t kChunks = 400;
  std::uint32_t pushed_chunks = 0;
  std::uint32_t answered_chunks = 0;
  std::vector<std::uint32_t> counts;
  std::uint32_t next_item = 0;    // to push, of chunk `pushed_chunks`
  std::uint32_t next_answer = 0;  // expected, of chunk `answered_chunks`
  bool begun = false;
  const auto size_of = [](std::uint64_t chunk, std::uint32_t item) {
    const std::uint64_t mixed = (chunk * 1'000'003 + item) * 0x9e3779b97f4a7c15u >> 40;
    return static_cast<std::size_t>(mixed % 64 == 0 ? mixed % kInlineLimit : mixed % 200);
  };
  while (answered_chunks < kChunks) {
    bool full = false;
    while (!full && pushed_chunks < kChunks && pushed_chunks - answered_chunks < kChunkSlots) {
      const ChunkId id = pushed_chunks + 1;
      const std::uint32_t slot = pushed_chunks % kChunkSlots;
      if (!begun) {
        const auto count = static_cast<std::uint32_t>(1 + random() % 40);
        if (!link.parent->push_chunk(id, 1, 1, slot, count, 0, 0)) {
          full = true;
          break;
        }
        counts.push_back(count);
        begun = true;
        next_item = 0;
      }
      while (next_item < counts.back() && !full) {
        full = !link.parent->push_item(id, next_item, inline_payload(pattern(id * 100 + next_item, size_of(id, next_item))));
        if (!full) ++next_item;
      }
      if (!full) {
        ++pushed_chunks;
        begun = false;
      }
      if (random() % 3 == 0) link.parent->commit_tasks();
    }
    link.parent->commit_tasks();
    auto result = wait_result(*link.parent, link.bell);
    ASSERT_TRUE(result.ok()) << result.error().message();
    const ChunkId id = answered_chunks + 1;
    ASSERT_EQ(result->chunk, id);
    ASSERT_EQ(result->item, next_answer);
    ASSERT_EQ(result->payload.size, size_of(id, next_answer));
    ASSERT_TRUE(is_pattern(result->payload.inline_bytes, id * 100 + next_answer));
    link.parent->pop_result();
    if (random() % 4 == 0 || !link.parent->results_waiting()) link.parent->release_results();
    if (++next_answer == counts[answered_chunks]) {
      link.parent->release_slot(answered_chunks % kChunkSlots);
      ++answered_chunks;
      next_answer = 0;
    }
  }
  link.parent->set_closed();
  EXPECT_EQ(worker.join(), 0);
  EXPECT_FALSE(link.parent->results_waiting());
}

TYPED_TEST(RingChannel, ClosedWorkerFinishesWhatIsCommittedAndLeaves) {
  Link link = Link::make();
  push_whole_chunk(*link.parent, 1, 0, {pattern(1, 10), pattern(2, 10), pattern(3, 10)});
  link.parent->set_closed();  // commits too
  TypeParam worker(link, echo_worker);
  EXPECT_EQ(worker.join(), 0);
  for (std::uint32_t i = 0; i < 3; ++i) {
    auto result = link.parent->next_result();
    ASSERT_TRUE(result.ok() && result->has_value());
    EXPECT_TRUE(is_pattern((*result)->payload.inline_bytes, i + 1));
    link.parent->pop_result();
  }
}

TYPED_TEST(RingChannel, CancelledWorkerBeginsNothingMore) {
  Link link = Link::make();
  push_whole_chunk(*link.parent, 1, 0, {pattern(1, 10), pattern(2, 10)});
  link.parent->commit_tasks();
  link.parent->set_cancelled();
  TypeParam worker(link, [](WorkerChannel& channel, BellPage&) {
    return channel.cancelled() && channel.wait_for_tasks(Nanos::max()) == WorkerChannel::Wake::cancelled ? 0 : 1;
  });
  EXPECT_EQ(worker.join(), 0);
  EXPECT_EQ(link.parent->load_chunk(0).value().next, 0u);
}

TYPED_TEST(RingChannel, LeavingWorkerBeginsNothingMoreAndStillWaitsForRoom) {
  Link link = Link::make();
  push_whole_chunk(*link.parent, 1, 0, {pattern(1, 10)});
  link.parent->commit_tasks();
  link.parent->set_leaving();
  constexpr std::uint32_t kResults = 1000;  // several rings full
  TypeParam worker(link, [](WorkerChannel& channel, BellPage& bell) {
    if (!channel.leaving() || channel.cancelled()) return 1;
    if (channel.wait_for_tasks(Nanos::max()) != WorkerChannel::Wake::cancelled) return 2;
    const auto payload = pattern(1, 1000);
    ResultFrame frame;
    frame.chunk = 1;
    frame.payload = inline_payload(payload);
    for (frame.item = 0; frame.item < kResults; ++frame.item) {
      if (!send_result(channel, bell, frame)) return 3;
    }
    return 0;
  });
  for (std::uint32_t i = 0; i < kResults; ++i) {
    const auto result = wait_result(*link.parent, link.bell);
    ASSERT_TRUE(result.ok());
    ASSERT_EQ(result->item, i);
    link.parent->pop_result();
    link.parent->release_results();
  }
  EXPECT_EQ(worker.join(), 0);
}

TYPED_TEST(RingChannel, CancelEndsAWaitForRoom) {
  Link link = Link::make();
  TypeParam worker(link, [](WorkerChannel& channel, BellPage& bell) {
    const auto payload = pattern(1, 1000);
    ResultFrame frame;
    frame.payload = inline_payload(payload);
    while (send_result(channel, bell, frame)) {}
    return 0;
  });
  auto first = wait_result(*link.parent, link.bell);
  ASSERT_TRUE(first.ok());
  link.parent->set_cancelled();
  EXPECT_EQ(worker.join(), 0);
}

TYPED_TEST(RingChannel, ProgressIsNeverTornBetweenTwoItems) {
  Link link = Link::make();
  TypeParam worker(link, [](WorkerChannel& channel, BellPage&) {
    for (std::uint32_t i = 1; !channel.cancelled(); ++i) {
      channel.set_progress(i, i, Time{i}, i);
      channel.count_item_done();
    }
    return 0;
  });
  std::uint64_t last = 0;
  int seen = 0;
  while (seen < 20'000) {
    const auto progress = link.parent->progress();
    if (progress.chunk == 0) continue;  // not begun, or no quiet moment found
    ++seen;
    ASSERT_EQ(progress.item, static_cast<std::uint32_t>(progress.chunk));
    ASSERT_EQ(static_cast<std::uint64_t>(progress.started.count()), progress.chunk);
    ASSERT_GE(progress.chunk, last);
    last = progress.chunk;
  }
  link.parent->set_cancelled();
  EXPECT_EQ(worker.join(), 0);
}

// --- single-threaded: one side after the other ---

class RingChannelAlone : public ::testing::Test {
 protected:
  RingChannelAlone() : link_(Link::make(9)), worker_(WorkerChannel::attach_in_process(*link_.parent).value()) {}
  ParentChannel& parent() { return *link_.parent; }
  WorkerChannel& worker() { return *worker_; }
  Link link_;
  std::unique_ptr<WorkerChannel> worker_;
};

TEST_F(RingChannelAlone, ShowsNothingBeforeCommit) {
  ASSERT_TRUE(parent().push_function(4, inline_payload(bytes_of("pickled"))));
  EXPECT_EQ(worker().next_task().value(), nullptr);
  parent().commit_tasks();
  const TaskFrame* task = worker().next_task().value();
  ASSERT_NE(task, nullptr);
  EXPECT_EQ(task->type, TaskFrameType::function);
  EXPECT_EQ(task->function, 4u);
  EXPECT_TRUE(same(task->payload.inline_bytes, bytes_of("pickled")));

  const auto payload = pattern(1, 100);
  ResultFrame frame;
  frame.payload = inline_payload(payload);
  ASSERT_TRUE(worker().push_result(frame));
  EXPECT_FALSE(parent().results_waiting());
  EXPECT_FALSE(parent().next_result().value().has_value());
  worker().commit_result();
  EXPECT_TRUE(parent().results_waiting());
  EXPECT_TRUE(parent().next_result().value().has_value());
}

TEST_F(RingChannelAlone, EveryKindOfTaskFrameArrivesAsItWasSent) {
  ASSERT_TRUE(parent().push_function(11, {.inline_bytes = {}, .buffer = 77, .size = 5'000'000'000}));
  ASSERT_TRUE(parent().push_chunk(0x1'0000'0002, 3, 11, 63, 2, 1, 0x55));
  ASSERT_TRUE(parent().push_item(0x1'0000'0002, 0, {.inline_bytes = {}, .buffer = 78, .size = 9}));
  ASSERT_TRUE(parent().push_item(0x1'0000'0002, 1, inline_payload({})));
  ASSERT_TRUE(parent().push_forget_function(11));
  ASSERT_TRUE(parent().push_buffer_gone(77));
  parent().commit_tasks();
  std::vector<TaskFrame> frames;
  while (const TaskFrame* task = worker().next_task().value()) {
    frames.push_back(*task);
    worker().release_task();
  }
  ASSERT_EQ(frames.size(), 6u);
  EXPECT_EQ(frames[0].payload.buffer, 77u);
  EXPECT_EQ(frames[0].payload.size, 5'000'000'000u);
  EXPECT_EQ(frames[1].type, TaskFrameType::chunk);
  EXPECT_EQ(frames[1].chunk, 0x1'0000'0002u);
  EXPECT_EQ(frames[1].job, 3u);
  EXPECT_EQ(frames[1].function, 11u);
  EXPECT_EQ(frames[1].slot, 63u);
  EXPECT_EQ(frames[1].count, 2u);
  EXPECT_EQ(frames[1].call_mode, 1u);
  EXPECT_EQ(frames[1].flags, 0x55u);
  EXPECT_EQ(frames[2].type, TaskFrameType::item);
  EXPECT_EQ(frames[2].chunk, 0x1'0000'0002u);
  EXPECT_EQ(frames[2].slot, 63u);
  EXPECT_EQ(frames[2].payload.buffer, 78u);
  EXPECT_EQ(frames[3].item, 1u);
  EXPECT_EQ(frames[3].payload.size, 0u);
  EXPECT_EQ(frames[4].type, TaskFrameType::forget_function);
  EXPECT_EQ(frames[4].function, 11u);
  EXPECT_EQ(frames[5].type, TaskFrameType::buffer_gone);
  EXPECT_EQ(frames[5].buffer, 77u);
}

TEST_F(RingChannelAlone, AbandonedFramesAreNeverSeenAndTheirSlotIsFree) {
  ASSERT_TRUE(parent().push_chunk(1, 1, 1, 0, 1, 0, 0));
  ASSERT_TRUE(parent().push_item(1, 0, inline_payload(bytes_of("old"))));
  parent().abandon_pushed();
  parent().commit_tasks();
  EXPECT_EQ(worker().next_task().value(), nullptr);
  ASSERT_TRUE(parent().push_chunk(2, 1, 1, 0, 1, 0, 0));
  parent().commit_tasks();
  EXPECT_EQ(worker().next_task().value()->chunk, 2u);
}

TEST_F(RingChannelAlone, FullTaskRingRefusesAndTakesAgainOnceRead) {
  const auto payload = pattern(1, 1000);
  ASSERT_TRUE(parent().push_chunk(1, 1, 1, 0, 100'000, 0, 0));
  std::uint32_t pushed = 0;
  while (parent().push_item(1, pushed, inline_payload(payload))) ++pushed;
  EXPECT_GT(pushed, 200u);
  EXPECT_LT(parent().task_room(), 2 * ParentChannel::item_cost(inline_payload(payload)));
  parent().commit_tasks();
  for (int i = 0; i < 3; ++i) {
    ASSERT_NE(worker().next_task().value(), nullptr);
    worker().release_task();
  }
  EXPECT_TRUE(parent().push_item(1, pushed, inline_payload(payload)));
}

TEST_F(RingChannelAlone, CostsAreTheMostRoomThatFramesTake) {
  const std::size_t empty = parent().task_room();
  const auto payload = inline_payload(bytes_of("12345"));
  ASSERT_TRUE(parent().push_function(1, payload));
  ASSERT_TRUE(parent().push_chunk(1, 1, 1, 0, 1, 0, 0));
  ASSERT_TRUE(parent().push_item(1, 0, payload));
  std::size_t most = ParentChannel::function_cost(payload) + ParentChannel::chunk_cost() + ParentChannel::item_cost(payload);
  EXPECT_EQ(empty - parent().task_room(), most - 8);  // an item in its turn has a short header
  ASSERT_TRUE(parent().push_chunk(2, 1, 1, 1, 2, 0, 0));
  ASSERT_TRUE(parent().push_item(2, 1, payload));  // out of turn: whole
  most += ParentChannel::chunk_cost() + ParentChannel::item_cost(payload);
  EXPECT_EQ(empty - parent().task_room(), most - 8);
}

// Short frames refer to the one before: what comes between must not confuse them, whole or abandoned.
TEST_F(RingChannelAlone, ItemsOfTwoChunksMayMixAndFramesInBetweenBeAbandoned) {
  ASSERT_TRUE(parent().push_chunk(1, 1, 1, 0, 9, 0, 0));
  ASSERT_TRUE(parent().push_item(1, 0, inline_payload(pattern(10, 3))));
  parent().commit_tasks();
  ASSERT_TRUE(parent().push_chunk(2, 1, 1, 1, 9, 0, 0));
  ASSERT_TRUE(parent().push_item(2, 0, {}));
  parent().abandon_pushed();
  ASSERT_TRUE(parent().push_item(1, 1, inline_payload(pattern(11, 3))));
  ASSERT_TRUE(parent().push_chunk(3, 1, 1, 1, 9, 0, 0));
  ASSERT_TRUE(parent().push_item(1, 2, inline_payload(pattern(12, 3))));
  ASSERT_TRUE(parent().push_item(3, 0, inline_payload(pattern(30, 3))));
  ASSERT_TRUE(parent().push_forget_function(1));
  ASSERT_TRUE(parent().push_item(3, 1, inline_payload(pattern(31, 3))));
  parent().commit_tasks();
  std::vector<std::uint64_t> seen;
  while (const TaskFrame* task = worker().next_task().value()) {
    ASSERT_EQ(worker().next_task().value()->item, task->item);  // looked at twice: the same
    if (task->type == TaskFrameType::item) {
      seen.push_back(task->chunk * 10 + task->item);
      EXPECT_TRUE(is_pattern(task->payload.inline_bytes, seen.back()));
    }
    worker().release_task();
  }
  EXPECT_EQ(seen, (std::vector<std::uint64_t>{10, 11, 12, 30, 31}));
}

TEST_F(RingChannelAlone, ResultsOfEveryKindMixAndStayThemselves) {
  struct Case {
    ResultKind kind;
    ChunkId chunk;
    std::uint32_t item;
    Nanos run_time;
    BufferId buffer;
  };
  const Case cases[] = {
      {ResultKind::done, 1, 0, Nanos{40}, 0},  {ResultKind::done, 1, 1, Nanos{50}, 0},          {ResultKind::note, 0, 0, Nanos{0}, 0},
      {ResultKind::done, 1, 2, Nanos{60}, 0},  {ResultKind::raised, 1, 3, Nanos{70}, 0},        {ResultKind::done, 1, 4, Nanos{80}, 0},
      {ResultKind::done, 1, 5, Nanos{90}, 77}, {ResultKind::done, 1, 6, Nanos{500'000'001}, 0}, {ResultKind::done, 1, 7, Nanos{100}, 0},
      {ResultKind::done, 2, 8, Nanos{110}, 0}, {ResultKind::done, 2, 9, Nanos{120}, 0},         {ResultKind::done, 2, 20, Nanos{130}, 0}};
  for (const Case& each : cases) {
    const auto bytes = pattern(each.item, 1 + each.item);
    ResultFrame frame{.kind = each.kind, .chunk = each.chunk, .item = each.item, .run_time = each.run_time, .payload = {}};
    if (each.buffer != 0) {
      frame.payload = {.inline_bytes = {}, .buffer = each.buffer, .size = 5};
    } else {
      frame.payload = inline_payload(bytes);
    }
    ASSERT_TRUE(worker().push_result(frame));
  }
  worker().commit_result();
  for (const Case& each : cases) {
    ASSERT_TRUE(parent().next_result().value().has_value());
    const auto result = parent().next_result().value();  // looked at twice: the same
    EXPECT_EQ(result->kind, each.kind);
    EXPECT_EQ(result->chunk, each.chunk);
    EXPECT_EQ(result->item, each.item);
    EXPECT_EQ(result->run_time, each.run_time);
    EXPECT_EQ(result->payload.buffer, each.buffer);
    if (each.buffer == 0) { EXPECT_TRUE(same(result->payload.inline_bytes, pattern(each.item, 1 + each.item))); }
    parent().pop_result();
  }
  parent().release_results();
}

TEST_F(RingChannelAlone, TooLargeInlineResultIsRefused) {
  const std::vector<std::byte> large(kInlineLimit + 1);
  ResultFrame frame;
  frame.payload = inline_payload(large);
  EXPECT_FALSE(worker().push_result(frame));
}

TEST_F(RingChannelAlone, ReleasedBuffersShowAsFreeUntilTaken) {
  EXPECT_EQ(worker().free_buffers(), 0u);
  parent().release_buffer(0);
  parent().release_buffer(63);
  parent().release_buffer(64);  // not an index: ignored
  EXPECT_EQ(worker().free_buffers(), 1u | (std::uint64_t{1} << 63));
  worker().take_buffer(0);
  EXPECT_EQ(worker().free_buffers(), std::uint64_t{1} << 63);
}

TEST_F(RingChannelAlone, NamesTheItemThatIsOverItsSoftLimitAndNoOther) {
  EXPECT_FALSE(worker().overdue(1, 0));
  EXPECT_EQ(parent().set_overdue(7, 3, std::chrono::milliseconds(20)), 0);  // the worker has no handler yet: it looks by itself
  EXPECT_EQ(worker().overdue(7, 3), Nanos(std::chrono::milliseconds(20)));
  EXPECT_FALSE(worker().overdue(7, 2));
  EXPECT_FALSE(worker().overdue(8, 3));
  worker().set_soft_signal(SIGRTMIN + 5);
  EXPECT_EQ(parent().set_overdue(7, 4, std::chrono::milliseconds(20)), SIGRTMIN + 5);
  EXPECT_FALSE(worker().overdue(7, 3));
  for (const int nonsense : {SIGKILL, SIGSTOP, 0, -1, SIGRTMAX + 1}) {  // a worker's word: only a real-time signal is sent
    worker().set_soft_signal(nonsense);
    EXPECT_EQ(parent().set_overdue(7, 5, std::chrono::milliseconds(20)), 0) << nonsense;
  }
}

TEST_F(RingChannelAlone, ShowsTheWorkersStacksAsBoundedTextWithoutControlCharacters) {
  const auto area = worker().stacks_text();
  ASSERT_EQ(area.size(), kMaxStacksText);
  EXPECT_EQ(parent().stacks_text(), "");
  EXPECT_FALSE(parent().says_crashed());
  char* text = const_cast<char*>(area.data());
  std::memcpy(text, "a\tb\nc\x1b[0m\x7f\xff", 11);
  EXPECT_EQ(parent().stacks_text(), "a\tb\nc?[0m?\xff");
  std::memset(text, 'x', area.size());  // no end
  EXPECT_EQ(parent().stacks_text(), std::string(kMaxStacksText, 'x'));
  worker().set_crash_signal(SIGSEGV);
  EXPECT_TRUE(parent().says_crashed());
}

TEST_F(RingChannelAlone, AsksForStacksByARealTimeSignalAndANumber) {
  EXPECT_EQ(parent().stacks_signal(), 0);
  for (const int nonsense : {SIGKILL, SIGSTOP, -1, SIGRTMAX + 1}) {
    worker().set_stacks_signal(nonsense);
    EXPECT_EQ(parent().stacks_signal(), 0) << nonsense;
  }
  worker().set_stacks_signal(SIGRTMIN + 5);
  EXPECT_EQ(parent().stacks_signal(), SIGRTMIN + 5);
  parent().want_stacks(7, /*last=*/false);
  EXPECT_EQ(worker().stacks_wanted().number, 7u);
  EXPECT_FALSE(worker().stacks_wanted().last);
  parent().want_stacks(8, /*last=*/true);
  EXPECT_EQ(worker().stacks_wanted().number, 8u);
  EXPECT_TRUE(worker().stacks_wanted().last);
  worker().set_stacks_taken(8);
  EXPECT_EQ(parent().stacks_taken(), 8u);
}

TEST_F(RingChannelAlone, WaitsEndAtTheirTimeOut) {
  EXPECT_EQ(worker().wait_for_tasks(std::chrono::milliseconds(1)), WorkerChannel::Wake::timed_out);
  const auto payload = pattern(1, 10'000);
  ResultFrame frame;
  frame.payload = inline_payload(payload);
  while (worker().push_result(frame)) {}
  EXPECT_EQ(worker().wait_for_room(payload.size(), std::chrono::milliseconds(1)), WorkerChannel::Wake::timed_out);
}

TEST(RingCreate, RefusesImpossibleSizesAndIndexes) {
  EXPECT_EQ(ParentChannel::create({.task_ring_bytes = 100'000}, 0).error().code, ErrorCode::invalid_argument);
  EXPECT_EQ(ParentChannel::create({.task_ring_bytes = 65'536}, 0).error().code, ErrorCode::invalid_argument);
  EXPECT_EQ(ParentChannel::create({.result_ring_bytes = 1U << 30}, 0).error().code, ErrorCode::invalid_argument);
  EXPECT_EQ(ParentChannel::create({}, kMaxWorkers).error().code, ErrorCode::invalid_argument);
}

TEST(RingAttach, RefusesWhatIsNoChannel) {
  auto plain = sys::create_memfd("holdfast-test", 1 << 20).value();
  EXPECT_EQ(WorkerChannel::attach(plain.get()).error().code, ErrorCode::protocol_error);
  auto tiny = sys::create_memfd("holdfast-test", 100).value();
  EXPECT_EQ(WorkerChannel::attach(tiny.get()).error().code, ErrorCode::protocol_error);
  EXPECT_FALSE(BellPage::attach(tiny.get()).ok());
  EXPECT_EQ(BellPage::attach(plain.get()).error().code, ErrorCode::protocol_error);
  auto link = Link::make();
  EXPECT_TRUE(WorkerChannel::attach(link.parent->fd()).ok());
  EXPECT_FALSE(WorkerChannel::attach(link.bell.fd()).ok());
}

}  // namespace
}  // namespace holdfast::ring::test
