// What: a mark that tells this process from its forked children, however they were forked (fork, _Fork, raw clone): one page that the
// kernel wipes in every child (MADV_WIPEONFORK). Reading it costs one load. Callers: src/worker/task_loop.
#pragma once

#include "base/result.hpp"

namespace holdfast::sys {

class ForkMark {
 public:
  static Result<ForkMark> create();
  ForkMark(ForkMark&& other) noexcept;
  ForkMark& operator=(ForkMark&&) = delete;
  ~ForkMark();
  /// True in the process that called create(), false in each of its forked descendants.
  bool in_original() const { return *page_ != 0; }

 private:
  explicit ForkMark(volatile unsigned char* page) : page_(page) {}
  volatile unsigned char* page_;  // volatile: fork() is no barrier that the compiler knows of
};

}  // namespace holdfast::sys
