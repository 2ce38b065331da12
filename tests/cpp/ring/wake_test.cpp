// What: sleeping and waking under stress: a lost wake-up is a hang, which the outer time limit ends. No sleep in here has a time-out of
// its own, so nothing mends one. (models: worker_wake.pml, sleep_wake.pml)
#include <atomic>
#include <condition_variable>
#include <mutex>

#include <poll.h>

#include "ring/pair.hpp"
#include "sys/wakeup.hpp"

namespace holdfast::ring::test {
namespace {

template <class Sides>
class RingWake : public ::testing::Test {};
TYPED_TEST_SUITE(RingWake, BothSides, SideNames);

// One item at a time: the worker falls asleep for tasks, the parent for results, again and again.
TYPED_TEST(RingWake, PingPongLosesNoWakeUp) {
  Link link = Link::make();
  TypeParam worker(link, echo_worker);
  const auto payload = pattern(3, 16);
  for (ChunkId chunk = 1; chunk <= 20'000; ++chunk) {
    ASSERT_TRUE(link.parent->push_chunk(chunk, 1, 1, 0, 1, 0, 0));
    ASSERT_TRUE(link.parent->push_item(chunk, 0, inline_payload(payload)));
    link.parent->commit_tasks();
    auto result = wait_result(*link.parent, link.bell);
    ASSERT_TRUE(result.ok());
    ASSERT_EQ(result->chunk, chunk);
    link.parent->pop_result();
    link.parent->release_results();
    link.parent->release_slot(0);
  }
  link.parent->set_closed();
  EXPECT_EQ(worker.join(), 0);
}

// Both sides dawdle for a random time, so that the parent's commit falls anywhere into the worker's way to sleep, also between its look and
// its announcement.
TYPED_TEST(RingWake, CommitOnTheWorkersWayToSleepWakesIt) {
  Link link = Link::make();
  constexpr int kRounds = 60'000;
  TypeParam worker(link, [](WorkerChannel& channel, BellPage&) {
    std::mt19937_64 random(18);
    for (;;) {
      const auto task = channel.next_task();
      if (!task.ok()) return 2;
      if (*task != nullptr) {
        channel.release_task();
        channel.count_item_done();
        continue;
      }
      for (std::uint64_t steps = random() % 256; steps != 0; --steps) (void)channel.free_buffers();
      if (channel.wait_for_tasks(Nanos::max()) == WorkerChannel::Wake::closed) return 0;
    }
  });
  std::mt19937_64 random(17);
  for (std::uint64_t round = 1; round <= kRounds; ++round) {
    ASSERT_TRUE(link.parent->push_forget_function(round));
    for (std::uint64_t steps = random() % 64; steps != 0; --steps) (void)link.parent->task_room();
    link.parent->commit_tasks();
    for (int polls = 0; link.parent->progress().items_done != round; ++polls) {
      if (polls > 2000) std::this_thread::yield();
    }
  }
  link.parent->set_closed();
  EXPECT_EQ(worker.join(), 0);
}

// The worker writes more than its ring holds: it falls asleep for room, the parent for results.
TYPED_TEST(RingWake, WorkerThatWaitsForRoomIsWokenByDraining) {
  Link link = Link::make(0, {.task_ring_bytes = 128 * 1024, .result_ring_bytes = 128 * 1024});
  constexpr std::uint32_t kResults = 3000;
  TypeParam worker(link, [](WorkerChannel& channel, BellPage& bell) {
    for (std::uint32_t i = 0; i < kResults; ++i) {
      const auto payload = pattern(i, i % 7 == 0 ? kInlineLimit : 5000);
      ResultFrame frame;
      frame.item = i;
      frame.payload = inline_payload(payload);
      if (!send_result(channel, bell, frame)) return 2;
    }
    return 0;
  });
  for (std::uint32_t i = 0; i < kResults; ++i) {
    auto result = wait_result(*link.parent, link.bell);
    ASSERT_TRUE(result.ok());
    ASSERT_EQ(result->item, i);
    if (i % 100 == 0) { ASSERT_TRUE(is_pattern(result->payload.inline_bytes, i)); }
    link.parent->pop_result();
    link.parent->release_results();
  }
  EXPECT_EQ(worker.join(), 0);
}

// Close and cancel reach a worker asleep, whatever it sleeps for, each time.
TYPED_TEST(RingWake, EndReachesASleepingWorker) {
  for (int round = 0; round < 60; ++round) {
    Link link = Link::make();
    TypeParam worker(link, echo_worker);
    if (round % 3 == 0) std::this_thread::yield();
    if (round % 2 == 0) {
      link.parent->set_closed();
    } else {
      link.parent->set_cancelled();
    }
    ASSERT_EQ(worker.join(), 0);
  }
}

// One worker answers with the supervisor asleep, not the drainer: the byte in its socket is an eventfd here.
TYPED_TEST(RingWake, SupervisorIsToldThroughItsOwnFlag) {
  Link link = Link::make(70);
  auto socket = sys::Wakeup::create().value();
  constexpr std::uint32_t kResults = 5000;
  TypeParam worker(link, [&socket](WorkerChannel& channel, BellPage& bell) {
    ResultFrame frame;
    for (std::uint32_t i = 0; i < kResults; ++i) {
      frame.item = i;
      while (!channel.push_result(frame)) {
        if (bell.ring_from_worker(channel.worker_index())) socket.signal();
        (void)channel.wait_for_room(0, Nanos::max());
      }
      channel.commit_result();
      if (bell.ring_from_worker(channel.worker_index())) socket.signal();
      if (i % 4 == 0) std::this_thread::yield();
    }
    return 0;
  });
  std::uint32_t seen = 0;
  const auto drain = [&] {
    if (link.bell.take_ready(1) == 0) return;  // only the hint is followed: it must never be missing
    while (auto result = link.parent->next_result().value()) {
      ASSERT_EQ(result->item, seen);
      ++seen;
      link.parent->pop_result();
    }
    link.parent->release_results();
  };
  while (seen < kResults) {
    link.bell.supervisor_announce();
    ASSERT_NO_FATAL_FAILURE(drain());
    if (seen == kResults) break;
    pollfd poll_for{.fd = socket.fd(), .events = POLLIN, .revents = 0};
    ASSERT_EQ(::poll(&poll_for, 1, -1), 1);
    link.bell.supervisor_withdraw();
    socket.drain();
    ASSERT_NO_FATAL_FAILURE(drain());
  }
  EXPECT_EQ(worker.join(), 0);
}

// --- many workers, several waiting threads that hand the drainer's role on, and a supervisor: the whole of sleep_wake.pml, in threads ---

class Hall {
 public:
  static constexpr std::uint32_t kWorkers = 3;
  static constexpr std::uint32_t kResults = 4000;  // of each worker

