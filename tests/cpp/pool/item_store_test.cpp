// What: the items of a job, however they are stored, are what was put in: asked for one by one, in runs, in any order, while others go.
#include "pool/item_store.hpp"

#include <random>

#include <gtest/gtest.h>

#include "ring/pack.hpp"

namespace holdfast::pool::test {
namespace {

std::vector<std::byte> bytes_for(std::uint64_t seed, std::size_t size) {
  std::vector<std::byte> bytes(size);
  for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::byte>(seed * 31 + i * 7);
  return bytes;
}

bool same(ByteSpan seen, const std::vector<std::byte>& wanted) {
  return std::equal(seen.begin(), seen.end(), wanted.begin(), wanted.end());
}

/// Mostly small, some that fill a pack, some that are no record any more.
std::size_t random_size(std::mt19937& random) {
  switch (random() % 40) {
    case 0: return ring::kInlineLimit;
    case 1: return ring::kInlineLimit + 1 + random() % 1000;
    case 2: return 3000 + random() % 3000;
    case 3: return 0;
    default: return random() % 60;
  }
}

TEST(PoolItemStore, GivesBackWhatWasPutIn) {
  std::mt19937 random(3);
  for (int round = 0; round < 20; ++round) {
    ItemStore store;
    std::vector<std::vector<std::byte>> wanted;
    for (int part = 0; part < 4; ++part) {
      ItemBatch batch;
      for (std::uint32_t i = 0; i < random() % 500; ++i) {
        wanted.push_back(bytes_for(wanted.size(), random_size(random)));
        const std::vector<std::byte>& item = wanted.back();
        MutableByteSpan spare = batch.spare();
        if (item.size() <= spare.size() && random() % 2 == 0) {  // as the encoder does
          std::copy(item.begin(), item.end(), spare.begin());
          batch.keep(item.size());
        } else {
          batch.add(item);
        }
      }
      store.append(std::move(batch));
    }
    ASSERT_EQ(store.count(), wanted.size());
    for (int look = 0; look < 300 && !wanted.empty(); ++look) {
      const ItemIndex index = random() % wanted.size();
      ASSERT_TRUE(same(store.at(index).inline_bytes, wanted[index])) << index;
    }
    std::uint64_t in_runs = 0;
    for (ItemIndex index = 0; index < wanted.size();) {
      const std::uint64_t most = 1 + random() % 200;
      const StoredRun run = store.run_at(index, most);
      if (run.count == 0) {
        ASSERT_GT(wanted[index].size(), ring::kInlineLimit);
        ASSERT_TRUE(same(store.at(index).inline_bytes, wanted[index])) << index;
        ++index;
        continue;
      }
      ASSERT_LE(run.count, most);
      ASSERT_LE(run.records.size(), run.count == 1 ? ring::pack::cost(ring::kInlineLimit) : ring::kInlineLimit);
      ring::pack::Reader reader(run.records);
      ByteSpan record;
      for (std::uint32_t i = 0; i < run.count; ++i, ++index) {
        ASSERT_TRUE(reader.next(record));
        ASSERT_TRUE(same(record, wanted[index])) << index;
      }
      ASSERT_TRUE(reader.at_end());
      in_runs += run.count;
    }
    EXPECT_TRUE(wanted.size() < 100 || in_runs > wanted.size() / 2);
  }
}

TEST(PoolItemStore, ItemsStayReadableWhileOthersAreSettledAndAdded) {
  ItemStore store;
  const auto add = [&store](ItemIndex first, ItemIndex count) {
    ItemBatch batch;
    for (ItemIndex item = first; item < first + count; ++item) batch.add(bytes_for(item, 10));
    store.append(std::move(batch));
  };
  add(0, 5);
  add(5, 5);
  ASSERT_TRUE(same(store.at(4).inline_bytes, bytes_for(4, 10)));  // the place remembered lies in the part that goes next
  store.settled(0, 5);
  ASSERT_TRUE(same(store.at(6).inline_bytes, bytes_for(6, 10)));
  add(10, 5);
  ASSERT_TRUE(same(store.at(5).inline_bytes, bytes_for(5, 10)));
  store.settled(5, 3);
  ASSERT_TRUE(same(store.at(8).inline_bytes, bytes_for(8, 10)));
  store.settled(8, 2);
  ASSERT_TRUE(same(store.at(14).inline_bytes, bytes_for(14, 10)));
  EXPECT_EQ(store.run_at(10, 100).count, 5u);
}

TEST(PoolItemStore, AnArgumentBufferIsHandedOutAsOne) {
  const auto pool = ring::BufferPool::create(0);
  const auto buffer = pool->get(2 << 20).value();
  ItemBatch batch;
  batch.add(bytes_for(0, 4));
  batch.add_large(buffer, 2 << 20);
  batch.add(bytes_for(2, 4));
  ItemStore store;
  store.append(std::move(batch));
  EXPECT_EQ(store.run_at(0, 10).count, 1u);
  EXPECT_EQ(store.run_at(1, 10).count, 0u);
  ASSERT_NE(store.at(1).buffer, nullptr);
  EXPECT_EQ((*store.at(1).buffer)->id(), buffer->id());
  EXPECT_EQ(store.at(1).size, std::size_t{2} << 20);
  EXPECT_EQ(store.run_at(2, 10).count, 1u);
}

}  // namespace
}  // namespace holdfast::pool::test
