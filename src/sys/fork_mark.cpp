#include "sys/fork_mark.hpp"

#include <sys/mman.h>

#include "sys/error.hpp"

namespace holdfast::sys {
namespace {
constexpr std::size_t kPage = 4096;
}

Result<ForkMark> ForkMark::create() {
  void* page = mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (page == MAP_FAILED) return last_error("mmap", "the fork mark");
  if (madvise(page, kPage, MADV_WIPEONFORK) != 0) {
    Error error = last_error("madvise", "MADV_WIPEONFORK");
    (void)munmap(page, kPage);  // our own fresh mapping
    return error;
  }
  auto* mark = static_cast<volatile unsigned char*>(page);
  *mark = 1;
  return ForkMark(mark);
}

ForkMark::ForkMark(ForkMark&& other) noexcept : page_(other.page_) { other.page_ = nullptr; }

ForkMark::~ForkMark() {
  if (page_ != nullptr) (void)munmap(const_cast<unsigned char*>(page_), kPage);  // ours alone
}

}  // namespace holdfast::sys
