// Tests of core/job_table: ready items in order, the table's pages, the line of jobs, the shared policies, the memory of a job.
#include "core/job_table.hpp"

#include <algorithm>
#include <map>
#include <random>
#include <set>
#include <vector>

#include <gtest/gtest.h>

namespace holdfast::core {
namespace {

TEST(JobMemory, AJobOfOneItemIsSmall) { EXPECT_LT(sizeof(Job), 150U); }

TEST(JobReady, GivesItemsLowestFirstAndMergesWhatComesBack) {
  Job job;
  job.append(100);
  EXPECT_EQ(job.take_ready(10), (core::Run{0, 10}));
  EXPECT_EQ(job.take_ready(10), (core::Run{10, 20}));
  job.make_ready({15, 20});  // touches the fresh ones: one run again, no set
  EXPECT_EQ(job.rare, nullptr);
  EXPECT_EQ(job.take_ready(2), (core::Run{15, 17}));
  job.make_ready({3, 5});
  job.make_ready({1, 2});
  EXPECT_EQ(job.take_ready(10), (core::Run{1, 2}));
  EXPECT_EQ(job.take_ready(10), (core::Run{3, 5}));
  EXPECT_EQ(job.take_ready(1000), (core::Run{17, 100}));
  EXPECT_FALSE(job.has_ready());
}

TEST(JobReady, OldItemsNeverComeAfterNewOnes) {
  Job job;
  job.append(10);
  (void)job.take_ready(10);
  job.make_ready({4, 5});
  job.append(5);  // the old item is alone in `fresh`
  job.make_ready({7, 8});
  EXPECT_EQ(job.take_ready(9), (core::Run{4, 5}));
  EXPECT_EQ(job.take_ready(9), (core::Run{7, 8}));
  EXPECT_EQ(job.take_ready(9), (core::Run{10, 15}));
  job.make_ready({2, 3});
  job.make_ready({6, 7});
  EXPECT_EQ(job.take_ready(9), (core::Run{2, 3}));
  EXPECT_EQ(job.take_ready(9), (core::Run{6, 7}));
}

TEST(JobReady, AnItemThatHasFailedTravelsAlone) {
  Job job;
  job.append(10);
  (void)job.take_ready(10);
  job.need_rare().notes[5] = {1, false};
  job.make_ready({3, 8});
  EXPECT_EQ(job.take_ready(9), (core::Run{3, 5}));
  EXPECT_EQ(job.take_ready(9), (core::Run{5, 6}));
  EXPECT_EQ(job.take_ready(9), (core::Run{6, 8}));
}

TEST(JobTable, FindsEachJobByItsIdAndNoOther) {
  JobTable table;
  for (JobId id = 1; id <= 1000; ++id) EXPECT_EQ(table.add().id, id);
  for (JobId id = 1; id <= 1000; id += 2) table.remove(*table.find(id));
  for (JobId id = 0; id <= 1100; ++id) EXPECT_EQ(table.find(id) != nullptr, id >= 1 && id <= 1000 && id % 2 == 0) << id;
  EXPECT_EQ(table.size(), 500U);
  std::vector<JobId> seen;
  table.for_each([&](Job& job) {
    seen.push_back(job.id);
    table.remove(job);
  });
  EXPECT_EQ(seen.size(), 500U);
  EXPECT_TRUE(std::is_sorted(seen.begin(), seen.end()));
  EXPECT_EQ(table.size(), 0U);
  EXPECT_EQ(table.add().id, 1001U);
  EXPECT_NE(table.find(1001), nullptr);
}

TEST(JobTable, OneJobAfterTheOtherForEver) {
  JobTable table;
  Job* old = &table.add();  // lives through all
  for (JobId id = 2; id < 10'000; ++id) table.remove(table.add());
  EXPECT_EQ(table.find(1), old);
  EXPECT_EQ(table.size(), 1U);
}

TEST(JobTable, QueuedSinglesBecomeJobsInAnyOrder) {
  std::mt19937 random(11);
  JobTable table;
  std::map<JobId, std::uint64_t> queued;  // id -> ticket
  std::set<JobId> living;
  for (std::uint64_t ticket = 1; ticket < 30'000; ++ticket) {
    switch (random() % 4) {
      case 0: queued.emplace(table.queue_single(ticket, 7), ticket); break;
      case 1: living.insert(table.add().id); break;
      case 2: {
        if (queued.empty()) break;
        auto one = random() % 2 == 0 ? queued.begin() : std::prev(queued.end());
        if (one == queued.begin()) { EXPECT_EQ(table.first_queued().id, one->first); }
        const Job& job = table.unqueue(one->first);
        EXPECT_EQ(job.id, one->first);
        EXPECT_EQ(job.ticket, one->second);
        EXPECT_EQ(job.policy, 7U);
        EXPECT_EQ(job.fresh, (core::Run{0, 1}));
        EXPECT_EQ(job.unsettled(), 1U);
        EXPECT_FALSE(table.is_queued(job.id));
        living.insert(one->first);
        queued.erase(one);
        break;
      }
      default: {
        if (living.empty()) break;
        const auto one = random() % 3 == 0 ? std::prev(living.end()) : living.begin();
        table.remove(*table.find(*one));
        EXPECT_EQ(table.find(*one), nullptr);
        living.erase(one);
      }
    }
    EXPECT_EQ(table.size(), living.size() + queued.size());
    EXPECT_EQ(table.any_queued(), !queued.empty());
  }
  for (const JobId id : living) EXPECT_NE(table.find(id), nullptr);
  for (const auto& [id, ticket] : queued) {
    EXPECT_TRUE(table.is_queued(id));
    EXPECT_EQ(table.find(id), nullptr);
  }
  EXPECT_EQ(table.take_queued().size(), queued.size());
  EXPECT_EQ(table.size(), living.size());
  EXPECT_FALSE(table.any_queued());
  table.for_each([&](Job& job) {
    EXPECT_EQ(living.erase(job.id), 1U);
    table.remove(job);
  });
  EXPECT_TRUE(living.empty());
}

TEST(ReadyLine, IsInOrderOfTicketsWhoeverComesBack) {
  Job jobs[5];
  ReadyLine line;
  for (std::uint64_t i = 0; i < 5; ++i) jobs[i].ticket = i;
  for (int i : {2, 4, 0, 3, 1}) line.join(jobs[i]);
  line.join(jobs[3]);  // is there already
  line.leave(jobs[2]);
  line.leave(jobs[2]);
  for (int i : {0, 1, 3, 4}) {
    EXPECT_EQ(&line.front(), &jobs[i]);
    line.leave(jobs[i]);
  }
  EXPECT_TRUE(line.empty());
}

TEST(PolicyTable, SharesEqualOnesAndReusesPlaces) {
  PolicyTable table;
  Policies retry;
  retry.on_death = OnFailure::retry;
  const std::uint32_t plain = table.acquire({});
  EXPECT_EQ(table.acquire({}), plain);
  const std::uint32_t other = table.acquire(retry);
  EXPECT_NE(other, plain);
  EXPECT_EQ(table.acquire({}), plain);
  EXPECT_EQ(table[other].on_death, OnFailure::retry);
  table.release(other);
  Policies limited;
  limited.task_timeout = std::chrono::seconds(1);
  EXPECT_EQ(table.acquire(limited), other);
  EXPECT_EQ(table[other].task_timeout, std::chrono::seconds(1));
  for (const auto& change : std::initializer_list<void (*)(Policies&)>{
           [](Policies& each) { each.retry.on = Retry::bit(Cause::signal); },
           [](Policies& each) { each.retry.deadline = std::chrono::seconds(1); },
           [](Policies& each) { each.soft_timeout = std::chrono::seconds(1); },
       }) {
    Policies changed;
    change(changed);
    const std::uint32_t index = table.acquire(changed);
    EXPECT_NE(index, plain);
    EXPECT_EQ(table[index], changed);
  }
}

}  // namespace
}  // namespace holdfast::core
