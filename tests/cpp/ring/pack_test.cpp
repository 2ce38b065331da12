// What: many items in one frame and many results in one take: each must be the same as one by one.
#include "ring/pack.hpp"

#include "ring/frame.hpp"
#include "ring/pair.hpp"

namespace holdfast::ring::test {
namespace {

std::vector<std::byte> pack_of(const std::vector<std::vector<std::byte>>& payloads) {
  std::vector<std::byte> records;
  for (const auto& each : payloads) {
    const std::size_t at = records.size();
    records.resize(at + pack::cost(each.size()));
    pack::put_prefix(records.data() + at, each.size());
    std::copy(each.begin(), each.end(), records.begin() + static_cast<std::ptrdiff_t>(at + pack::kPrefix));
  }
  return records;
}

TEST(RingPack, ReaderGivesEachRecordAndSeesABrokenEnd) {
  const auto records = pack_of({pattern(1, 3), {}, pattern(2, kInlineLimit)});
  pack::Reader reader(records);
  ByteSpan record;
  ASSERT_TRUE(reader.next(record));
  EXPECT_TRUE(is_pattern(record, 1));
  ASSERT_TRUE(reader.next(record));
  EXPECT_TRUE(record.empty());
  ASSERT_TRUE(reader.next(record));
  EXPECT_EQ(record.size(), kInlineLimit);
  EXPECT_TRUE(is_pattern(record, 2));
  EXPECT_FALSE(reader.next(record));
  EXPECT_TRUE(reader.at_end());
  for (const std::size_t cut : {std::size_t{1}, std::size_t{4}}) {
    pack::Reader broken(ByteSpan(records).first(cut));
    EXPECT_FALSE(broken.next(record));
    EXPECT_FALSE(broken.at_end());
  }
}

class RingPackFrame : public ::testing::Test {
 protected:
  ParentChannel& parent() { return *link_.parent; }
  WorkerChannel& worker() { return *worker_; }
  /// Pushes items [first, first + count) of chunk 1 (slot 0), item i with pattern(i).
  bool push(std::uint32_t first, std::uint32_t count, std::size_t size = 5) {
    std::vector<std::vector<std::byte>> payloads;
    for (std::uint32_t i = first; i < first + count; ++i) payloads.push_back(pattern(i, size));
    return parent().push_items(1, first, count, pack_of(payloads));
  }
  void expect_item(std::uint32_t index) {
    const TaskFrame* task = worker().next_task().value();
    ASSERT_NE(task, nullptr);
    ASSERT_EQ(task->type, TaskFrameType::item);
    EXPECT_EQ(task->chunk, 1u);
    EXPECT_EQ(task->item, index);
    EXPECT_TRUE(is_pattern(task->payload.inline_bytes, index));
    EXPECT_EQ(task->payload.size, task->payload.inline_bytes.size());
  }

