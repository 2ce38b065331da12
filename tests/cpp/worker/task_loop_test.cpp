// What: the task loop with a real worker: claims, results of any size, failures, forked children, closing, cancelling, sleeping.
#include "worker/task_loop.hpp"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>
#include <csignal>
#include <fstream>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>

#include "sys/pidfd.hpp"
#include "sys/procfs.hpp"
#include "sys/socket.hpp"
#include "worker/fake_pool.hpp"

namespace holdfast::worker::test {
namespace {

constexpr std::size_t kBig = 3 * 1024 * 1024;

volatile std::sig_atomic_t signalled = 0;
void on_signal(int) { signalled = 1; }

// Not pause(): the signal may come before it.
void await_signal() {
  while (signalled == 0) usleep(1000);
}

// What the items of these tests ask for.
std::vector<std::byte> act(ByteSpan item) {
  const std::string text = text_of(item);
  if (text == "throw") throw std::runtime_error("thrown on purpose");
  if (text == "throw int") throw 42;  // NOLINT(hicpp-exception-baseclass): the point of the test
  if (text == "throw much") throw std::runtime_error(std::string(kBig, 'm'));
  if (text == "30k") return std::vector<std::byte>(30'000, std::byte{'k'});
  if (text == "big") return std::vector<std::byte>(kBig, std::byte{'b'});
  if (text == "fork") return bytes_of(fork() == 0 ? "child" : "parent");
  if (text == "setsid") return bytes_of(setsid() == getpid() ? "leader" : "failed");
  if (text == "exit") exit(7);
  if (text == "until signal") await_signal();
  if (text.size() > 1000) return bytes_of(std::to_string(text.size()) + text.substr(0, 1) + text.substr(text.size() - 1));
  return {item.begin(), item.end()};
}

class TaskLoopSignals : public ::testing::Test {
 protected:
  void SetUp() override { ASSERT_NE(signal(SIGUSR1, on_signal), SIG_ERR); }
  void TearDown() override { ASSERT_NE(signal(SIGUSR1, SIG_DFL), SIG_ERR); }
};

TEST(TaskLoopRun, AnswersEachItemOfAChunkInOrder) {
  FakePool pool(act);
  auto worker = pool.start_worker();
  pool.submit(*worker, {"a", "", "c"});
  for (const char* text : {"a", "", "c"}) {
    const auto answer = pool.next_answer(*worker);
    ASSERT_TRUE(answer.has_value());
    EXPECT_EQ(answer->kind, ring::ResultKind::done);
    EXPECT_EQ(answer->text, text);
  }
  EXPECT_TRUE(eventually([&] { return worker->channel->progress().items_done == 3; }));
}

TEST(TaskLoopRun, GoesThroughManyMoreItemsThanTheRingsHold) {
  FakePool pool(act);
  auto worker = pool.start_worker();
  const std::string item(900, 'i');
  for (int chunk = 0; chunk < 100; ++chunk) {
    pool.submit(*worker, std::vector<std::string>(50, item));
    for (int i = 0; i < 50; ++i) ASSERT_EQ(pool.next_answer(*worker).value().text, item);
  }
}

TEST(TaskLoopRun, KeepsGoingWhenThePoolReadsNothingForAWhile) {
  FakePool pool(act);
  auto worker = pool.start_worker();
  const std::string item(900, 'r');
  for (int chunk = 0; chunk < 8; ++chunk) {
    pool.submit(*worker, std::vector<std::string>(50, item));
    ASSERT_TRUE(eventually([&] { return worker->channel->load_chunk(static_cast<std::uint32_t>(chunk)).value().next > 0 || chunk > 4; }));
  }
  for (int i = 0; i < 400; ++i) ASSERT_EQ(pool.next_answer(*worker).value().text, item) << i;
}

TEST(TaskLoopRun, TellsAnExceptionAsRaisedWithItsText) {
  FakePool pool(act);
  auto worker = pool.start_worker();
  const auto thrown = pool.run(*worker, "throw");
  EXPECT_EQ(thrown.kind, ring::ResultKind::raised);
  EXPECT_EQ(thrown.text, "thrown on purpose");
  EXPECT_EQ(pool.run(*worker, "throw int").kind, ring::ResultKind::raised);
  EXPECT_EQ(pool.run(*worker, "throw much").text, std::string(ring::kInlineLimit, 'm'));
  EXPECT_EQ(pool.run(*worker, "fine").text, "fine");
}

TEST(TaskLoopRun, LetsATaskStartASessionOfItsOwn) {
  FakePool pool(act);
  auto worker = pool.start_worker();
  EXPECT_EQ(pool.run(*worker, "setsid").text, "leader");
  EXPECT_EQ(pool.run(*worker, "after").text, "after");
}

TEST(TaskLoopRun, LosesOneItemWhenTheTaskEndsTheProcess) {
  FakePool pool(act);
  auto worker = pool.start_worker();
  pool.submit(*worker, {"before", "exit", "after"});
  EXPECT_EQ(pool.next_answer(*worker).value().text, "before");
  const auto exited = pool.bury(*worker, 1);
  EXPECT_EQ(WEXITSTATUS(static_cast<int>(exited.a)), 7);
  EXPECT_FALSE(pool.next_answer(*worker, Nanos{0}).has_value());
  EXPECT_EQ(worker->channel->load_chunk(0).value().next, 2U) << "item 1 was begun, item 2 was not";
}

TEST_F(TaskLoopSignals, ItemsTakenBackAreSkipped) {
  FakePool pool(act);
  auto worker = pool.start_worker();
  pool.submit(*worker, {"until signal", "b", "c"});
  ASSERT_TRUE(eventually([&] { return worker->channel->load_chunk(0).value().next == 1; }));
  EXPECT_EQ(worker->channel->take_back(0, 1).value(), 1U);
  ASSERT_EQ(sys::pidfd_send_signal(worker->pidfd.get(), SIGUSR1).ok(), true);
  EXPECT_EQ(pool.next_answer(*worker).value().item, 0U);
  EXPECT_EQ(pool.run(*worker, "next").text, "next") << "nothing of the taken items came in between";
}

TEST(TaskLoopLarge, SendsABigResultInABufferAndUsesItAgain) {
  FakePool pool(act);
  auto worker = pool.start_worker();
  for (int round = 0; round < 3; ++round) {
    pool.submit(*worker, {"big"});
    const auto answer = pool.answer_serving_buffers(*worker);
    ASSERT_TRUE(answer.has_value());
    EXPECT_NE(answer->buffer, 0U);
    EXPECT_EQ(answer->text, std::string(kBig, 'b'));
    worker->channel->release_buffer(0);
  }
  EXPECT_EQ(worker->result_buffers.size(), 1U);
}

TEST(TaskLoopLarge, RaisesWhenThePoolRefusesTheBuffer) {
  FakePool pool(act);
  auto worker = pool.start_worker();
  pool.submit(*worker, {"big"});
  const auto answer = pool.answer_serving_buffers(*worker, /*refuse=*/true);
  ASSERT_TRUE(answer.has_value());
  EXPECT_EQ(answer->kind, ring::ResultKind::raised);
  EXPECT_NE(answer->text.find("no room"), std::string::npos) << answer->text;
  EXPECT_EQ(pool.run(*worker, "after").text, "after");
}

TEST(TaskLoopLarge, LeavesWhenCancelledWhileItWaitsForABuffer) {
  FakePool pool(act);
  auto worker = pool.start_worker();
  pool.submit(*worker, {"big"});
  EXPECT_EQ(pool.next_from(*worker).type, ring::MessageType::buffer_request);
  worker->channel->set_cancelled();
  EXPECT_NE(pool.bury(*worker, 1).a, -1);
}

constexpr BufferId kBuffer = 7;

ring::PayloadRef in_buffer(std::size_t size) {
  ring::PayloadRef payload;
  payload.buffer = kBuffer;
  payload.size = size;
  return payload;
}

// The news of an argument's buffer. Without its descriptor it is what a receiver sees that had none free.
void send_buffer(FakeWorker& worker, std::size_t capacity, std::span<const int> fds) {
  ring::Message message;
  message.type = ring::MessageType::buffer;
  message.a = kBuffer;
  message.b = static_cast<std::int64_t>(capacity);
  message.c = -1;
  ASSERT_TRUE(sys::send_pod(worker.socket.get(), message, fds).ok());
}

void submit_in_buffer(FakePool& pool, FakeWorker& worker, std::size_t size) {
  const ChunkId chunk = pool.next_chunk();
  ASSERT_TRUE(worker.channel->push_chunk(chunk, 1, 1, worker.next_slot(), 1, 0, 0));
  ASSERT_TRUE(worker.channel->push_item(chunk, 0, in_buffer(size)));
  worker.channel->commit_tasks();
}

// Sends an argument of `size` bytes of `fill`; the first use of the buffer sends that, too.
void submit_large(FakePool& pool, FakeWorker& worker, std::unique_ptr<ring::SharedBuffer>& buffer, char fill, std::size_t size) {
  const bool fresh = buffer == nullptr;
  if (fresh) buffer = std::move(ring::SharedBuffer::create(kBuffer, kBig)).value();
  ASSERT_TRUE(buffer->fill(0, std::vector<std::byte>(size, static_cast<std::byte>(fill))).ok());
  if (fresh) {
    ASSERT_TRUE(buffer->seal_future_write().ok());
    const int fds[] = {buffer->fd()};
    send_buffer(worker, buffer->capacity(), fds);
  }
  submit_in_buffer(pool, worker, size);
}

TEST(TaskLoopLarge, ReadsAnArgumentBufferAgainAfterThePoolHasReusedIt) {
  FakePool pool(act);
  auto worker = pool.start_worker();
  std::unique_ptr<ring::SharedBuffer> buffer;
  submit_large(pool, *worker, buffer, 'x', kBig);
  EXPECT_EQ(pool.next_answer(*worker).value().text, std::to_string(kBig) + "xx");
  submit_large(pool, *worker, buffer, 'y', kBig - 1);
  EXPECT_EQ(pool.next_answer(*worker).value().text, std::to_string(kBig - 1) + "yy");
  ASSERT_TRUE(worker->channel->push_buffer_gone(kBuffer));
  worker->channel->commit_tasks();
  EXPECT_EQ(pool.run(*worker, "after").text, "after");
}

TEST(TaskLoopLarge, RaisesForAnItemWhoseArgumentWasLostOnTheWayAndAsksForItAgain) {
  FakePool pool(act);
  auto worker = pool.start_worker();
  send_buffer(*worker, kBig, {});
  submit_in_buffer(pool, *worker, kBig);
  const auto answer = pool.next_answer(*worker);
  ASSERT_TRUE(answer.has_value());
  EXPECT_EQ(answer->kind, ring::ResultKind::raised);
  EXPECT_NE(answer->text.find("lost"), std::string::npos) << answer->text;
  EXPECT_TRUE(answer->argument_kept);
  std::unique_ptr<ring::SharedBuffer> buffer;
  submit_large(pool, *worker, buffer, 'x', kBig);
  const auto next = pool.next_answer(*worker).value();
  EXPECT_EQ(next.text, std::to_string(kBig) + "xx");
  EXPECT_FALSE(next.argument_kept);
}

TEST(TaskLoopLarge, AnItemInTheBufferOfALostFunctionRaisesAndAsksForIt) {
  FakePool pool(act);
  auto worker = pool.start_worker();
  send_buffer(*worker, kBig, {});
  ASSERT_TRUE(worker->channel->push_function(2, in_buffer(kBig)));
  submit_in_buffer(pool, *worker, kBig);
  const auto answer = pool.next_answer(*worker).value();
  EXPECT_EQ(answer.kind, ring::ResultKind::raised);
  EXPECT_TRUE(answer.argument_kept);
  std::unique_ptr<ring::SharedBuffer> buffer;
  submit_large(pool, *worker, buffer, 'x', kBig);
  EXPECT_EQ(pool.next_answer(*worker).value().text, std::to_string(kBig) + "xx");
}

TEST(TaskLoopFork, ChildThatComesBackLeavesWithoutAnAnswer) {
  FakePool pool(act);
  auto worker = pool.start_worker();
  for (int round = 0; round < 20; ++round) {
    EXPECT_EQ(pool.run(*worker, "fork").text, "parent");
    EXPECT_EQ(pool.run(*worker, "next").text, "next");
  }
  EXPECT_FALSE(pool.next_answer(*worker, std::chrono::milliseconds(20)).has_value());
}

TEST(TaskLoopEnd, ClosedFinishesWhatIsCommittedThenExitsZero) {
  FakePool pool(act);
  auto worker = pool.start_worker();
  pool.submit(*worker, std::vector<std::string>(100, "x"));
  worker->channel->set_closed();
  for (int i = 0; i < 100; ++i) ASSERT_EQ(pool.next_answer(*worker).value().text, "x");
  EXPECT_EQ(pool.bury(*worker, 0).a, 0);
}

TEST_F(TaskLoopSignals, CancelledLeavesAfterTheRunningItem) {
  FakePool pool(act);
  auto worker = pool.start_worker();
  pool.submit(*worker, {"until signal", "never"});
  ASSERT_TRUE(eventually([&] { return worker->channel->load_chunk(0).value().next == 1; }));
  worker->channel->set_cancelled();
  ASSERT_TRUE(sys::pidfd_send_signal(worker->pidfd.get(), SIGUSR1).ok());
  EXPECT_EQ(pool.bury(*worker, 1).a, 0);
  EXPECT_EQ(worker->channel->load_chunk(0).value().next, 1U);
}

TEST(TaskLoopEnd, LeavingDeliversWhatIsDoneThroughAFullRing) {
  FakePool pool(act);
  auto worker = pool.start_worker();
  pool.submit(*worker, std::vector<std::string>(30, "30k"));
  // The ring takes eight of them: with the ninth begun the worker waits for room, or soon will.
  ASSERT_TRUE(eventually([&] { return worker->channel->load_chunk(0).value().next >= 9; }));
  worker->channel->set_leaving();
  const std::uint32_t begun = worker->channel->load_chunk(0).value().next;
  // It looks again now and then while nobody reads: it must not take the order for leave to drop what it has.
  EXPECT_FALSE(sys::pidfd_wait_exited(worker->pidfd.get(), std::chrono::milliseconds(500)));
  for (std::uint32_t i = 0; i < begun; ++i) {
    const auto answer = pool.next_answer(*worker);
    ASSERT_TRUE(answer.has_value()) << i;
    EXPECT_EQ(answer->item, i);
    EXPECT_EQ(answer->text.size(), 30'000U);
  }
  EXPECT_EQ(pool.bury(*worker, 1).a, 0);
  EXPECT_EQ(worker->channel->load_chunk(0).value().next, begun);
}

// Number of times the process has gone to sleep, from /proc.
long sleeps_of(int pid) {
  std::ifstream status("/proc/" + std::to_string(pid) + "/status");
  std::string word;
  long number = -1;
  while (status >> word) {
    if (word == "voluntary_ctxt_switches:") status >> number;
  }
  return number;
}

TEST(TaskLoopIdle, NeverWakesAfterItsFirstSecond) {
  FakePool pool(act);
  auto worker = pool.start_worker();
  EXPECT_EQ(pool.run(*worker, "x").text, "x");
  long before = sleeps_of(worker->pid);
  // The watchful second shows as one sleep each 50 ms; it is over when 200 ms bring none, and not for want of a processor.
  const bool quiet = eventually([&] {
    usleep(200'000);
    const bool asleep = sys::read_stat(worker->pid).value().state == 'S';
    const long now = sleeps_of(worker->pid);
    return std::exchange(before, now) == now && asleep;
  });
  EXPECT_TRUE(quiet);
  usleep(300'000);
  EXPECT_EQ(sleeps_of(worker->pid), before);
  EXPECT_EQ(pool.run(*worker, "still there").text, "still there");
}

TEST_F(TaskLoopSignals, AnIdleWorkerOutlivesAHandledSignal) {
  FakePool pool(act);
  auto worker = pool.start_worker();
  for (int i = 0; i < 50; ++i) {
    ASSERT_TRUE(sys::pidfd_send_signal(worker->pidfd.get(), SIGUSR1).ok());
    ASSERT_EQ(pool.run(*worker, "x").text, "x");
  }
}

}  // namespace
}  // namespace holdfast::worker::test
