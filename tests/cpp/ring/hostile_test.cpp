// What: P8 at the channel: a worker that writes anything anywhere into the shared memory, at rest or while the parent works. The parent gets
// valid data or a protocol_error; it never crashes, hangs or reads outside (run under ASan too).
#include <atomic>
#include <utility>

#include "ring/layout.hpp"
#include "ring/pair.hpp"
#include "sys/memfd.hpp"

namespace holdfast::ring::test {
namespace {

/// The worker's view of all shared bytes, mapped a second time as a hostile worker would.
class Attacker {
 public:
  explicit Attacker(const Link& link)
      : mapping_(sys::Mapping::map(link.parent->fd(), sys::file_size(link.parent->fd()).value(), sys::Mapping::Mode::shared).value()),
        bell_(sys::Mapping::map(link.bell.fd(), sizeof(BellWords), sys::Mapping::Mode::shared).value()) {}
  ChannelPage& page() { return *reinterpret_cast<ChannelPage*>(mapping_.data()); }
  std::span<Word64> words() { return {reinterpret_cast<Word64*>(mapping_.data()), mapping_.size() / 8}; }
  std::span<Word64> bell_words() { return {reinterpret_cast<Word64*>(bell_.data()), bell_.size() / 8}; }
  /// A value that is likely to hurt: small, huge, near powers of two, or any.
  static std::uint64_t nasty(std::mt19937_64& random) {
    switch (random() % 6) {
      case 0: return random() % 64;
      case 1: return random() % 300'000 & ~std::uint64_t{7};
      case 2: return ~(random() % 64);
      case 3: return std::uint64_t{1} << (random() % 64);
      case 4: return 0;
      default: return random();
    }
  }

