// What: a lazy job with long chunks gives its reader what was settled, once and in order, whether results come one by one or in runs, and are
// read one by one or in runs; and its window counts what is held.
#include "pool/lazy_runs.hpp"

#include <map>
#include <random>

#include <gtest/gtest.h>

#include "pool/job.hpp"
#include "ring/pack.hpp"

namespace holdfast::pool::test {
namespace {

constexpr std::uint64_t kChunk = 100;

std::vector<std::byte> value_of(ItemIndex item) {
  std::vector<std::byte> bytes(item % 40);
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(item * 13 + i);
  return bytes;
}

bool is_value_of(ItemIndex item, ByteSpan seen) {
  const auto wanted = value_of(item);
  return std::equal(seen.begin(), seen.end(), wanted.begin(), wanted.end());
}

ItemBatch chunk_of_items() {
  ItemBatch batch;
  for (std::uint64_t i = 0; i < kChunk; ++i) batch.add(value_of(i));
  return batch;
}

JobRef lazy_job(bool unordered, std::uint64_t window) {
  JobRequest request;
  request.open = true;
  request.unordered = unordered;
  request.chunk_size = kChunk;
  request.window = window;
  return Job::make(std::move(request));
}

std::uint64_t settle_run(ManyItems& items, ItemIndex first, std::uint32_t count) {
  const MutableByteSpan room = items.room_for_run();
  std::size_t bytes = 0;
  for (ItemIndex item = first; item < first + count; ++item) {
    const auto value = value_of(item);
    ring::pack::put_prefix(room.data() + bytes, value.size());
    std::copy(value.begin(), value.end(), room.begin() + static_cast<std::ptrdiff_t>(bytes + ring::pack::kPrefix));
    bytes += ring::pack::cost(value.size());
  }
  return items.settle_run(first, count, bytes);
}

/// What the reader was given: each item once, done ones with their value.
class Given {
 public:
  void add(const Settled& settled) {
    if (!settled.is_run()) return add(settled.item, settled.kind, settled.payload.bytes());
    ring::pack::Reader reader(settled.run());
    ByteSpan record;
    std::uint32_t records = 0;
    for (; reader.next(record); ++records) add(settled.item + records, settled.kind, record);
    EXPECT_EQ(records, settled.count);
    EXPECT_TRUE(reader.at_end());
  }
  const std::map<ItemIndex, OutcomeKind>& items() const { return items_; }

 private:
  void add(ItemIndex item, OutcomeKind kind, ByteSpan bytes) {
    EXPECT_TRUE(items_.emplace(item, kind).second) << item << " twice";
    if (kind == OutcomeKind::done) { EXPECT_TRUE(is_value_of(item, bytes)) << item; }
  }
  std::map<ItemIndex, OutcomeKind> items_;
};

/// Chunks settle in runs, one by one, or are cut through by a cancel, in any order within a few chunks; the reader takes what he likes.
void play(std::uint32_t seed, bool unordered) {
  std::mt19937 random(seed);
  const JobRef job = lazy_job(unordered, /*window=*/8 * kChunk);
  ManyItems& items = *job->many();
  Given given;
  std::map<ItemIndex, OutcomeKind> wanted;
  ItemIndex next = 0;
  for (int turn = 0; turn < 60; ++turn) {
    items.reader_is_back();
    while (items.room() >= kChunk) items.add_items(chunk_of_items());
    for (int n = 0; n < 6; ++n) {
      const ItemIndex first = random() % items.size();
      const auto count = static_cast<std::uint32_t>(std::min<std::uint64_t>(1 + random() % 60, items.size() - first));
      std::uint64_t pending = 0;
      for (ItemIndex item = first; item < first + count; ++item) pending += items.is_pending(item) ? 1 : 0;
      if (random() % 4 == 0) {
        if (!items.is_pending(first)) continue;
        const OutcomeKind kind = random() % 2 == 0 ? OutcomeKind::cancelled : OutcomeKind::done;
        const auto value = value_of(first);
        EXPECT_TRUE(items.settle(first, kind, kind == OutcomeKind::done ? Payload::copy(value) : Payload(), {}));
        wanted.emplace(first, kind);
      } else {
        EXPECT_EQ(settle_run(items, first, count), pending);
        for (ItemIndex item = first; item < first + count; ++item) wanted.emplace(item, OutcomeKind::done);
      }
    }
    for (int n = 0; n < 4; ++n) {
      items.reader_is_back();
      Settled settled;
      const Take what = random() % 3 == 0 ? Take::item : Take::run;
      if (unordered ? !items.take_any(settled, what) : !items.take(next, settled, what)) break;
      if (what == Take::item) { EXPECT_EQ(settled.count, 1U); }
      EXPECT_TRUE(unordered || settled.item == next);
      next += settled.count;
      given.add(settled);
      std::vector<Settled> more;
      if (random() % 2 == 0) items.take_more(next, more);
      for (const Settled& each : more) {
        EXPECT_TRUE(unordered || each.item == next);
        next += each.count;
        given.add(each);
      }
      EXPECT_LE(items.size() - given.items().size(), items.window.size());
    }
  }
  items.reader_is_back();
  for (ItemIndex item = 0; item < items.size(); ++item) {
    if (items.is_pending(item) && settle_run(items, item, 1) == 1) wanted.emplace(item, OutcomeKind::done);
  }
  EXPECT_EQ(items.unsettled(), 0U);
  Settled settled;
  while (unordered ? items.take_any(settled, Take::run) : items.take(next, settled, Take::run)) {
    next += settled.count;
    given.add(settled);
  }
  EXPECT_EQ(given.items(), wanted);
  EXPECT_EQ(given.items().size(), items.size());
}

TEST(PoolLazyRuns, GiveWhatWasSettledOnceAndInOrder) {
  for (std::uint32_t seed = 0; seed < 20; ++seed) play(seed, /*unordered=*/false);
}

TEST(PoolLazyRuns, GiveWhatWasSettledOnceToOneWhoTakesAny) {
  for (std::uint32_t seed = 0; seed < 20; ++seed) play(seed, /*unordered=*/true);
}

TEST(PoolLazyRuns, WhatTheReaderHasNotUsedFillsTheWindow) {
  const JobRef job = lazy_job(/*unordered=*/false, /*window=*/2 * kChunk);
  ManyItems& items = *job->many();
  items.add_items(chunk_of_items());
  items.add_items(chunk_of_items());
  EXPECT_EQ(items.room(), 0U);
  EXPECT_EQ(settle_run(items, 0, kChunk), kChunk);
  Settled settled;
  ASSERT_TRUE(items.take(0, settled, Take::run));
  EXPECT_EQ(settled.count, kChunk);
  EXPECT_EQ(items.room(), 1U) << "he uses the first one";
  items.reader_is_back();
  EXPECT_EQ(items.room(), kChunk);
}

TEST(PoolLazyRuns, NothingIsKeptForAReaderWhoHasGone) {
  const JobRef job = lazy_job(/*unordered=*/true, /*window=*/2 * kChunk);
  ManyItems& items = *job->many();
  items.add_items(chunk_of_items());
  EXPECT_EQ(settle_run(items, 0, 50), 50U);
  EXPECT_EQ(items.take_pieces().size(), 1U);
  job->forget();
  EXPECT_EQ(settle_run(items, 50, 50), 50U);
  EXPECT_EQ(settle_run(items, 50, 50), 0U) << "settled before";
  EXPECT_FALSE(items.any_settled_unread());
  EXPECT_TRUE(items.take_pieces().empty());
  EXPECT_EQ(items.room(), 2 * kChunk);
}

}  // namespace
}  // namespace holdfast::pool::test