 private:
  Link link_ = Link::make();
  std::unique_ptr<WorkerChannel> worker_ = WorkerChannel::attach_in_process(*link_.parent).value();
};

TEST_F(RingPackFrame, ItemsComeOneByOneBetweenOtherFrames) {
  ASSERT_TRUE(parent().push_chunk(1, 1, 1, 0, 8, 0, 0));
  ASSERT_TRUE(push(0, 3));
  const auto alone = pattern(3, 9);
  ASSERT_TRUE(parent().push_item(1, 3, inline_payload(alone)));
  ASSERT_TRUE(push(4, 4, 0));
  parent().commit_tasks();
  ASSERT_EQ(worker().next_task().value()->type, TaskFrameType::chunk);
  worker().release_task();
  for (std::uint32_t i = 0; i < 8; ++i) {
    expect_item(i);
    expect_item(i);  // looked at twice: the same
    EXPECT_TRUE(worker().claim(0, i));
    worker().release_task();
    worker().release_task();  // of nothing: nothing
  }
  EXPECT_EQ(worker().next_task().value(), nullptr);
}

TEST_F(RingPackFrame, RoomComesBackWithTheLastItemOfAFrame) {
  ASSERT_TRUE(parent().push_chunk(1, 1, 1, 0, 1000, 0, 0));
  ASSERT_TRUE(push(0, 3));
  parent().commit_tasks();
  worker().next_task().value();
  worker().release_task();
  const std::size_t room = parent().task_room();
  for (std::uint32_t i = 0; i < 3; ++i) {
    EXPECT_EQ(parent().task_room(), room);
    expect_item(i);
    worker().release_task();
  }
  EXPECT_GT(parent().task_room(), room);
}

TEST_F(RingPackFrame, ItemsTakenBackCannotBeClaimed) {
  ASSERT_TRUE(parent().push_chunk(1, 1, 1, 0, 4, 0, 0));
  ASSERT_TRUE(push(0, 4));
  parent().commit_tasks();
  worker().next_task().value();
  worker().release_task();
  expect_item(0);
  EXPECT_TRUE(worker().claim(0, 0));
  worker().release_task();
  EXPECT_EQ(parent().take_back(0, 2).value(), 2u);
  for (std::uint32_t i = 1; i < 4; ++i) {
    expect_item(i);
    EXPECT_EQ(worker().claim(0, i), i < 2);
    worker().release_task();
  }
}

TEST_F(RingPackFrame, RecordsThatDoNotFillTheFrameAreAFault) {
  ASSERT_TRUE(parent().push_chunk(1, 1, 1, 0, 9, 0, 0));
  auto records = pack_of({pattern(0, 5), pattern(1, 5)});
  ASSERT_TRUE(parent().push_items(1, 0, 1, records));  // one record too many
  parent().commit_tasks();
  worker().next_task().value();
  worker().release_task();
  EXPECT_EQ(worker().next_task().error().code, ErrorCode::protocol_error);
}

TEST(RingItemsFrame, EachNonsenseIsNamed) {
  using frame::Fault;
  const auto decode = [](const frame::ItemsHeader& header, std::size_t available) {
    const auto words = std::make_unique<std::uint64_t[]>(available / 8);
    auto* at = reinterpret_cast<std::byte*>(words.get());
    frame::put_header(at, header);
    TaskFrame task;
    frame::TaskExtra extra;
    return frame::decode_task(at, available, {}, task, extra);
  };
  const frame::ItemsHeader good{.head = {.length = 32, .type = frame::kItems}, .first = 0, .chunk_low = 1, .count = 4, .reserved = 0};
  EXPECT_EQ(decode(good, 32), Fault::none);
  EXPECT_EQ(decode(good, 24), Fault::cut_short);
  auto bad = good;
  bad.head.slot = kChunkSlots;
  EXPECT_EQ(decode(bad, 32), Fault::slot);
  bad = good;
  bad.head.form = frame::Form::buffer;
  EXPECT_EQ(decode(bad, 32), Fault::form);
  bad = good;
  bad.reserved = 1;
  EXPECT_EQ(decode(bad, 32), Fault::reserved);
  bad = good;
  bad.count = 0;
  EXPECT_EQ(decode(bad, 32), Fault::count);
  bad.count = 5;  // of at least two bytes each
  EXPECT_EQ(decode(bad, 32), Fault::count);
  bad = good;
  bad.first = kMaxChunkItems - 3;
  EXPECT_EQ(decode(bad, 32), Fault::count);
  bad = good;
  bad.head.length = static_cast<std::uint32_t>(frame::kSizeOf<frame::ItemsHeader> + kInlineLimit + 1);
  EXPECT_EQ(decode(bad, 64 * 1024), Fault::length);
}

/// What a parent saw of a result.
struct Seen {
  ResultKind kind;
  std::uint32_t item;
  std::vector<std::byte> bytes;
  bool operator==(const Seen&) const = default;
};

TEST_F(RingPackFrame, RunsAreTheSameResultsAsOneByOne) {
  std::mt19937 random(7);
  const auto below = [&random](std::uint32_t limit) { return static_cast<std::uint32_t>(random() % limit); };
  std::vector<std::byte> room(600);
  std::uint64_t in_runs = 0;
  ChunkId chunk = 0;
  for (int round = 0; round < 300; ++round) {
    ++chunk;
    std::vector<Seen> sent;
    std::vector<Seen> got;
    Nanos run_time{0};
    const std::uint32_t count = 1 + below(60);
    for (std::uint32_t item = 0; item < count; ++item) {
      ResultFrame result;
      const std::uint32_t dice = below(20);
      result.kind = dice == 0 ? ResultKind::raised : ResultKind::done;
      result.chunk = chunk;
      result.item = item;
      result.run_time = dice == 1 ? Nanos{300'000'000} : Nanos{below(1000) * 10};
      const auto bytes = pattern(item, dice == 2 ? 700 : below(40));
      result.payload = dice == 3 ? PayloadRef{.inline_bytes = {}, .buffer = 9, .size = 5} : inline_payload(bytes);
      ASSERT_TRUE(worker().push_result(result));
      worker().commit_result();
      run_time += result.run_time;
      sent.push_back({result.kind, item, dice == 3 ? std::vector<std::byte>{} : bytes});
    }
    Nanos seen_time{0};
    while (got.size() < sent.size()) {
      if (below(2) == 0 && !got.empty()) {
        const auto run = parent().take_done_run(1 + below(10), std::span(room).first(below(600)));
        pack::Reader records(ByteSpan(room).first(run.pack_bytes));
        ByteSpan record;
        while (records.next(record)) {
          got.push_back({ResultKind::done, static_cast<std::uint32_t>(got.size()), {record.begin(), record.end()}});
        }
        ASSERT_TRUE(records.at_end());
        in_runs += run.count;
        seen_time += run.run_time;
      } else {
        const auto next = parent().next_result().value();
        ASSERT_TRUE(next.has_value());
        ASSERT_EQ(next->item, got.size());
        got.push_back({next->kind, next->item, {next->payload.inline_bytes.begin(), next->payload.inline_bytes.end()}});
        seen_time += next->run_time;
        parent().pop_result();
      }
    }
    ASSERT_EQ(got, sent);
    ASSERT_EQ(seen_time, run_time);
    ASSERT_EQ(parent().take_done_run(10, room).count, 0u);  // nothing is left
    parent().release_results();
  }
  EXPECT_GT(in_runs, 500u);
}

TEST_F(RingPackFrame, ANoteBetweenResultsDoesNotMoveTheRun) {
  const auto send = [this](ResultKind kind, std::uint32_t item) {
    ResultFrame result;
    result.kind = kind;
    result.chunk = kind == ResultKind::note ? 0 : 4;
    result.item = kind == ResultKind::note ? 0 : item;
    ASSERT_TRUE(worker().push_result(result));
    worker().commit_result();
  };
  send(ResultKind::done, 0);
  send(ResultKind::done, 1);
  send(ResultKind::note, 0);
  send(ResultKind::done, 2);
  std::vector<std::byte> room(100);
  EXPECT_EQ(parent().take_done_run(10, room).count, 0u);  // nothing popped yet that it could follow
  ASSERT_TRUE(parent().next_result().value().has_value());
  parent().pop_result();
  EXPECT_EQ(parent().take_done_run(10, room).count, 1u);
  EXPECT_EQ(parent().next_result().value()->kind, ResultKind::note);
  parent().pop_result();
  EXPECT_EQ(parent().take_done_run(10, room).count, 1u);
}

}  // namespace
}  // namespace holdfast::ring::test
