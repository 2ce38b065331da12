// What: a map's results kept in runs are, item by item, what came in, whatever the order, and each item is settled once (P1).
#include "pool/outcome_runs.hpp"

#include <algorithm>
#include <random>

#include <gtest/gtest.h>

#include "pool/harvest.hpp"

namespace holdfast::pool::test {
namespace {

std::vector<std::byte> value_of(ItemIndex item) {
  std::vector<std::byte> bytes(item % 50 == 49 ? 1000 : item % 30);
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(item * 13 + i);
  return bytes;
}

/// Writes the records of items [first, first + count) where a channel would; returns their size.
std::size_t write_run(MutableByteSpan room, ItemIndex first, std::uint32_t count) {
  std::size_t at = 0;
  for (ItemIndex item = first; item < first + count; ++item) {
    const auto bytes = value_of(item);
    ring::pack::put_prefix(room.data() + at, bytes.size());
    std::copy(bytes.begin(), bytes.end(), room.begin() + static_cast<std::ptrdiff_t>(at + ring::pack::kPrefix));
    at += ring::pack::cost(bytes.size());
  }
  return at;
}

class PoolOutcomeRuns : public ::testing::TestWithParam<unsigned> {};

TEST_P(PoolOutcomeRuns, AreReadAsTheyWereSettled) {
  std::mt19937 random(GetParam());
  constexpr ItemIndex kItems = 5000;
  OutcomeRuns runs;
  runs.grow(kItems / 2);
  runs.grow(kItems / 2);
  std::vector<OutcomeKind> wanted(kItems, OutcomeKind::pending);
  Failures failures;
  // Some items fail first; then chunks come in any order, and what a chunk brings for an item that is settled already is dropped.
  for (int i = 0; i < 60; ++i) {
    const ItemIndex item = random() % kItems;
    if (runs.kind(item) != OutcomeKind::pending) continue;
    wanted[item] = i % 2 == 0 ? OutcomeKind::raised : OutcomeKind::cancelled;
    runs.settle(item, wanted[item], i % 2 == 0 ? Payload::copy(value_of(item)) : Payload{});
    failures.add(item, {.kind = wanted[item], .attempts = static_cast<std::uint32_t>(i + 1), .report = nullptr});
  }
  std::vector<ItemIndex> chunks;
  for (ItemIndex first = 0; first < kItems; first += 100) chunks.push_back(first);
  std::shuffle(chunks.begin(), chunks.end(), random);
  for (const ItemIndex chunk : chunks) {
    for (ItemIndex item = chunk; item < chunk + 100;) {
      const auto count = static_cast<std::uint32_t>(std::min<ItemIndex>(1 + random() % 9, chunk + 100 - item));
      std::uint64_t pending = 0;
      for (ItemIndex each = item; each < item + count; ++each) {
        if (wanted[each] != OutcomeKind::pending) continue;
        wanted[each] = OutcomeKind::done;
        ++pending;
      }
      if (count == 1 && pending == 1 && random() % 2 == 0) {
        runs.settle(item, OutcomeKind::done, Payload::copy(value_of(item)));
      } else {
        const MutableByteSpan room = runs.room();
        ASSERT_EQ(runs.settle_run(item, count, write_run(room, item, count)), pending);
      }
      item += count;
    }
  }
  Harvest harvest(std::move(runs), std::move(failures));
  ASSERT_EQ(harvest.size(), kItems);
  for (ItemIndex item = 0; item < kItems; ++item) {
    ASSERT_TRUE(harvest.next());
    ASSERT_EQ(harvest.item(), item);
    ASSERT_EQ(harvest.kind(), wanted[item]) << item;
    if (wanted[item] == OutcomeKind::cancelled || random() % 3 == 0) {
      const Settled settled = harvest.take();
      ASSERT_EQ(settled.kind, wanted[item]);
      ASSERT_EQ(settled.attempts != 0, wanted[item] != OutcomeKind::done);
      const auto bytes = wanted[item] == OutcomeKind::cancelled ? std::vector<std::byte>{} : value_of(item);
      ASSERT_TRUE(std::equal(settled.payload.bytes().begin(), settled.payload.bytes().end(), bytes.begin(), bytes.end())) << item;
    } else if (random() % 4 != 0) {  // else not looked at
      const auto bytes = value_of(item);
      for (int look = 0; look < 2; ++look) {
        ASSERT_TRUE(std::equal(harvest.bytes().begin(), harvest.bytes().end(), bytes.begin(), bytes.end())) << item;
      }
      harvest.drop();
    }
  }
  EXPECT_FALSE(harvest.next());
}
INSTANTIATE_TEST_SUITE_P(Orders, PoolOutcomeRuns, ::testing::Range(1U, 9U));

}  // namespace
}  // namespace holdfast::pool::test