  Hall() : bell_(BellPage::create().value()), socket_(sys::Wakeup::create().value()) {
    for (std::uint32_t i = 0; i < kWorkers; ++i) parents_.push_back(ParentChannel::create({}, i * 60).value());
  }

  void run() {
    std::vector<std::thread> threads;
    for (std::uint32_t i = 0; i < kWorkers; ++i) threads.emplace_back([this, i] { work(i); });
    for (int i = 0; i < 2; ++i) threads.emplace_back([this, i] { wait_in_visits(i == 0); });
    threads.emplace_back([this] { supervise(); });
    for (auto& thread : threads) thread.join();
  }
  std::uint32_t drained() const { return drained_; }

 private:
  bool all_done() const { return drained_ == kWorkers * kResults; }

  void work(std::uint32_t index) {
    auto channel = WorkerChannel::attach_in_process(*parents_[index]).value();
    ResultFrame frame;
    for (std::uint32_t i = 0; i < kResults; ++i) {
      frame.item = i;
      while (!channel->push_result(frame)) {
        if (bell_.ring_from_worker(channel->worker_index())) socket_.signal();
        (void)channel->wait_for_room(0, Nanos::max());
      }
      channel->commit_result();
      if (bell_.ring_from_worker(channel->worker_index())) socket_.signal();
      if (i % 8 == 0) std::this_thread::yield();  // so that the parent falls asleep often
    }
  }

  void drain_locked() {
    for (std::uint32_t word = 0; word < 3; ++word) {
      std::uint64_t bits = bell_.take_ready(word);
      for (std::uint32_t i = 0; i < kWorkers; ++i) {
        if (i * 60 / 64 != word || (bits >> (i * 60 % 64) & 1) == 0) continue;
        while (auto result = parents_[i]->next_result().value()) {
          ++drained_;
          parents_[i]->pop_result();
        }
        parents_[i]->release_results();
      }
    }
    if (all_done()) {
      bell_.ring_from_parent();
      socket_.signal();
      role_free_.notify_all();
    }
  }

