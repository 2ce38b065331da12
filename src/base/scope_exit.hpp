// What: runs a function at the end of a scope, on every way out; release() calls it off. For clean-ups that no class owns.
#pragma once

#include <utility>

namespace holdfast {

template <class F>
class [[nodiscard]] ScopeExit {
 public:
  explicit ScopeExit(F function) : function_(std::move(function)) {}
  ~ScopeExit() {
    if (armed_) function_();
  }
  ScopeExit(const ScopeExit&) = delete;
  ScopeExit& operator=(const ScopeExit&) = delete;
  void release() { armed_ = false; }

 private:
  F function_;
  bool armed_ = true;
};

}  // namespace holdfast
