// What: news of ended children through a descriptor, and reaping one by pid.
#include "sys/children.hpp"

#include <gtest/gtest.h>
#include <poll.h>
#include <unistd.h>

#include "sys/signals.hpp"

namespace holdfast::sys {
namespace {

bool readable(int fd, int timeout_ms) {
  pollfd entry{fd, POLLIN, 0};
  return poll(&entry, 1, timeout_ms) == 1;
}

TEST(ChildSignal, IsReadableOnceAChildHasEndedAndUntilItIsDrained) {
  const BlockAllSignals blocked;
  auto signal = ChildSignal::create();
  ASSERT_TRUE(signal.ok());
  EXPECT_FALSE(readable(signal->fd(), 0));
  const int child = fork();
  if (child == 0) _exit(0);
  signal->wait(std::chrono::seconds(10));
  EXPECT_TRUE(readable(signal->fd(), 0));
  EXPECT_EQ(reap_child(child), Reaped::yes);
  signal->drain();
  EXPECT_FALSE(readable(signal->fd(), 0));
}

TEST(ReapChild, SaysAliveAndNoChild) {
  int line[2];
  ASSERT_EQ(pipe(line), 0);
  const int child = fork();
  if (child == 0) {
    close(line[1]);
    char byte;
    _exit(static_cast<int>(read(line[0], &byte, 1)));  // 0 at the end of file
  }
  EXPECT_EQ(reap_child(child), Reaped::still_alive);
  close(line[1]);
  close(line[0]);
  while (reap_child(child) == Reaped::still_alive) usleep(1000);
  EXPECT_EQ(reap_child(child), Reaped::no_child);
}

}  // namespace
}  // namespace holdfast::sys
