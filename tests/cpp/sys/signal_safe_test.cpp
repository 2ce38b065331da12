// Tests of sys/signal_safe.hpp: what is written where nobody may wait.
#include "sys/signal_safe.hpp"

#include <array>
#include <cerrno>
#include <csignal>
#include <string>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include "sys/fd.hpp"
#include "sys/memfd.hpp"

namespace holdfast::sys {
namespace {

constexpr std::size_t kSize = 16384;

struct Pipe {
  Pipe() {
    int ends[2] = {-1, -1};
    EXPECT_EQ(::pipe2(ends, O_CLOEXEC), 0);
    out.reset(ends[0]);
    in.reset(ends[1]);
  }
  UniqueFd out;
  UniqueFd in;
};

std::string read_some(int fd) {
  std::array<char, 64> bytes{};
  const ssize_t count = ::read(fd, bytes.data(), bytes.size());
  return {bytes.data(), count > 0 ? static_cast<std::size_t>(count) : 0};
}

TEST(SignalSafeFileIdentity, KnowsANumberThatIsAnotherFileNow) {
  UniqueFd first = std::move(create_memfd("holdfast-test", kSize)).value();
  const int number = first.get();
  const FileIdentity identity = file_identity(number).value();
  EXPECT_TRUE(is_file(number, identity));
  first.reset();
  EXPECT_FALSE(is_file(number, identity));
  const UniqueFd second = std::move(create_memfd("holdfast-test", kSize)).value();
  ASSERT_EQ(second.get(), number);
  EXPECT_FALSE(is_file(number, identity));
}

TEST(SignalSafeClearAndSeek, LeavesZerosAndWritesFromThereToTheEnd) {
  const UniqueFd fd = std::move(create_memfd("holdfast-test", kSize)).value();
  const std::string full(kSize, 'x');
  ASSERT_EQ(::write(fd.get(), full.data(), kSize), static_cast<ssize_t>(kSize));
  ASSERT_TRUE(clear_and_seek(fd.get(), kSize / 2, kSize / 2));
  const Mapping map = std::move(Mapping::map(fd.get(), kSize, Mapping::Mode::shared)).value();
  EXPECT_EQ(static_cast<char>(map.data()[kSize / 2 - 1]), 'x');
  EXPECT_EQ(static_cast<char>(map.data()[kSize / 2]), '\0');
  EXPECT_EQ(static_cast<char>(map.data()[kSize - 1]), '\0');
  ASSERT_EQ(::write(fd.get(), "ab", 2), 2);
  EXPECT_EQ(static_cast<char>(map.data()[kSize / 2 + 1]), 'b');
  EXPECT_LE(::write(fd.get(), full.data(), kSize), static_cast<ssize_t>(kSize / 2));  // the rest does not fit: the file does not grow
  EXPECT_EQ(file_size(fd.get()).value(), kSize);
}

TEST(SignalSafeWrite, WritesToAPipeAndLeavesItsFlags) {
  const Pipe pipe;
  write_without_waiting(pipe.in.get(), "hello");
  EXPECT_EQ(read_some(pipe.out.get()), "hello");
  EXPECT_EQ(::fcntl(pipe.in.get(), F_GETFL) & O_NONBLOCK, 0);
}

TEST(SignalSafeWrite, DoesNotWaitForRoomInAPipe) {
  const Pipe pipe;
  const std::string much(1 << 20, 'x');
  write_without_waiting(pipe.in.get(), much);  // returns: nobody reads
  EXPECT_EQ(read_some(pipe.out.get()), std::string(64, 'x'));
}

TEST(SignalSafeWrite, DoesNotWaitForRoomInASocket) {
  int ends[2] = {-1, -1};
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
  const UniqueFd in(ends[0]);
  const UniqueFd out(ends[1]);
  write_without_waiting(in.get(), std::string(4 << 20, 'x'));
  EXPECT_EQ(read_some(out.get()), std::string(64, 'x'));
}

TEST(SignalSafeWrite, AppendsToAFileWhereItStands) {
  const UniqueFd fd = std::move(create_memfd("holdfast-test", kSize)).value();
  ASSERT_EQ(::lseek(fd.get(), 4, SEEK_SET), 4);
  write_without_waiting(fd.get(), "text");
  std::array<char, 4> bytes{};
  ASSERT_EQ(::pread(fd.get(), bytes.data(), bytes.size(), 4), 4);
  EXPECT_EQ(std::string(bytes.data(), bytes.size()), "text");
}

TEST(SignalSafeWrite, DoesNothingOnAClosedDescriptorOrWithoutAReader) {
  write_without_waiting(-1, "x");
  send_without_waiting(-1, {});
  Pipe pipe;
  pipe.out.reset();
  sigset_t broken;
  sigset_t before;
  sigemptyset(&broken);
  sigaddset(&broken, SIGPIPE);
  ASSERT_EQ(pthread_sigmask(SIG_BLOCK, &broken, &before), 0);
  write_without_waiting(pipe.in.get(), "x");
  const timespec none{};
  (void)sigtimedwait(&broken, nullptr, &none);
  ASSERT_EQ(pthread_sigmask(SIG_SETMASK, &before, nullptr), 0);
}

}  // namespace
}  // namespace holdfast::sys
