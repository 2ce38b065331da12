// What: large buffers: seals, filling, private mappings, sizes beyond 4 GiB; and the pool that keeps them for reuse.
#include "ring/buffer.hpp"

#include <fcntl.h>
#include <sys/mman.h>

#include "ring/frame.hpp"
#include "ring/pair.hpp"
#include "sys/memory.hpp"

namespace holdfast::ring::test {
namespace {

constexpr std::size_t kMiB = std::size_t{1} << 20;

TEST(RingBuffer, CannotBeResizedByAnybody) {
  auto buffer = SharedBuffer::create(1, kMiB).value();
  EXPECT_EQ(::ftruncate(buffer->fd(), 0), -1);
  EXPECT_EQ(::ftruncate(buffer->fd(), 2 * kMiB), -1);
  EXPECT_TRUE(sys::sealed_against_resize(buffer->fd()));
}

TEST(RingBuffer, AfterSealingNoNewWriterCanMapItAndTheParentStillWrites) {
  auto buffer = SharedBuffer::create(1, kMiB).value();
  const auto first = pattern(1, kMiB);
  ASSERT_TRUE(buffer->fill(0, first).ok());
  ASSERT_TRUE(buffer->seal_future_write().ok());
  ASSERT_TRUE(buffer->seal_future_write().ok());  // again: nothing to do
  EXPECT_FALSE(SharedBuffer::map_shared(buffer->fd(), 1, kMiB).ok());
  auto reader = SharedBuffer::map_private(buffer->fd(), 1, kMiB).value();
  EXPECT_TRUE(same({reader->data(), kMiB}, first));
  const auto second = pattern(2, kMiB);
  ASSERT_TRUE(buffer->fill(0, second).ok());
  EXPECT_TRUE(same({buffer->data(), kMiB}, second));
}

TEST(RingBuffer, PrivateMappingKeepsItsChangesToItselfUntilItDropsThem) {
  auto buffer = SharedBuffer::create(1, 64 * 1024).value();
  const auto bytes = pattern(1, 64 * 1024);
  ASSERT_TRUE(buffer->fill(0, bytes).ok());
  auto reader = SharedBuffer::map_private(buffer->fd(), 1, 64 * 1024).value();
  reader->data()[10'000] ^= std::byte{0xff};
  EXPECT_TRUE(same({buffer->data(), bytes.size()}, bytes));  // a retry elsewhere sees the bytes as they were
  EXPECT_FALSE(same({reader->data(), bytes.size()}, bytes));
  ASSERT_TRUE(reader->show_parents_bytes().ok());
  EXPECT_TRUE(same({reader->data(), bytes.size()}, bytes));
  const auto reused = pattern(2, 64 * 1024);
  ASSERT_TRUE(buffer->fill(0, reused).ok());
  EXPECT_TRUE(same({reader->data(), bytes.size()}, reused));
}

TEST(RingBuffer, OwnPagesOutliveTheReuseOfTheBuffer) {
  auto buffer = SharedBuffer::create(1, 64 * 1024).value();
  const auto bytes = pattern(1, 64 * 1024);
  ASSERT_TRUE(buffer->fill(0, bytes).ok());
  auto reader = SharedBuffer::map_private(buffer->fd(), 1, 64 * 1024).value();
  reader->make_own(reader->capacity());
  ASSERT_TRUE(buffer->fill(0, pattern(2, 64 * 1024)).ok());
  EXPECT_TRUE(same({reader->data(), bytes.size()}, bytes));
}

TEST(RingBuffer, MakingPagesOwnKeepsWhatWasWrittenThere) {
  constexpr std::size_t kSize = 64 * 1024;
  auto buffer = SharedBuffer::create(1, kSize).value();
  auto bytes = pattern(1, kSize);
  ASSERT_TRUE(buffer->fill(0, bytes).ok());
  auto reader = SharedBuffer::map_private(buffer->fd(), 1, kSize).value();
  bytes[0] = reader->data()[0] ^= std::byte{0xff};
  reader->make_own(reader->capacity());
  bytes[9000] = reader->data()[9000] ^= std::byte{0xff};
  reader->make_own(reader->capacity());
  ASSERT_TRUE(buffer->fill(0, pattern(2, kSize)).ok());
  EXPECT_TRUE(same({reader->data(), kSize}, bytes));
  // The next use of the mapping starts anew, and can be made own again.
  ASSERT_TRUE(reader->show_parents_bytes().ok());
  EXPECT_TRUE(same({reader->data(), kSize}, pattern(2, kSize)));
  reader->make_own(reader->capacity());
  ASSERT_TRUE(buffer->fill(0, pattern(3, kSize)).ok());
  EXPECT_TRUE(same({reader->data(), kSize}, pattern(2, kSize)));
}

TEST(RingBuffer, FillsPiecewiseFreshAndReused) {
  auto buffer = SharedBuffer::create(1, 300'000).value();
  for (std::uint64_t round = 0; round < 3; ++round) {
    const auto bytes = pattern(round, 300'000);
    const ByteSpan all(bytes);
    ASSERT_TRUE(buffer->fill(0, all.first(5)).ok());
    ASSERT_TRUE(buffer->fill(5, all.subspan(5, 100'000)).ok());
    ASSERT_TRUE(buffer->fill(50'000, all.subspan(50'000, 200'000)).ok());  // half known, half fresh
    ASSERT_TRUE(buffer->fill(250'000, all.subspan(250'000)).ok());
    ASSERT_TRUE(buffer->fill(300'000, {}).ok());
    EXPECT_TRUE(same({buffer->data(), 300'000}, bytes));
  }
}

TEST(RingBuffer, WorkersResultIsSeenByTheParent) {
  auto buffer = SharedBuffer::create(1, kMiB).value();
  auto worker = SharedBuffer::map_shared(buffer->fd(), 1, kMiB).value();
  const auto bytes = pattern(3, kMiB);
  ASSERT_TRUE(worker->fill(0, bytes).ok());
  EXPECT_TRUE(same({buffer->data(), kMiB}, bytes));
}

TEST(RingBuffer, UnsealedOrTooSmallMemoryIsRefused) {
  const UniqueFd loose(::memfd_create("holdfast-test", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  ASSERT_EQ(::ftruncate(loose.get(), kMiB), 0);
  EXPECT_EQ(SharedBuffer::map_private(loose.get(), 1, kMiB).error().code, ErrorCode::protocol_error);
  auto buffer = SharedBuffer::create(1, kMiB).value();
  EXPECT_FALSE(SharedBuffer::map_private(buffer->fd(), 1, 2 * kMiB).ok());
}

TEST(RingBuffer, SizesThatCannotBeAreRefusedWithWords) {
  EXPECT_EQ(SharedBuffer::create(1, 0).error().code, ErrorCode::invalid_argument);
  EXPECT_EQ(SharedBuffer::create(1, SIZE_MAX).error().code, ErrorCode::exhausted);
  const auto huge = SharedBuffer::create(1, std::size_t{1} << 45);
  ASSERT_FALSE(huge.ok());
  EXPECT_EQ(huge.error().code, ErrorCode::exhausted);
  EXPECT_NE(huge.error().message().find("MiB"), std::string::npos) << huge.error().message();
}

TEST(RingBuffer, FiveGiBAreAddressedToTheirLastByte) {
  constexpr std::size_t kSize = std::size_t{5} << 30;
  const auto available = sys::available_memory();
  if (!available.ok() || *available < kSize) GTEST_SKIP() << "less than 5 GiB of memory available";
  auto buffer = SharedBuffer::create(1, kSize).value();
  auto reader = SharedBuffer::map_private(buffer->fd(), 1, kSize).value();
  const auto bytes = pattern(9, 100);
  for (const std::size_t offset : {std::size_t{0}, (std::size_t{4} << 30) - 50, kSize - 100}) {  // sparse: three pages are touched
    ASSERT_TRUE(buffer->fill(offset, bytes).ok());
    EXPECT_TRUE(same({reader->data() + offset, 100}, bytes)) << offset;
  }
  Link link = Link::make();
  auto worker = WorkerChannel::attach_in_process(*link.parent).value();
  ResultFrame frame;
  frame.payload = {.inline_bytes = {}, .buffer = 1, .size = kSize};
  ASSERT_TRUE(worker->push_result(frame));
  worker->commit_result();
  EXPECT_EQ(link.parent->next_result().value()->payload.size, kSize);
}

TEST(RingBufferPool, ReusesABufferOnceItsLastUserIsGone) {
  auto pool = BufferPool::create(64 * kMiB);
  auto first = pool->get(100'000).value();
  const BufferId id = first->id();
  EXPECT_EQ(first->capacity(), 128u * 1024);
  auto other = first;
  first.reset();
  EXPECT_NE(pool->get(100'000).value()->id(), id);  // still in use
  other.reset();
  EXPECT_EQ(pool->kept_bytes(), 2 * 128u * 1024);
  EXPECT_EQ(pool->get(70'000).value()->id(), id);  // the most recently used, still warm
  EXPECT_TRUE(pool->take_dropped().empty());
}

TEST(RingBufferPool, ASealedCopyIsReadyToBeSentAlsoInAUsedBuffer) {
  auto pool = BufferPool::create(64 * kMiB);
  BufferId id = 0;
  for (const std::size_t size : {300'000U, 280'000U}) {
    const auto bytes = pattern(size, size);
    auto copy = pool->sealed_copy(bytes).value();
    if (id != 0) { EXPECT_EQ(copy->id(), id); }
    id = copy->id();
    EXPECT_FALSE(SharedBuffer::map_shared(copy->fd(), id, copy->capacity()).ok());  // nobody may write into it any more
    auto seen = SharedBuffer::map_private(copy->fd(), id, copy->capacity()).value();
    EXPECT_TRUE(same({seen->data(), size}, bytes));
  }
  EXPECT_EQ(pool->sealed_copy({static_cast<const std::byte*>(nullptr), SIZE_MAX}).error().code, ErrorCode::exhausted);
}

TEST(RingBufferPool, RoundsSizesSoThatBuffersFitAgain) {
  auto pool = BufferPool::create(0);
  EXPECT_EQ(pool->get(1).value()->capacity(), 64u * 1024);
  EXPECT_EQ(pool->get(64 * 1024 + 1).value()->capacity(), 128u * 1024);
  EXPECT_EQ(pool->get(3 * kMiB).value()->capacity(), 4 * kMiB);
  const auto available = sys::available_memory();
  if (available.ok() && *available > 1200 * kMiB) {
    EXPECT_EQ(pool->get(1024 * kMiB + 1).value()->capacity(), 1026 * kMiB);  // not doubled
  }
}

TEST(RingBufferPool, DoesNotHandOutAMuchLargerBuffer) {
  auto pool = BufferPool::create(64 * kMiB);
  pool->get(32 * kMiB).value().reset();
  EXPECT_EQ(pool->get(kMiB).value()->capacity(), kMiB);
}

TEST(RingBufferPool, DropsTheLeastRecentlyUsedBeyondItsLimitAndNamesThem) {
  auto pool = BufferPool::create(3 * kMiB);
  std::vector<std::shared_ptr<SharedBuffer>> buffers;
  std::vector<BufferId> ids;
  for (int i = 0; i < 5; ++i) {
    buffers.push_back(pool->get(kMiB).value());
    ids.push_back(buffers.back()->id());
  }
  for (auto& buffer : buffers) buffer.reset();  // in order: the first two must go
  EXPECT_EQ(pool->kept_bytes(), 3 * kMiB);
  EXPECT_EQ(pool->take_dropped(), (std::vector<BufferId>{ids[0], ids[1]}));
  EXPECT_TRUE(pool->take_dropped().empty());
}

TEST(RingBufferPool, BufferMayOutliveItsPool) {
  auto pool = BufferPool::create(64 * kMiB);
  auto buffer = pool->get(kMiB).value();
  pool.reset();
  buffer->data()[0] = std::byte{1};
  buffer.reset();
}

TEST(RingBufferPool, ServesManyThreads) {
  auto pool = BufferPool::create(4 * kMiB);
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < 4; ++t) {
    threads.emplace_back([&pool, t] {
      for (unsigned i = 0; i < 300; ++i) {
        auto buffer = pool->get((1 + (i + t) % 5) * 100'000).value();
        const auto mark = static_cast<std::byte>(t * 64 + i % 64);
        buffer->data()[0] = mark;
        std::this_thread::yield();
        ASSERT_EQ(buffer->data()[0], mark);  // nobody else has it
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_LE(pool->kept_bytes(), 4 * kMiB);
}

}  // namespace
}  // namespace holdfast::ring::test
