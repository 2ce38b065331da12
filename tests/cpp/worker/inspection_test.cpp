// What: looks that hang hold up nobody, and are not lost.
#include "worker/inspection.hpp"

#include <gtest/gtest.h>
#include <algorithm>
#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <new>
#include <numeric>
#include <span>
#include <thread>
#include <vector>

#include "sys/clock.hpp"
#include "worker/fake_pool.hpp"

namespace holdfast::worker::test {
namespace {

// Looks at negative pids hang until they are released. Shared with looks that outlive the test.
struct Gate {
  std::mutex closed;
  std::atomic<int> hanging{0};

  Lineage::Finding look(int pid) {
    if (pid >= 0) return {.kin = Lineage::Kin::ours, .worker = static_cast<WorkerId>(pid)};
    ++hanging;
    const std::lock_guard wait(closed);
    return {.kin = Lineage::Kin::ours, .worker = static_cast<WorkerId>(-pid)};
  }
};

Inspection::Look look_through(const std::shared_ptr<Gate>& gate) {
  return [gate](int pid) { return gate->look(pid); };
}

std::vector<int> sorted_pids(const std::vector<Inspection::Answer>& answers) {
  std::vector<int> pids;
  for (const auto& answer : answers) pids.push_back(answer.pid);
  std::ranges::sort(pids);
  return pids;
}

// The answers to a question about these; however slow the machine is, that is not a hang.
std::vector<Inspection::Answer> ask_all(Inspection& inspection, std::span<const int> pids, std::size_t count) {
  std::vector<Inspection::Answer> all;
  std::vector<int> rest(pids.begin(), pids.end());
  while (all.size() < count) {
    for (const auto& answer : inspection.ask(rest, kNever)) {
      all.push_back(answer);
      std::erase(rest, answer.pid);
    }
  }
  return all;
}

std::vector<int> numbers(int from, int to) {
  std::vector<int> all(static_cast<std::size_t>(to - from));
  std::iota(all.begin(), all.end(), from);
  return all;
}

TEST(Inspection, AnswersForEachProcess) {
  Inspection inspection(look_through(std::make_shared<Gate>()));
  for (int round = 0; round < 3; ++round) {
    const auto answers = ask_all(inspection, numbers(1, 100), 99);
    EXPECT_EQ(sorted_pids(answers), numbers(1, 100));
    for (const auto& [pid, finding] : answers) EXPECT_EQ(finding.worker, static_cast<WorkerId>(pid));
  }
  EXPECT_TRUE(inspection.ask({}, kNever).empty());
}

TEST(Inspection, GoesOnBesideLooksThatHangAndTakesTheirAnswersLate) {
  const auto gate = std::make_shared<Gate>();
  std::unique_lock closed(gate->closed);
  Inspection inspection(look_through(gate));
  const int asked[] = {1, -2, 3, -4, 5};
  EXPECT_EQ(sorted_pids(ask_all(inspection, asked, 3)), (std::vector<int>{1, 3, 5}));
  EXPECT_TRUE(eventually([&] { return gate->hanging.load() == 2; }));
  EXPECT_EQ(sorted_pids(ask_all(inspection, numbers(6, 9), 3)), numbers(6, 9));
  EXPECT_EQ(inspection.hanging(), 2U);
  EXPECT_TRUE(inspection.late_answers(sys::now() + std::chrono::milliseconds(1)).empty());
  EXPECT_TRUE(inspection.ask(std::vector<int>{-2, -4}, kNever).empty());  // no second look beside the first
  EXPECT_EQ(gate->hanging.load(), 2);
  closed.unlock();
  std::vector<int> late;
  while (late.size() < 2) {
    for (const auto& answer : inspection.late_answers(sys::now() + std::chrono::seconds(1))) late.push_back(answer.pid);
  }
  std::ranges::sort(late);
  EXPECT_EQ(late, (std::vector<int>{-4, -2}));
  EXPECT_EQ(inspection.hanging(), 0U);
  EXPECT_EQ(sorted_pids(ask_all(inspection, numbers(10, 50), 40)), numbers(10, 50));
}

TEST(Inspection, DoesNotWaitForThemWhenItEnds) {
  const auto gate = std::make_shared<Gate>();
  std::unique_lock closed(gate->closed);
  {
    Inspection inspection(look_through(gate));
    const int asked[] = {-1};
    while (inspection.hanging() == 0) EXPECT_TRUE(inspection.ask(asked, kNever).empty());
  }
  EXPECT_TRUE(eventually([&] { return gate->hanging.load() == 1; }));
  closed.unlock();
  while (gate.use_count() > 1) std::this_thread::yield();  // its thread ends by itself; the limit from outside tells
}

TEST(Inspection, HasNoAnswerForWhatIsLeftWhenTooManyHangOrTheTimeIsOver) {
  const auto gate = std::make_shared<Gate>();
  std::unique_lock closed(gate->closed);
  Inspection inspection(look_through(gate));
  const int one[] = {1};
  EXPECT_TRUE(inspection.ask(one, sys::now()).empty());
  std::vector<int> asked = numbers(-80, 0);
  asked.push_back(1);
  while (inspection.hanging() < 64) EXPECT_TRUE(inspection.ask(asked, kNever).empty());
  EXPECT_TRUE(inspection.ask(one, kNever).empty());
  closed.unlock();
  EXPECT_EQ(ask_all(inspection, asked, 81).size(), 81U);
}

TEST(Inspection, WithoutMemoryForALookThereIsNoSuchProcess) {
  Inspection inspection([](int pid) -> Lineage::Finding {
    if (pid == 2) throw std::bad_alloc();
    return {};
  });
  for (const auto& [pid, finding] : ask_all(inspection, numbers(1, 4), 3))
    EXPECT_EQ(finding.kin, pid == 2 ? Lineage::Kin::gone : Lineage::Kin::stranger);
}

}  // namespace
}  // namespace holdfast::worker::test
