// What: interned functions (pool/function.hpp): one id for the same bytes, kept while somebody holds it or it was interned lately, and told once,
// when the last reference has gone, in whatever thread that was.
#include "pool/function.hpp"

#include <algorithm>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

namespace holdfast::pool {
namespace {

constexpr int kKept = 64;             // as FunctionTable::kRecent
constexpr std::size_t kLarge = 5000;  // not kept beyond its use

FunctionRef intern(FunctionTable& table, const std::string& bytes) {
  auto made = table.intern({reinterpret_cast<const std::byte*>(bytes.data()), bytes.size()});
  EXPECT_TRUE(made.ok());
  return *std::move(made);
}

TEST(FunctionTable, InternsTheSameBytesOnce) {
  FunctionTable table(nullptr);
  const FunctionRef first = intern(table, "f");
  EXPECT_EQ(first, intern(table, "f"));
  EXPECT_NE(first, intern(table, "g"));
  EXPECT_EQ(first->span().size(), 1U);
  EXPECT_TRUE(table.take_dead().empty());
}

TEST(FunctionTable, KeepsWhatWasInternedLatelyAndTellsOfTheRest) {
  FunctionTable table(nullptr);
  const FunctionId oldest = intern(table, "oldest")->id;
  const FunctionRef held = intern(table, "held");
  for (int i = 0; i < kKept - 2; ++i) (void)intern(table, std::to_string(i));
  EXPECT_TRUE(table.take_dead().empty());
  EXPECT_EQ(intern(table, "oldest")->id, oldest);
  for (int i = 0; i < 2; ++i) (void)intern(table, "more" + std::to_string(i));
  EXPECT_EQ(table.take_dead(), std::vector<FunctionId>{oldest});
  EXPECT_TRUE(table.take_dead().empty()) << "told twice";
  EXPECT_NE(intern(table, "oldest")->id, oldest) << "a worker has been told to forget it";
  EXPECT_NE(intern(table, "held"), held) << "it is out of the table";
  EXPECT_EQ(held->span().size(), 4U);
}

TEST(FunctionTable, LargeOnesLiveAsLongAsTheyAreHeld) {
  FunctionTable table(nullptr);
  FunctionRef held = intern(table, std::string(kLarge, 'x'));
  const FunctionId id = held->id;
  EXPECT_TRUE(table.take_dead().empty());
  held.reset();
  EXPECT_EQ(table.take_dead(), std::vector<FunctionId>{id});
}

TEST(FunctionTable, ReferencesAreDroppedByAnyThreadAlsoAfterTheTable) {
  std::vector<FunctionRef> held;
  {
    FunctionTable table(nullptr);
    held.assign(4, intern(table, std::string(kLarge, 'x')));
    std::vector<std::thread> threads;
    for (int i = 0; i < 2; ++i) {
      threads.emplace_back([mine = held[static_cast<std::size_t>(i)]] {
        for (int n = 0; n < 1000; ++n)
          const FunctionRef copy = mine;  // NOLINT(performance-unnecessary-copy-initialization): it is the test
      });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_TRUE(table.take_dead().empty()) << "it is held";
  }
  EXPECT_EQ(held.front()->span().size(), kLarge);
  held.clear();
}

}  // namespace
}  // namespace holdfast::pool