  /// A user thread: comes, drains or waits for the role, leaves after some results, comes again.
  void wait_in_visits(bool patient) {
    std::unique_lock lock(mutex_);
    while (!all_done()) {
      role_free_.wait(lock, [this] { return !drainer_ || all_done(); });
      if (all_done()) return;
      drainer_ = true;
      bell_.supervisor_withdraw();
      const std::uint32_t leave_at = drained_ + (patient ? 700 : 3);
      while (!all_done() && drained_ < leave_at) {
        const std::uint32_t seen = bell_.bell();
        bell_.drainer_announce();
        drain_locked();
        if (!all_done() && drained_ < leave_at) {
          lock.unlock();
          (void)bell_.drainer_sleep(seen, Nanos::max());
          lock.lock();
        }
        bell_.drainer_withdraw();
      }
      drainer_ = false;
      role_free_.notify_one();
      bell_.supervisor_announce();  // the other thread may not come: then it is the supervisor's
      drain_locked();
    }
  }

  void supervise() {
    std::unique_lock lock(mutex_);
    while (!all_done()) {
      bell_.supervisor_withdraw();
      socket_.drain();
      drain_locked();
      if (!drainer_) {
        bell_.supervisor_announce();
        drain_locked();
      }
      if (all_done()) return;
      lock.unlock();
      pollfd poll_for{.fd = socket_.fd(), .events = POLLIN, .revents = 0};
      (void)::poll(&poll_for, 1, -1);
      lock.lock();
    }
  }

  BellPage bell_;
  sys::Wakeup socket_;
  std::vector<std::unique_ptr<ParentChannel>> parents_;
  std::mutex mutex_;  // the pool's
  std::condition_variable role_free_;
  bool drainer_ = false;
  std::uint32_t drained_ = 0;
};

TEST(RingWakeHall, DrainersComeAndGoAndNoResultIsLeftBehind) {
  for (int round = 0; round < 5; ++round) {
    Hall hall;
    hall.run();
    ASSERT_EQ(hall.drained(), Hall::kWorkers * Hall::kResults);
  }
}

TEST(RingBell, ParentsRingWakesADrainerWhoseFlagIsGone) {
  auto bell = BellPage::create().value();
  const std::uint32_t seen = bell.bell();
  bell.drainer_announce();
  bell.drainer_withdraw();  // as if a worker had taken the flag and died
  std::thread parent([&bell] { bell.ring_from_parent(); });
  EXPECT_EQ(bell.drainer_sleep(seen, Nanos::max()), BellPage::Woke::rung);
  parent.join();
}

TEST(RingBell, SleepEndsAtItsTimeOut) {
  auto bell = BellPage::create().value();
  EXPECT_EQ(bell.drainer_sleep(bell.bell(), std::chrono::milliseconds(1)), BellPage::Woke::timed_out);
}

TEST(RingBell, ReadyBitsNameTheWorkersOnce) {
  auto bell = BellPage::create().value();
  EXPECT_FALSE(bell.ring_from_worker(0));
  EXPECT_FALSE(bell.ring_from_worker(63));
  EXPECT_FALSE(bell.ring_from_worker(kMaxWorkers - 1));
  EXPECT_FALSE(bell.ring_from_worker(kMaxWorkers));  // no such worker: nothing happens
  EXPECT_EQ(bell.take_ready(0), 1u | (std::uint64_t{1} << 63));
  EXPECT_EQ(bell.take_ready(0), 0u);
  EXPECT_EQ(bell.take_ready(kMaxWorkers / 64 - 1), std::uint64_t{1} << 63);
  EXPECT_EQ(bell.take_ready(kMaxWorkers / 64), 0u);
}

TEST(RingBell, SupervisorIsAskedForOnlyWhenNobodyDrains) {
  auto bell = BellPage::create().value();
  bell.supervisor_announce();
  bell.drainer_announce();
  EXPECT_FALSE(bell.ring_from_worker(1));  // the drainer's
  EXPECT_TRUE(bell.ring_from_worker(1));   // his flag was taken: now the supervisor's
  EXPECT_FALSE(bell.ring_from_worker(1));
}

}  // namespace
}  // namespace holdfast::ring::test
