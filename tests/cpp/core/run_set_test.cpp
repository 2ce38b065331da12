// Tests of core/run_set against a plain std::set of items.
#include "core/run_set.hpp"

#include <set>

#include <gtest/gtest.h>

#include "core/retry.hpp"

namespace holdfast::core {
namespace {

TEST(RunSet, MergesWhatTouchesAndKeepsWhatDoesNot) {
  RunSet set;
  set.add({5, 7});
  set.add({9, 10});
  set.add({7, 9});
  EXPECT_EQ(set.front(), (core::Run{5, 10}));
  EXPECT_EQ(set.count(), 5U);
  set.add({3, 3});
  EXPECT_EQ(set.count(), 5U);
}

TEST(RunSet, AgreesWithAPlainSetOnRandomOperations) {
  std::uint64_t dice = 42;
  for (int round = 0; round < 200; ++round) {
    RunSet set;
    std::set<ItemIndex> plain;
    for (int step = 0; step < 60; ++step) {
      const std::uint64_t numbers = next_random(dice);
      const ItemIndex first = numbers % 50;
      const core::Run run{first, first + (numbers >> 8) % 12};
      switch ((numbers >> 16) % 4) {
        case 0:
          set.add(run);
          for (ItemIndex i = run.first; i < run.end; ++i) plain.insert(i);
          break;
        case 1: {
          std::set<ItemIndex> removed;
          set.remove(run, [&](core::Run piece) {
            for (ItemIndex i = piece.first; i < piece.end; ++i) EXPECT_TRUE(removed.insert(i).second);
          });
          for (ItemIndex i = run.first; i < run.end; ++i) EXPECT_EQ(plain.erase(i), removed.count(i));
          break;
        }
        case 2:
          if (!set.empty()) {
            const core::Run taken = set.take_front(1 + (numbers >> 24) % 3);
            EXPECT_FALSE(taken.empty());
            for (ItemIndex i = taken.first; i < taken.end; ++i) {
              EXPECT_EQ(*plain.begin(), i);
              plain.erase(i);
            }
          }
          break;
        default: {
          const core::Run piece = set.first_within(run);
          const auto lowest = plain.lower_bound(run.first);
          const bool any = lowest != plain.end() && *lowest < run.end;
          EXPECT_EQ(piece.empty(), !any);
          if (any) { EXPECT_EQ(piece.first, *lowest); }
          for (ItemIndex i = piece.first; i < piece.end; ++i) EXPECT_TRUE(plain.count(i) == 1 && i < run.end);
        }
      }
      ASSERT_EQ(set.count(), plain.size());
      for (ItemIndex i = 0; i < 64; ++i) ASSERT_EQ(set.contains(i), plain.count(i) == 1) << i;
    }
  }
}

}  // namespace
}  // namespace holdfast::core
