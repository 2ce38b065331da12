// What: what the pool believes of a worker's own word, in its result ring (fake_zygote.hpp: the test writes it in the worker's name).
#include <vector>

#include "pool/fake_zygote.hpp"
#include "ring/channel.hpp"

namespace holdfast::pool {
namespace {

class WorkerWord : public test::FakeZygote {
 protected:
  void SetUp() override {
    test::FakeZygote::SetUp();
    auto channel = ring::WorkerChannel::attach(ring_.get());
    ASSERT_TRUE(channel.ok());
    channel_ = *std::move(channel);
    enrol();
  }
  JobRef submit_single() const {
    JobRequest request;
    auto function = engine_->intern_function({});
    EXPECT_TRUE(function.ok());
    request.function = *function;
    const std::byte item{7};
    request.items.add({&item, 1});
    auto job = engine_->submit(std::move(request));
    EXPECT_TRUE(job.ok());
    return *job;
  }
  ring::TaskFrame next_item() const {
    for (;;) {
      auto frame = channel_->next_task();
      if (!frame.ok()) {
        ADD_FAILURE() << frame.error().message();
        return {};
      }
      if (*frame == nullptr) {
        (void)channel_->wait_for_tasks(std::chrono::milliseconds(20));
        continue;
      }
      const ring::TaskFrame found = **frame;
      channel_->release_task();
      if (found.type == ring::TaskFrameType::item) return found;
    }
  }
  void answer(const ring::TaskFrame& item) const {
    EXPECT_TRUE(channel_->claim(item.slot, item.item));
    say_done(item);
  }
  void say_done(const ring::TaskFrame& item) const {
    EXPECT_TRUE(channel_->push_result({.chunk = item.chunk, .item = item.item, .payload = {}}));
    channel_->commit_result();
  }
  void ring() const { EXPECT_TRUE(sys::send_pod(socket_.get(), ring::Message{.type = ring::MessageType::wake}).ok()); }

  std::unique_ptr<ring::WorkerChannel> channel_;
};

TEST_F(WorkerWord, IsBelievedInTheOrderOfTheTasks) {
  const JobRef first = submit_single();
  const JobRef second = submit_single();
  answer(next_item());
  answer(next_item());
  ring();
  EXPECT_EQ(engine_->wait_job(first, test::kPatience), Waited::ready);
  EXPECT_EQ(engine_->wait_job(second, test::kPatience), Waited::ready);
  end_worker(SIGKILL);
  say(exited(SIGKILL));
}

// Else the pool would have the result and give the item to another worker, too.
TEST_F(WorkerWord, IsNotBelievedOfALaterTaskBeforeAnEarlierOne) {
  const JobRef first = submit_single();
  const JobRef second = submit_single();
  (void)next_item();
  say_done(next_item());
  ring();
  EXPECT_EQ(ended_by(), SIGKILL);
  say(exited(SIGKILL));
  const ExitReport end = report();
  EXPECT_EQ(end.cause, Cause::protocol_error);
  EXPECT_EQ(end.detail, "results out of order");
  EXPECT_EQ(engine_->unsettled(*first), 1U);
  EXPECT_EQ(engine_->unsettled(*second), 1U);
}

// The same, and the worker is dead before the pool looks.
TEST_F(WorkerWord, IsNotBelievedAfterItsEndEither) {
  const JobRef first = submit_single();
  const JobRef second = submit_single();
  (void)next_item();
  say_done(next_item());
  end_worker(SIGKILL);
  say(exited(SIGKILL));
  (void)report();
  EXPECT_EQ(engine_->unsettled(*first), 1U);
  EXPECT_EQ(engine_->unsettled(*second), 1U);
}

}  // namespace
}  // namespace holdfast::pool
