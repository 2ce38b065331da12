// What: the checked decode: every field that a hostile writer can set is refused by name, and random bytes are refused or valid.
#include "ring/frame.hpp"

#include "ring/pair.hpp"

namespace holdfast::ring::test {
namespace {

using frame::Fault;

/// A frame in 8-aligned memory of exactly `available` bytes, so that ASan sees a read beyond.
class Bytes {
 public:
  explicit Bytes(std::size_t available) : words_(std::make_unique<std::uint64_t[]>(available / 8)), size_(available) {}
  std::byte* at() { return reinterpret_cast<std::byte*>(words_.get()); }
  std::size_t size() const { return size_; }
  template <class Header>
  Bytes& put(const Header& header) {
    frame::put_header(at(), header);
    return *this;
  }
  Bytes& put(const frame::Head& head) {
    frame::put_word(at(), head.pack());
    return *this;
  }
  Bytes& reference(std::size_t offset, const frame::Reference& value) {
    frame::put_header(at() + offset, value);
    return *this;
  }
  Fault result(const frame::ResultContext& context = {}) {
    ResultFrame frame;
    std::size_t bytes = 0;
    return frame::decode_result(at(), size_, context, frame, bytes);
  }
  Fault task(const frame::TaskContext& context = {}) {
    TaskFrame frame;
    frame::TaskExtra extra;
    return frame::decode_task(at(), size_, context, frame, extra);
  }

