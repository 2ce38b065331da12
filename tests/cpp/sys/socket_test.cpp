// Tests of sys/socket.hpp and sys/fd.hpp.
#include "sys/socket.hpp"

#include <array>
#include <cerrno>
#include <csignal>
#include <string>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include "support/child.hpp"
#include "sys/memfd.hpp"
#include "sys/signals.hpp"

namespace holdfast::sys {
namespace {

SocketPair make_pair() {
  auto made = socketpair_seqpacket();
  EXPECT_TRUE(made.ok());
  return std::move(made).value();
}

ByteSpan bytes_of(const std::string& text) { return std::as_bytes(std::span(text)); }

bool is_open(int fd) { return ::fcntl(fd, F_GETFD) >= 0; }

TEST(UniqueFd, ClosesOnceAndMoves) {
  UniqueFd first(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  const int number = first.get();
  ASSERT_TRUE(is_open(number));
  UniqueFd second(std::move(first));
  EXPECT_TRUE(is_open(number));
  second.reset();
  EXPECT_FALSE(is_open(number));
}

TEST(Duplicate, IsCloexec) {
  const auto pair = make_pair();
  const auto copy = duplicate(pair.a.get());
  ASSERT_TRUE(copy.ok());
  EXPECT_NE(::fcntl(copy->get(), F_GETFD) & FD_CLOEXEC, 0);
  EXPECT_FALSE(duplicate(-1).ok());
}

TEST(SetFlags, SwitchesNonblockingAndCloexecBothWays) {
  const auto pair = make_pair();
  const int fd = pair.a.get();
  ASSERT_TRUE(set_nonblocking(fd, true).ok());
  EXPECT_NE(::fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
  ASSERT_TRUE(set_nonblocking(fd, false).ok());
  EXPECT_EQ(::fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
  ASSERT_TRUE(set_cloexec(fd, false).ok());
  EXPECT_EQ(::fcntl(fd, F_GETFD) & FD_CLOEXEC, 0);
}

TEST(SocketPair, KeepsMessagesApart) {
  const auto pair = make_pair();
  ASSERT_TRUE(send_message(pair.a.get(), bytes_of("one")).ok());
  ASSERT_TRUE(send_message(pair.a.get(), bytes_of("three")).ok());
  std::array<std::byte, 64> room{};
  EXPECT_EQ(receive_message(pair.b.get(), room)->size, 3U);
  EXPECT_EQ(receive_message(pair.b.get(), room)->size, 5U);
}

TEST(ReceiveMessage, SaysWouldBlockWithoutWaiting) {
  const auto pair = make_pair();
  std::array<std::byte, 8> room{};
  const auto got = receive_message(pair.b.get(), room, /*dont_wait=*/true);
  ASSERT_FALSE(got.ok());
  EXPECT_EQ(got.error().code, ErrorCode::timed_out);
  EXPECT_EQ(got.error().err_no, EAGAIN);
}

TEST(ReceiveMessage, SaysEofWhenThePeerHasClosed) {
  auto pair = make_pair();
  pair.a.reset();
  std::array<std::byte, 8> room{};
  const auto got = receive_message(pair.b.get(), room);
  ASSERT_TRUE(got.ok());
  EXPECT_TRUE(got->eof);
}

TEST(ReceiveMessage, TellsATruncatedMessage) {
  const auto pair = make_pair();
  ASSERT_TRUE(send_message(pair.a.get(), bytes_of("0123456789")).ok());
  std::array<std::byte, 4> room{};
  const auto got = receive_message(pair.b.get(), room);
  ASSERT_TRUE(got.ok());
  EXPECT_TRUE(got->truncated);
  EXPECT_FALSE(got->eof);
}

TEST(SendMessage, ToAClosedPeerIsAnErrorAndNoSigpipe) {
  auto pair = make_pair();
  pair.b.reset();
  const auto sent = send_message(pair.a.get(), bytes_of("x"));
  ASSERT_FALSE(sent.ok());
  EXPECT_EQ(sent.error().code, ErrorCode::closed);
}

TEST(SendMessage, WithoutRoomSaysTimedOutWhenToldNotToWait) {
  const auto pair = make_pair();
  const std::string big(1000, 'x');
  Status sent = ok_status();
  for (int i = 0; i < 100'000 && sent.ok(); ++i) sent = send_message(pair.a.get(), bytes_of(big), {}, /*dont_wait=*/true);
  ASSERT_FALSE(sent.ok());
  EXPECT_EQ(sent.error().code, ErrorCode::timed_out);
}

TEST(SendMessage, CarriesDescriptorsToAnotherProcess) {
  const auto pair = make_pair();
  test::Child child([&pair] {
    auto memfd = create_memfd("holdfast-test", 4096);
    if (!memfd.ok()) return 1;
    auto mapped = Mapping::map(memfd->get(), 4096, Mapping::Mode::shared);
    if (!mapped.ok()) return 2;
    mapped->data()[7] = std::byte{42};
    const int fds[] = {memfd->get(), STDIN_FILENO};
    return send_message(pair.b.get(), bytes_of("here"), fds).ok() ? 0 : 3;
  });
  ASSERT_TRUE(child.wait_exited());  // the descriptors outlive their sender while they are under way
  EXPECT_EQ(child.reap(), 0);
  std::array<std::byte, 64> room{};
  const auto got = receive_message(pair.a.get(), room);
  ASSERT_TRUE(got.ok());
  ASSERT_EQ(got->fds.size(), 2U);
  EXPECT_FALSE(got->truncated_fds);
  EXPECT_NE(::fcntl(got->fds[0].get(), F_GETFD) & FD_CLOEXEC, 0);
  const auto mapped = Mapping::map(got->fds[0].get(), 4096, Mapping::Mode::shared_read_only);
  ASSERT_TRUE(mapped.ok());
  EXPECT_EQ(mapped->data()[7], std::byte{42});
}

TEST(ReceiveMessage, TellsWhenDescriptorsWereLostForLackOfRoom) {
  const auto pair = make_pair();
  test::Child child([&pair] {
    const int fds[] = {STDIN_FILENO, STDOUT_FILENO};
    if (!send_message(pair.a.get(), bytes_of("x"), fds).ok()) return 1;
    // No descriptor number is free: every one below the highest open one is taken, and the limit is right above it.
    int highest = 0;
    for (int fd = 0; fd >= 0; fd = ::dup(0)) highest = std::max(highest, fd);
    const rlimit limit{static_cast<rlim_t>(highest) + 1, static_cast<rlim_t>(highest) + 1};
    if (::setrlimit(RLIMIT_NOFILE, &limit) != 0) return 2;
    std::array<std::byte, 8> room{};
    const auto got = receive_message(pair.b.get(), room);
    if (!got.ok()) return 3;
    return got->truncated_fds && got->size == 1 ? 0 : 4;
  });
  EXPECT_EQ(child.reap(), 0);
}

TEST(ReceivePod, RefusesAMessageOfAnotherSize) {
  struct Pod {
    std::int64_t a;
    std::int64_t b;
  };
  const auto pair = make_pair();
  ASSERT_TRUE(send_pod(pair.a.get(), Pod{1, 2}).ok());
  Pod got{};
  ASSERT_TRUE(receive_pod(pair.b.get(), got).ok());
  EXPECT_EQ(got.b, 2);
  for (const std::size_t size : {std::size_t{3}, sizeof(Pod) + 1}) {
    ASSERT_TRUE(send_message(pair.a.get(), bytes_of(std::string(size, 'x'))).ok());
    const auto refused = receive_pod(pair.b.get(), got);
    ASSERT_FALSE(refused.ok());
    EXPECT_EQ(refused.error().code, ErrorCode::protocol_error);
  }
  EXPECT_EQ(got.a, 1);
}

TEST(SendMessage, RefusesMoreDescriptorsThanItMayCarry) {
  const auto pair = make_pair();
  const std::vector<int> fds(kMaxFdsPerMessage + 1, STDIN_FILENO);
  const auto sent = send_message(pair.a.get(), bytes_of("x"), fds);
  ASSERT_FALSE(sent.ok());
  EXPECT_EQ(sent.error().code, ErrorCode::invalid_argument);
}

}  // namespace
}  // namespace holdfast::sys
