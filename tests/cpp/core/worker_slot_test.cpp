// Tests of core/worker_slot: the state x event table cell by cell, the line of chunks, the sets with places.
#include "core/worker_slot.hpp"

#include <deque>

#include <gtest/gtest.h>

#include "core/retry.hpp"

namespace holdfast::core {
namespace {

using S = WorkerState;
using M = WorkerMeaning;
using E = WorkerEvent;

TEST(WorkerTable, EveryCellKeepsTheRules) {
  for (int s = 0; s < kWorkerStates; ++s) {
    for (int e = 0; e < kWorkerEvents; ++e) {
      const S state = static_cast<S>(s);
      const E event = static_cast<E>(e);
      const WorkerStep step = worker_step(state, event);
      // Refused and harmless events change nothing; only an end leads to `gone`, and nothing leads out of it.
      if (step.meaning == M::impossible || step.meaning == M::nothing) { EXPECT_EQ(step.next, state) << s << " x " << e; }
      const bool end = event == E::start_failed || event == E::died;
      EXPECT_EQ(step.next == S::gone, end || state == S::gone) << s << " x " << e;
      if (state == S::gone) { EXPECT_EQ(step.meaning, M::impossible); }
      // A retiring, unwanted or killed worker is never given anything again.
      if (state == S::retiring || state == S::unwanted || state == S::killed) {
        EXPECT_EQ(worker_step(state, E::sent).meaning, M::impossible);
      }
      if (event == E::kill && state != S::gone) { EXPECT_EQ(step.next, S::killed); }
      // Both names for an end mean the same.
      EXPECT_EQ(worker_step(state, E::start_failed).meaning, worker_step(state, E::died).meaning);
    }
  }
}

TEST(WorkerTable, MeaningOfAnEndDependsOnWhetherItWasOfUse) {
  EXPECT_EQ(worker_step(S::starting, E::died).meaning, M::failed_start);
  EXPECT_EQ(worker_step(S::unwanted, E::died).meaning, M::quiet_end);
  for (S state : {S::idle, S::busy, S::retiring, S::killed}) EXPECT_EQ(worker_step(state, E::died).meaning, M::death);
}

TEST(WorkerTable, AWorkersLifeGoesThroughTheExpectedStates) {
  S state = S::starting;
  const auto go = [&](E event) { state = worker_step(state, event).next; };
  go(E::ready);
  EXPECT_EQ(state, S::idle);
  go(E::sent);
  go(E::sent);
  EXPECT_EQ(state, S::busy);
  go(E::emptied);
  EXPECT_EQ(state, S::idle);
  go(E::retire);
  EXPECT_EQ(state, S::retiring);
  go(E::died);
  EXPECT_EQ(state, S::gone);
  EXPECT_EQ(worker_step(S::starting, E::retire).next, S::unwanted);
  EXPECT_EQ(worker_step(S::unwanted, E::ready).next, S::retiring);
}

TEST(WorkerLine, AgreesWithADequeOnRandomOperations) {
  std::uint64_t dice = 5;
  for (int round = 0; round < 100; ++round) {
    WorkerSlot worker;
    std::deque<ChunkId> plain;
    ChunkId next = 1;
    for (int step = 0; step < 100; ++step) {
      const std::uint64_t number = next_random(dice);
      if (number % 3 != 0 || plain.empty()) {
        worker.push({.id = next});
        plain.push_back(next++);
      } else if (number % 2 == 0) {
        worker.pop_front();
        plain.pop_front();
      } else {
        const auto at = static_cast<std::ptrdiff_t>((number >> 8) % plain.size());
        worker.erase(worker.find(plain[static_cast<std::size_t>(at)]));
        plain.erase(plain.begin() + at);
      }
      ASSERT_EQ(worker.chunks, plain.size());
      for (std::uint32_t i = 0; i < worker.chunks; ++i) ASSERT_EQ(worker.at(i).id, plain[i]);
    }
    EXPECT_EQ(worker.find(next), nullptr);
  }
}

TEST(WorkerSet, KnowsItsMembersAfterAnyOrderOfChanges) {
  WorkerSlot workers[5];
  WorkerSet set(&WorkerSlot::idle_at);
  bool member[5] = {};
  std::uint64_t dice = 9;
  for (int step = 0; step < 1000; ++step) {
    const std::uint64_t number = next_random(dice);
    const std::size_t i = number % 5;
    member[i] = (number >> 8) % 2 == 0;
    set.set(workers[i], member[i]);
    std::size_t count = 0;
    for (std::size_t w = 0; w < 5; ++w) {
      ASSERT_EQ(workers[w].idle_at != WorkerSlot::kNowhere, member[w]);
      if (member[w]) { ASSERT_EQ(&set[workers[w].idle_at], &workers[w]); }
      count += member[w] ? 1 : 0;
    }
    ASSERT_EQ(set.size(), count);
  }
}

}  // namespace
}  // namespace holdfast::core