 private:
  std::unique_ptr<std::uint64_t[]> words_;
  std::size_t size_;
};

frame::ResultHeader good_result(std::uint32_t payload = 0) {
  return {.head = {.length = static_cast<std::uint32_t>(frame::kSizeOf<frame::ResultHeader>) + payload, .type = 1},
          .item = 3,
          .flags = 0,
          .chunk = 9,
          .run_time_ns = 5};
}

TEST(RingResultFrame, GoodOnesPass) {
  EXPECT_EQ(Bytes(32).put(good_result()).result(), Fault::none);
  EXPECT_EQ(Bytes(40).put(good_result(8)).result(), Fault::none);
  EXPECT_EQ(Bytes(40).put(good_result(1)).result(), Fault::none);
  auto large = good_result(16);
  large.head.form = frame::Form::buffer;
  EXPECT_EQ(Bytes(48).put(large).reference(32, {.buffer = 1, .size = 1}).result(), Fault::none);
}

TEST(RingResultFrame, EachNonsenseIsNamed) {
  EXPECT_EQ(Bytes(24).put(good_result().head).result(), Fault::cut_short);
  EXPECT_EQ(Bytes(32).result(), Fault::type);  // zeros: a hole punched into the memfd
  auto header = good_result();
  header.head.type = 5;
  EXPECT_EQ(Bytes(32).put(header).result(), Fault::type);
  header = good_result();
  header.head.length = 31;
  EXPECT_EQ(Bytes(32).put(header).result(), Fault::length);
  header.head.length = 0xffffffff;
  EXPECT_EQ(Bytes(32).put(header).result(), Fault::length);
  header.head.length = static_cast<std::uint32_t>(frame::kSizeOf<frame::ResultHeader> + kInlineLimit + 1);
  EXPECT_EQ(Bytes(64 * 1024).put(header).result(), Fault::length);
  EXPECT_EQ(Bytes(32).put(good_result(1)).result(), Fault::cut_short);  // its padded end lies beyond what is committed
  header = good_result();
  header.head.slot = 1;
  EXPECT_EQ(Bytes(32).put(header).result(), Fault::reserved);
  header = good_result();
  header.flags = frame::ResultHeader::kArgumentKept << 1;
  EXPECT_EQ(Bytes(32).put(header).result(), Fault::reserved);
  header = good_result();
  header.run_time_ns = std::uint64_t{1} << 63;
  EXPECT_EQ(Bytes(32).put(header).result(), Fault::run_time);
  header = good_result();
  header.head.form = static_cast<frame::Form>(2);
  EXPECT_EQ(Bytes(32).put(header).result(), Fault::form);
  header = good_result(8);
  header.head.form = frame::Form::buffer;
  EXPECT_EQ(Bytes(40).put(header).result(), Fault::length);
  header = good_result(16);
  header.head.form = frame::Form::buffer;
  EXPECT_EQ(Bytes(48).put(header).reference(32, {.buffer = 0, .size = 1}).result(), Fault::reference);
  EXPECT_EQ(Bytes(48).put(header).reference(32, {.buffer = 1, .size = ~std::uint64_t{0}}).result(), Fault::reference);
}

TEST(RingTaskFrame, EachNonsenseIsNamed) {
  EXPECT_EQ(Bytes(8).task(), Fault::cut_short);
  EXPECT_EQ(Bytes(16).task(), Fault::type);
  frame::ChunkHeader chunk{.head = {.length = frame::kSizeOf<frame::ChunkHeader>, .type = 3}, .count = 1};
  chunk.chunk = 1;
  EXPECT_EQ(Bytes(48).put(chunk).task(), Fault::none);
  EXPECT_EQ(Bytes(40).put(frame::Head{.length = 48, .type = 3}).task(), Fault::cut_short);
  auto bad = chunk;
  bad.head.slot = kChunkSlots;
  EXPECT_EQ(Bytes(48).put(bad).task(), Fault::slot);
  bad = chunk;
  bad.count = 0;
  EXPECT_EQ(Bytes(48).put(bad).task(), Fault::count);
  bad = chunk;
  bad.tag = kTagMask + 1;
  EXPECT_EQ(Bytes(48).put(bad).task(), Fault::reserved);
  bad = chunk;
  bad.chunk = 0;
  EXPECT_EQ(Bytes(48).put(bad).task(), Fault::chunk);
  bad = chunk;
  bad.head.length = 56;
  EXPECT_EQ(Bytes(56).put(bad).task(), Fault::length);
  bad = chunk;
  bad.head.form = frame::Form::buffer;
  EXPECT_EQ(Bytes(48).put(bad).task(), Fault::form);
  EXPECT_EQ(Bytes(16).put(frame::ItemHeader{.head = {.length = 16, .type = 4, .slot = 64}}).task(), Fault::slot);
  EXPECT_EQ(Bytes(16).put(frame::ItemHeader{.head = {.length = 24, .type = 4}}).task(), Fault::cut_short);
  EXPECT_EQ(Bytes(16).put(frame::IdHeader{.head = {.length = 16, .type = 5}, .id = 1}).task(), Fault::none);
  EXPECT_EQ(Bytes(24).put(frame::IdHeader{.head = {.length = 24, .type = 5}, .id = 1}).task(), Fault::length);
  EXPECT_EQ(Bytes(16).put(frame::IdHeader{.head = {.length = 16, .type = 8}, .id = 1}).task(), Fault::type);
}

TEST(RingResultFrame, SaysThatTheArgumentIsKept) {
  auto header = good_result();
  header.flags = frame::ResultHeader::kArgumentKept;
  Bytes kept(32);
  kept.put(header);
  ResultFrame result;
  std::size_t bytes = 0;
  ASSERT_EQ(frame::decode_result(kept.at(), 32, {}, result, bytes), Fault::none);
  EXPECT_TRUE(result.argument_kept);
  // A short frame has no room for it.
  const ResultFrame plain{.kind = ResultKind::done, .chunk = 8, .item = 5, .payload = {}};
  ResultFrame keeping = plain;
  keeping.argument_kept = true;
  EXPECT_TRUE(frame::is_next_done(plain, {.chunk = 8, .next_item = 5}));
  EXPECT_FALSE(frame::is_next_done(keeping, {.chunk = 8, .next_item = 5}));
}

TEST(RingShortFrame, MeansWhatTheFrameBeforeItSays) {
  Bytes done(16);
  frame::put_word(done.at(), frame::next_done_head(11, Nanos{1239}));
  ResultFrame result;
  std::size_t bytes = 0;
  ASSERT_EQ(frame::decode_result(done.at(), 16, {.chunk = 8, .next_item = 5}, result, bytes), Fault::none);
  EXPECT_EQ(result.kind, ResultKind::done);
  EXPECT_EQ(result.chunk, 8u);
  EXPECT_EQ(result.item, 5u);
  EXPECT_EQ(result.run_time, Nanos{1230});
  EXPECT_EQ(result.payload.size, 3u);
  EXPECT_EQ(bytes, 16u);
  EXPECT_EQ(done.result(), Fault::context);  // nothing before it
  EXPECT_EQ(done.result({.chunk = 8, .next_item = kMaxChunkItems}), Fault::context);

  const frame::Head next{.length = 8, .type = frame::kNextItem, .slot = 3};
  EXPECT_EQ(Bytes(8).put(next).task({.slot = 3, .next_item = 0}), Fault::none);
  EXPECT_EQ(Bytes(8).put(next).task({.slot = 4, .next_item = 0}), Fault::context);
  EXPECT_EQ(Bytes(8).put(next).task(), Fault::context);
  EXPECT_EQ(Bytes(8).put(frame::Head{.length = 7, .type = frame::kNextItem, .slot = 3}).task({.slot = 3}), Fault::length);
  EXPECT_EQ(Bytes(8).put(frame::Head{.length = 9, .type = frame::kNextItem, .slot = 3}).task({.slot = 3}), Fault::cut_short);
}

TEST(RingShortFrame, IsUsedOnlyWhereItSaysTheSame) {
  const frame::ResultContext context{.chunk = 8, .next_item = 5};
  ResultFrame frame;
  frame.chunk = 8;
  frame.item = 5;
  EXPECT_TRUE(frame::is_next_done(frame, context));
  const auto with = [&frame](auto change) {
    ResultFrame other = frame;
    change(other);
    return other;
  };
  EXPECT_FALSE(frame::is_next_done(with([](ResultFrame& f) { f.item = 6; }), context));
  EXPECT_FALSE(frame::is_next_done(with([](ResultFrame& f) { f.chunk = 9; }), context));
  EXPECT_FALSE(frame::is_next_done(with([](ResultFrame& f) { f.kind = ResultKind::raised; }), context));
  EXPECT_FALSE(frame::is_next_done(with([](ResultFrame& f) { f.run_time = Nanos{200'000'000}; }), context));
  EXPECT_FALSE(frame::is_next_done(with([](ResultFrame& f) { f.run_time = Nanos{-1}; }), context));
  EXPECT_FALSE(frame::is_next_done({}, {}));
}

TEST(RingFrame, EveryFaultHasWordsOfItsOwn) {
  std::vector<std::string> seen;
  for (auto fault = static_cast<unsigned>(Fault::none); fault <= static_cast<unsigned>(Fault::context); ++fault) {
    const std::string words = frame::describe(static_cast<Fault>(fault));
    EXPECT_EQ(std::count(seen.begin(), seen.end(), words), 0) << words;
    seen.push_back(words);
  }
}

TEST(RingFrame, RandomBytesAreRefusedOrLieWithinWhatIsThere) {
  std::mt19937_64 random(4);
  int accepted = 0;
  for (int round = 0; round < 300'000; ++round) {
    Bytes bytes(8 * (1 + random() % 12));
    for (std::size_t i = 0; i < bytes.size(); i += 8) {
      const std::uint64_t word = random() & random() & random();  // few bits: closer to something valid
      std::memcpy(bytes.at() + i, &word, sizeof word);
    }
    // A plausible head, so that the checks behind it are reached.
    bytes.put(frame::Head{.length = static_cast<std::uint32_t>(random() % 100),
                          .type = static_cast<std::uint8_t>(random() % 8),
                          .form = static_cast<frame::Form>(random() % 3),
                          .slot = static_cast<std::uint16_t>(random() % 4 == 0 ? random() : 0)});
    ResultFrame result;
    std::size_t result_bytes = 0;
    TaskFrame task;
    frame::TaskExtra extra;
    const auto inside = [&bytes](const PayloadRef& payload) {
      const std::byte* end = bytes.at() + bytes.size();
      return payload.inline_bytes.empty() ||
             (payload.inline_bytes.data() >= bytes.at() && payload.inline_bytes.data() + payload.inline_bytes.size() <= end);
    };
    if (frame::decode_result(bytes.at(), bytes.size(), {.chunk = 1, .next_item = 1}, result, result_bytes) == Fault::none) {
      ++accepted;
      ASSERT_LE(result_bytes, bytes.size());
      ASSERT_TRUE(inside(result.payload));
    }
    if (frame::decode_task(bytes.at(), bytes.size(), {.slot = 0, .next_item = 1}, task, extra) == Fault::none) {
      ++accepted;
      ASSERT_LE(extra.bytes, bytes.size());
      ASSERT_TRUE(inside(task.payload));
    }
  }
  EXPECT_GT(accepted, 1000);
}

TEST(RingChunkWord, PacksAndUnpacksItsExtremes) {
  for (const auto& word : {PackedChunk{0, 0, 0}, PackedChunk{kMaxChunkItems, kMaxChunkItems, kTagMask}, PackedChunk{1, 2, 3}}) {
    const auto back = PackedChunk::unpack(word.pack());
    EXPECT_EQ(back.next, word.next);
    EXPECT_EQ(back.end, word.end);
    EXPECT_EQ(back.tag, word.tag);
  }
}

}  // namespace
}  // namespace holdfast::ring::test