 private:
  sys::Mapping mapping_;
  sys::Mapping bell_;
};

/// Does everything that a parent does with a worker's words. Returns false after a protocol_error.
bool use_everything(Link& link, std::uint32_t slot, std::uint64_t& touched) {
  ParentChannel& parent = *link.parent;
  (void)parent.progress();
  (void)parent.task_room();
  (void)link.bell.take_ready(0);
  (void)parent.push_item(1, 0, inline_payload(bytes_of("some bytes")));
  parent.commit_tasks();
  const auto word = parent.load_chunk(slot);
  const auto end = parent.take_back(slot, 90);
  for (int i = 0; i < 10'000; ++i) {
    auto result = parent.next_result();
    if (!result.ok()) {
      EXPECT_EQ(result.error().code, ErrorCode::protocol_error);
      EXPECT_FALSE(parent.next_result().ok());  // and it stays so
      return false;
    }
    if (!result->has_value()) break;
    for (const std::byte each : (*result)->payload.inline_bytes) touched += static_cast<std::uint64_t>(each);
    parent.pop_result();
  }
  parent.release_results();
  EXPECT_TRUE(word.ok() || word.error().code == ErrorCode::protocol_error);
  EXPECT_TRUE(end.ok() || end.error().code == ErrorCode::protocol_error);
  return word.ok() && end.ok();
}

TEST(RingHostile, GarbageInAnyWordIsAnErrorOrValidData) {
  std::mt19937_64 random(31);
  std::uint64_t touched = 0;
  int refused = 0;
  for (int round = 0; round < 3000; ++round) {
    Link link = Link::make();
    ASSERT_TRUE(link.parent->push_chunk(1, 1, 1, 5, 100, 0, 0));
    link.parent->commit_tasks();
    auto worker = WorkerChannel::attach_in_process(*link.parent).value();
    ResultFrame frame;
    for (std::uint32_t i = 0; i < 20; ++i) {
      const auto payload = pattern(i, i * 10);
      frame.payload = inline_payload(payload);
      ASSERT_TRUE(worker->push_result(frame));
    }
    worker->commit_result();
    Attacker attacker(link);
    // The page's words, and the frames that the tail speaks of.
    const auto words = attacker.words();
    const std::size_t result_ring = (kRingOffset + Geometry{}.task_ring_bytes) / 8;
    const auto hits = 1 + random() % 20;
    for (std::uint64_t i = 0; i < hits; ++i) {
      const std::size_t where = random() % 2 == 0 ? random() % 128 : result_ring + random() % 400;
      words[where].store(Attacker::nasty(random), std::memory_order_relaxed);
      auto& bell_word = attacker.bell_words()[random() % attacker.bell_words().size()];
      bell_word.store(Attacker::nasty(random), std::memory_order_relaxed);
    }
    bool alive = true;
    for (int i = 0; i < 3 && alive; ++i) alive = use_everything(link, 5, touched);
    refused += alive ? 0 : 1;
    (void)link.parent->results_waiting();
    link.parent->set_cancelled();
  }
  EXPECT_GT(refused, 100);
  EXPECT_LT(refused, 3000);
}

TEST(RingHostile, TailsThatRunAheadGoBackOrAreCrookedAreRefused) {
  for (const std::uint64_t tail : {std::uint64_t{256 * 1024 + 8}, ~std::uint64_t{0}, std::uint64_t{4}, std::uint64_t{1} << 63}) {
    Link link = Link::make();
    Attacker attacker(link);
    attacker.page().result_tail.store(tail);
    EXPECT_TRUE(link.parent->results_waiting());
    EXPECT_EQ(link.parent->next_result().error().code, ErrorCode::protocol_error) << tail;
    EXPECT_FALSE(link.parent->results_waiting());  // nothing more is looked at
  }
  Link link = Link::make();
  auto worker = WorkerChannel::attach_in_process(*link.parent).value();
  ASSERT_TRUE(worker->push_result({}));
  worker->commit_result();
  ASSERT_TRUE(link.parent->next_result().value().has_value());
  link.parent->pop_result();
  Attacker(link).page().result_tail.store(0);
  EXPECT_EQ(link.parent->next_result().error().code, ErrorCode::protocol_error);
}

TEST(RingHostile, TailBeyondOneRingIsRefusedThoughEveryFrameIsValid) {
  Link link = Link::make();
  Attacker attacker(link);
  const std::size_t first = (kRingOffset + Geometry{}.task_ring_bytes) / 8;
  const std::size_t size = Geometry{}.result_ring_bytes;
  for (std::size_t at = 0; at < size / 8; at += 4) attacker.words()[first + at].store(32 | (std::uint64_t{3} << 32));  // empty notes
  attacker.page().result_tail.store(size);
  for (std::size_t i = 0; i < size / 32; ++i) {
    ASSERT_TRUE(link.parent->next_result().value().has_value());
    link.parent->pop_result();
  }
  EXPECT_FALSE(link.parent->next_result().value().has_value());
  attacker.page().result_tail.store(2 * size + 32);
  EXPECT_EQ(link.parent->next_result().error().code, ErrorCode::protocol_error);
}

TEST(RingHostile, HeadsThatRunAheadOrGoBackGiveNoRoomAndAreTold) {
  Link link = Link::make();
  ASSERT_TRUE(link.parent->push_function(1, inline_payload(pattern(1, 1000))));
  const std::size_t room = link.parent->task_room();
  Attacker attacker(link);
  attacker.page().task_head.store(4096);  // more than was committed
  EXPECT_EQ(link.parent->task_room(), room);
  EXPECT_EQ(link.parent->next_result().error().code, ErrorCode::protocol_error);
}

TEST(RingHostile, PadsThatDoNotEndAtTheRingsEndAreRefused) {
  Link link = Link::make();
  Attacker attacker(link);
  const std::size_t first = (kRingOffset + Geometry{}.task_ring_bytes) / 8;
  attacker.words()[first].store(64 | (std::uint64_t{0xff} << 32));  // length 64, type pad
  attacker.page().result_tail.store(64);
  EXPECT_EQ(link.parent->next_result().error().code, ErrorCode::protocol_error);
}

TEST(RingHostile, ChunkWordsThatNoClaimCanMakeAreRefused) {
  const PackedChunk good{.next = 3, .end = 10, .tag = 1};
  const PackedChunk bad[] = {
      {.next = 11, .end = 10, .tag = 1},                                    // beyond the end
      {.next = 3, .end = 11, .tag = 1},                                     // the end is the parent's
      {.next = 3, .end = 9, .tag = 1},   {.next = 3, .end = 10, .tag = 2},  // so is the tag
      {.next = 1, .end = 10, .tag = 1},                                     // back
  };
  for (const PackedChunk& word : bad) {
    Link link = Link::make();
    Attacker attacker(link);
    ASSERT_TRUE(link.parent->push_chunk(1, 1, 1, 0, 10, 0, 0));
    attacker.page().chunks[0].store(good.pack());
    ASSERT_EQ(link.parent->load_chunk(0).value().next, 3u);
    attacker.page().chunks[0].store(word.pack());
    EXPECT_EQ(link.parent->load_chunk(0).error().code, ErrorCode::protocol_error);
    EXPECT_EQ(link.parent->take_back(0, 0).error().code, ErrorCode::protocol_error);
  }
}

TEST(RingHostile, PunchedHoleIsAnErrorNotAResult) {
  Link link = Link::make();
  Attacker attacker(link);
  attacker.page().result_tail.store(4096);  // zeros are there
  EXPECT_EQ(link.parent->next_result().error().code, ErrorCode::protocol_error);
}

TEST(RingHostile, ProgressThatIsNeverQuietReadsAsIdle) {
  Link link = Link::make();
  Attacker attacker(link);
  attacker.page().progress.version.store(1);
  attacker.page().progress.chunk.store(77);
  EXPECT_EQ(link.parent->progress().chunk, 0u);
}

/// Writes for ever: frames that are right but change under the reader, a tail that runs on, now and then nonsense.
int vandalise(const Link& link, std::uint64_t seed) {
  Attacker attacker(link);
  std::mt19937_64 random(seed);
  const auto words = attacker.words();
  const std::size_t ring = (kRingOffset + Geometry{}.task_ring_bytes) / 8;
  const std::uint64_t size = Geometry{}.result_ring_bytes;
  for (std::uint64_t at = 0; at < size / 8; at += 8) words[ring + at].store(64 | (std::uint64_t{1} << 32), std::memory_order_relaxed);
  std::uint64_t head = 0;
  for (std::uint64_t tail = 0;;) {
    // Nonsense only while the parent gets on, or it would find nothing else whenever this process has the CPU for long.
    const bool parent_reads = std::exchange(head, attacker.page().result_head.load()) != attacker.page().result_head.load();
    const std::size_t at = ring + 8 * (random() % (size / 64));
    // 57 to 64 and back between the reader's looks: a second look would take another length than the one that was checked.
    const std::uint64_t length = parent_reads && random() % 50 == 0 ? Attacker::nasty(random) & 0xffffffff : 57 + random() % 8;
    words[at].store(length | (std::uint64_t{1 + random() % 3} << 32), std::memory_order_relaxed);
    words[at + 1].store(random() % 100, std::memory_order_relaxed);
    words[at + 2].store(1, std::memory_order_relaxed);
    words[at + 3].store(5, std::memory_order_relaxed);
    if (tail + 64 <= head + size) attacker.page().result_tail.store(tail += 64, std::memory_order_release);
    if (parent_reads && random() % 100 == 0) attacker.page().result_tail.store(Attacker::nasty(random));
    if (random() % 50 == 0) attacker.page().sleeping.store(static_cast<std::uint32_t>(random() % 4));
    if (parent_reads && random() % 100 == 0)
      attacker.page().chunks[5].store(PackedChunk{static_cast<std::uint32_t>(random() % 101), 100, 1}.pack());
  }
}

// The words change all the time while the parent works: checks and uses must not read twice. Two processes, since these are races.
TEST(RingHostileProcesses, GarbageWrittenWhileTheParentWorks) {
  std::uint64_t touched = 0;
  std::uint64_t uses = 0;
  for (std::uint64_t round = 0; round < 40; ++round) {
    Link link = Link::make();
    ASSERT_TRUE(link.parent->push_chunk(1, 1, 1, 5, 100, 0, 0));
    link.parent->commit_tasks();
    holdfast::test::Child vandal([&link, round] { return vandalise(link, round); });
    while (!link.parent->results_waiting()) std::this_thread::yield();
    for (int i = 0; i < 300 && use_everything(link, 5, touched); ++i) ++uses;
    vandal.kill(SIGKILL);
    ASSERT_TRUE(vandal.wait_exited());
  }
  EXPECT_GT(uses, 40u);  // most rounds got some way
}

}  // namespace
}  // namespace holdfast::ring::test
