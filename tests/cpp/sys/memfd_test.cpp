// Tests of sys/memfd.hpp: seals and mapping modes.
#include "sys/memfd.hpp"

#include <cerrno>
#include <csignal>
#include <cstring>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include "support/child.hpp"
#include "sys/procfs.hpp"

namespace holdfast::sys {
namespace {

constexpr std::size_t kSize = 8192;

UniqueFd make_memfd() {
  auto made = create_memfd("holdfast-test", kSize);
  EXPECT_TRUE(made.ok());
  return std::move(made).value();
}

TEST(Memfd, HasItsSizeAndIsCloexec) {
  const auto fd = make_memfd();
  EXPECT_EQ(file_size(fd.get()).value(), kSize);
  EXPECT_NE(::fcntl(fd.get(), F_GETFD) & FD_CLOEXEC, 0);
}

TEST(Memfd, RefusesToShrinkAndToGrow) {
  const auto fd = make_memfd();
  EXPECT_TRUE(sealed_against_resize(fd.get()));
  EXPECT_NE(::ftruncate(fd.get(), 0), 0);
  EXPECT_EQ(errno, EPERM);
  EXPECT_NE(::ftruncate(fd.get(), 1 << 20), 0);
  EXPECT_EQ(file_size(fd.get()).value(), kSize);
}

TEST(Memfd, TakesFurtherSealsAfterItsCreation) {
  const auto fd = make_memfd();
  ASSERT_TRUE(add_seals(fd.get(), F_SEAL_SEAL).ok());
  EXPECT_EQ(get_seals(fd.get()).value(), unsigned{F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL});
  EXPECT_FALSE(add_seals(fd.get(), F_SEAL_WRITE).ok());
}

TEST(Memfd, AnUnsealedFileIsToldApart) {
  const UniqueFd plain(::memfd_create("holdfast-test", MFD_CLOEXEC));
  EXPECT_FALSE(sealed_against_resize(plain.get()));
}

TEST(SealFutureWrite, LeavesTheOldMappingAndRefusesANewWritableOne) {
  const auto fd = make_memfd();
  const auto old = Mapping::map(fd.get(), kSize, Mapping::Mode::shared);
  ASSERT_TRUE(old.ok());
  ASSERT_TRUE(seal_future_write(fd.get()).ok());
  old->data()[0] = std::byte{1};
  EXPECT_FALSE(Mapping::map(fd.get(), kSize, Mapping::Mode::shared).ok());
  const auto reader = Mapping::map(fd.get(), kSize, Mapping::Mode::private_copy);
  ASSERT_TRUE(reader.ok());
  EXPECT_EQ(reader->data()[0], std::byte{1});
  const char byte = 'x';
  EXPECT_LT(::pwrite(fd.get(), &byte, 1, 0), 0);
}

TEST(Mapping, SharedIsSeenByOthersAndPrivateIsNot) {
  const auto fd = make_memfd();
  const auto shared = Mapping::map(fd.get(), kSize, Mapping::Mode::shared);
  const auto reader = Mapping::map(fd.get(), kSize, Mapping::Mode::shared_read_only);
  const auto own = Mapping::map(fd.get(), kSize, Mapping::Mode::private_copy);
  ASSERT_TRUE(shared.ok() && reader.ok() && own.ok());
  shared->data()[10] = std::byte{1};
  EXPECT_EQ(reader->data()[10], std::byte{1});
  own->data()[10] = std::byte{2};
  EXPECT_EQ(reader->data()[10], std::byte{1});
  EXPECT_EQ(own->data()[10], std::byte{2});
}

TEST(Mapping, ReadOnlyCannotBeWritten) {
  const auto fd = make_memfd();
  test::Child child([&fd] {
    (void)::signal(SIGSEGV, SIG_DFL);  // not the sanitizer's handler
    const auto reader = Mapping::map(fd.get(), kSize, Mapping::Mode::shared_read_only);
    reader->data()[0] = std::byte{1};
    return 0;
  });
  const int status = child.reap();
  EXPECT_TRUE(WIFSIGNALED(status));
  EXPECT_EQ(WTERMSIG(status), SIGSEGV);
}

TEST(Mapping, RefusesMoreThanTheFileHas) {
  const auto fd = make_memfd();
  const auto refused = Mapping::map(fd.get(), kSize + 1, Mapping::Mode::shared);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, ErrorCode::invalid_argument);
  EXPECT_FALSE(Mapping::map(fd.get(), 0, Mapping::Mode::shared).ok());
}

TEST(Mapping, OutlivesTheDescriptorAndGoesWithItsObject) {
  auto fd = make_memfd();
  {
    auto mapped = Mapping::map(fd.get(), kSize, Mapping::Mode::shared);
    ASSERT_TRUE(mapped.ok());
    fd.reset();
    Mapping moved = std::move(mapped).value();
    moved.data()[0] = std::byte{3};
    EXPECT_TRUE(maps_contain(::getpid(), "/memfd:holdfast-test"));
  }
  EXPECT_FALSE(maps_contain(::getpid(), "/memfd:holdfast-test"));
}

TEST(SysMapping, AnonymousMemoryIsZeroPrivateAndWritable) {
  constexpr std::size_t kBytes = (std::size_t{5} << 20) + 123;
  auto memory = Mapping::anonymous(kBytes).value();
  ASSERT_EQ(memory.size(), kBytes);
  for (std::size_t at = 0; at < kBytes; at += 4096) ASSERT_EQ(memory.data()[at], std::byte{0});
  std::memset(memory.data(), 7, kBytes);
  EXPECT_EQ(memory.data()[kBytes - 1], std::byte{7});
  EXPECT_FALSE(Mapping::anonymous(0).ok());
  EXPECT_FALSE(Mapping::anonymous(std::size_t{1} << 60).ok());
}

}  // namespace
}  // namespace holdfast::sys
