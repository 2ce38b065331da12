// What: a worker's result buffers on the parent's side: granted, read, lent to views, given back, dropped; and how much views may hold.
#include "pool/result_buffers.hpp"

#include <cstring>
#include <optional>

#include <gtest/gtest.h>

#include "pool/view_budget.hpp"

namespace holdfast::pool {
namespace {

constexpr std::size_t kMiB = std::size_t{1} << 20;

/// The parent's side of one worker, and what the worker would see.
struct Bench {
  std::shared_ptr<ring::BufferPool> ids = ring::BufferPool::create(64 * kMiB);
  std::shared_ptr<ring::ParentChannel> channel = ring::ParentChannel::create({}, 0).value();
  std::unique_ptr<ring::WorkerChannel> worker = ring::WorkerChannel::attach_in_process(*channel).value();
  std::shared_ptr<ResultBuffers> buffers = std::make_shared<ResultBuffers>(ids, channel, 64 * kMiB);

  /// A result of `size` bytes, all `fill`, as the worker would have published it.
  Payload result(std::size_t size, unsigned char fill) {
    const auto grant = buffers->grant(size).value();
    std::memset(grant.buffer->data(), fill, size);
    return buffers->open(grant.buffer->id(), size).value();
  }
};

bool all(ByteSpan bytes, unsigned char fill) {
  for (const std::byte each : bytes) {
    if (each != std::byte{fill}) return false;
  }
  return true;
}

TEST(PoolResultBuffers, ABufferThatWasReadGoesBackToItsWorker) {
  Bench bench;
  std::optional<Payload> result = bench.result(kMiB, 1);
  EXPECT_TRUE(all(result->bytes(), 1));
  EXPECT_EQ(bench.worker->free_buffers(), 0U);
  result.reset();
  EXPECT_EQ(bench.worker->free_buffers(), 1U);
  EXPECT_TRUE(bench.buffers->take_gone().empty());
}

TEST(PoolResultBuffers, AViewKeepsItUntilItEnds) {
  Bench bench;
  const auto budget = std::make_shared<ViewBudget>(64 * kMiB);
  std::optional<Payload> result = bench.result(kMiB, 2);
  auto view = ViewBudget::lend(budget, *result);
  auto second = view;
  const ByteSpan bytes = result->bytes();
  result.reset();
  view.reset();
  EXPECT_EQ(bench.worker->free_buffers(), 0U);
  EXPECT_EQ(budget->lent(), kMiB);
  EXPECT_TRUE(all(bytes, 2));
  second.reset();
  EXPECT_EQ(bench.worker->free_buffers(), 1U);
  EXPECT_EQ(budget->lent(), 0U);
}

TEST(PoolResultBuffers, AViewOutlivesWorkerAndPool) {
  std::shared_ptr<const void> view;
  ByteSpan bytes;
  {
    Bench bench;
    const Payload result = bench.result(3 * kMiB, 3);
    bytes = result.bytes();
    view = ViewBudget::lend(std::make_shared<ViewBudget>(SIZE_MAX), result);
    bench.buffers->worker_gone();
  }
  EXPECT_TRUE(all(bytes, 3));
}

TEST(PoolResultBuffers, WhatAForkedChildHasInheritedIsNotUsedAgain) {
  Bench bench;
  std::optional<Payload> read_before = bench.result(kMiB, 4);
  read_before.reset();  // free at the time of the fork: nobody can see it there
  std::optional<Payload> inherited = bench.result(kMiB, 5);
  bench.buffers->lock_for_fork();
  bench.buffers->unlock_after_fork();
  std::optional<Payload> later = bench.result(kMiB, 6);
  inherited.reset();
  later.reset();
  EXPECT_EQ(bench.buffers->take_gone().size(), 1U);
  EXPECT_EQ(bench.worker->free_buffers(), 0b101U);
  // Its index is another buffer's now, which is as good as any.
  std::optional<Payload> next = bench.result(kMiB, 7);
  next.reset();
  EXPECT_EQ(bench.worker->free_buffers(), 0b111U);
}

TEST(PoolResultBuffers, ManyUnreadResultsStopNobody) {
  Bench bench;
  const auto budget = std::make_shared<ViewBudget>(SIZE_MAX);
  std::vector<Payload> unread;
  std::vector<std::shared_ptr<const void>> views;
  for (unsigned char i = 0; i < 200; ++i) {
    unread.push_back(bench.result(kMiB, i));
    views.push_back(ViewBudget::lend(budget, unread.back()));
    ASSERT_TRUE(views.back()) << int{i};
  }
  std::vector<ByteSpan> bytes;
  for (const Payload& each : unread) bytes.push_back(each.bytes());
  unread.clear();
  for (unsigned char i = 0; i < 200; ++i) EXPECT_TRUE(all(bytes[i], i)) << int{i};
}

TEST(PoolViewBudget, RefusesWhatGoesBeyondIt) {
  Bench bench;
  const auto budget = std::make_shared<ViewBudget>(3 * kMiB);
  const Payload one = bench.result(kMiB, 1);
  const Payload two = bench.result(2 * kMiB - 5, 2);  // in a segment of 2 MiB
  const Payload three = bench.result(kMiB, 3);
  const Payload four = bench.result(4 * kMiB, 4);
  auto first = ViewBudget::lend(budget, one);
  const auto second = ViewBudget::lend(budget, two);
  EXPECT_TRUE(first);
  EXPECT_TRUE(second);
  EXPECT_EQ(budget->lent(), 3 * kMiB);
  EXPECT_FALSE(ViewBudget::lend(budget, three));
  first.reset();
  EXPECT_TRUE(ViewBudget::lend(budget, three));
  EXPECT_FALSE(ViewBudget::lend(budget, four));
  EXPECT_EQ(budget->lent(), 2 * kMiB);
}

TEST(PoolViewBudget, LendsOnlyWhatLiesInASegment) {
  const auto budget = std::make_shared<ViewBudget>(SIZE_MAX);
  const std::vector<std::byte> bytes(1000);
  EXPECT_FALSE(ViewBudget::lend(budget, Payload::copy(bytes)));
  EXPECT_FALSE(ViewBudget::lend(budget, Payload::lost()));
  EXPECT_FALSE(ViewBudget::lend(budget, Payload{}));
  EXPECT_EQ(budget->lent(), 0U);
}

}  // namespace
}  // namespace holdfast::pool
