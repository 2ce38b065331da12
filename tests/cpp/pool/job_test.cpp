// What: a job of a single item, which is one piece of memory, gives what a job of many gives: its item until it is settled, then its outcome,
// once. And the index of jobs by id, whatever the order in which they go.
#include "pool/job.hpp"

#include <map>
#include <random>

#include <gtest/gtest.h>

#include "pool/job_index.hpp"

namespace holdfast::pool::test {
namespace {

std::vector<std::byte> bytes_of(std::size_t size) {
  std::vector<std::byte> bytes(size);
  for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::byte>(i * 7 + 1);
  return bytes;
}

JobRef single(const std::vector<std::byte>& item) {
  JobRequest request;
  request.items.add(item);
  return Job::make(std::move(request));
}

bool same(ByteSpan seen, const std::vector<std::byte>& wanted) {
  return std::equal(seen.begin(), seen.end(), wanted.begin(), wanted.end());
}

TEST(PoolJob, KeepsASingleItemOfAnySizeUntilItIsSettled) {
  for (const std::size_t size : {std::size_t{0}, std::size_t{1}, std::size_t{40}, std::size_t{256}, std::size_t{257}, ring::kInlineLimit}) {
    const auto item = bytes_of(size);
    const JobRef job = single(item);
    EXPECT_EQ(job->many(), nullptr);
    EXPECT_EQ(job->size(), 1U);
    EXPECT_EQ(job->unsettled(), 1U);
    EXPECT_FALSE(job->finished());
    EXPECT_TRUE(same(job->stored(0).inline_bytes, item)) << size;
    const auto result = bytes_of(size / 2 + 30);
    EXPECT_TRUE(job->settle_done(0, Payload::copy(result)));
    EXPECT_TRUE(job->finished());
    Settled settled;
    EXPECT_TRUE(job->take(0, settled));
    EXPECT_EQ(settled.kind, OutcomeKind::done);
    EXPECT_TRUE(same(settled.payload.bytes(), result)) << size;
    EXPECT_FALSE(job->take(0, settled)) << "read twice";
  }
}

TEST(PoolJob, SettlesASingleItemOnce) {
  const JobRef job = single(bytes_of(10));
  EXPECT_FALSE(job->settle_done(1, Payload())) << "there is no item 1";
  EXPECT_TRUE(job->settle(0, OutcomeKind::cancelled, Payload(), {}));
  EXPECT_FALSE(job->settle_done(0, Payload::copy(bytes_of(5))));
  EXPECT_EQ(job->first_failure(), std::optional<ItemIndex>(0));
  Settled settled;
  EXPECT_TRUE(job->take(0, settled));
  EXPECT_EQ(settled.kind, OutcomeKind::cancelled);
}

TEST(PoolJob, TellsHowASingleItemFailed) {
  for (const bool at_once : {true, false}) {
    const JobRef job = single(bytes_of(10));
    EXPECT_EQ(job->count_death(0), 1U);
    EXPECT_EQ(job->count_death(0), 2U);
    auto report = std::make_shared<ExitReport>();
    report->pid = 77;
    EXPECT_TRUE(job->settle(0, OutcomeKind::skipped, Payload(), {.kind = OutcomeKind::died, .attempts = 2, .report = report}));
    EXPECT_FALSE(job->first_failure().has_value());
    Settled settled;
    if (at_once) {
      EXPECT_TRUE(job->take(0, settled));
    } else {
      Harvest all = job->take_all();
      ASSERT_TRUE(all.next());
      settled = all.take();
      EXPECT_FALSE(all.next());
    }
    EXPECT_EQ(settled.kind, OutcomeKind::skipped);
    EXPECT_EQ(settled.failure, OutcomeKind::died);
    EXPECT_EQ(settled.attempts, 2U);
    ASSERT_NE(settled.report, nullptr);
    EXPECT_EQ(settled.report->pid, 77);
    EXPECT_EQ(job->take_all().size(), 0U);
  }
}

TEST(PoolJob, DropsTheOutcomeThatNobodyWillRead) {
  const JobRef job = single(bytes_of(300));
  job->forget();
  EXPECT_TRUE(job->settle_done(0, Payload::copy(bytes_of(100))));
  Settled settled;
  EXPECT_FALSE(job->take(0, settled));
  EXPECT_TRUE(job->finished());
}

TEST(PoolJob, LeavesTheBatchOfASingleItemForTheNextOne) {
  JobRequest request;
  for (const std::size_t size : {std::size_t{20}, std::size_t{60}, std::size_t{5}}) {
    const auto item = bytes_of(size);
    request.items.add(item);
    const JobRef job = Job::make(std::move(request));
    request.items.reuse();
    request.items.add(bytes_of(3));  // over it
    request.items.reuse();
    EXPECT_TRUE(same(job->stored(0).inline_bytes, item));
  }
}

TEST(PoolJob, KeepsManyItemsElsewhere) {
  JobRequest request;
  request.items.add(bytes_of(4));
  request.items.add(bytes_of(5));
  const JobRef job = Job::make(std::move(request));
  ASSERT_NE(job->many(), nullptr);
  EXPECT_EQ(job->size(), 2U);
  JobRequest open;
  open.items.add(bytes_of(4));
  open.open = true;
  EXPECT_NE(Job::make(std::move(open))->many(), nullptr);
}

TEST(PoolJobIndex, FindsWhatWasAddedUntilItIsErased) {
  std::mt19937 random(5);
  JobIndex index;
  std::map<JobId, JobRef> wanted;
  JobId next = 1;
  for (int step = 0; step < 20'000; ++step) {
    if (random() % 2 == 0 || wanted.empty()) {
      next += random() % 200 == 0 ? 1 + random() % 300 : 1;
      const JobRef job = single({});
      index.add(next, job);
      wanted.emplace(next, job);
    } else {
      auto gone = wanted.lower_bound(random() % (next + 1));
      if (gone == wanted.end()) gone = wanted.begin();
      index.erase(gone->first);
      EXPECT_EQ(index.find(gone->first), nullptr);
      index.erase(gone->first);  // nothing
      wanted.erase(gone);
    }
    EXPECT_EQ(index.empty(), wanted.empty());
    if (step % 100 != 0) continue;
    auto at = wanted.begin();
    index.for_each([&](const JobRef& job) {
      ASSERT_NE(at, wanted.end());
      EXPECT_EQ(job, at->second);
      EXPECT_EQ(*index.find(at->first), job);
      ++at;
    });
    EXPECT_EQ(at, wanted.end());
  }
}

}  // namespace
}  // namespace holdfast::pool::test
