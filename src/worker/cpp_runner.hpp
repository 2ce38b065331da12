// What: the runner of C++ pools: one handler, from an item's bytes to its result's bytes. An exception out of it is a `raised` result
// whose payload is the text of what().
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "worker/runner.hpp"

namespace holdfast::worker {

/// Called in the worker, one item at a time. May throw: the item's outcome is then raised.
using Handler = std::function<std::vector<std::byte>(ByteSpan item)>;

class CppRunner : public Runner {
 public:
  explicit CppRunner(Handler handler) : handler_(std::move(handler)) {}

  void add_function(FunctionId, ByteSpan) override {}  // a C++ pool has one function: the handler it was forked with
  void forget_function(FunctionId) override {}
  RunAnswer run(ItemCall& call) override;
  RunAnswer failed(std::string_view why, int err_no, bool result_phase) override;
  void write_large(std::byte* to) override;
  void release_arguments() override {}  // a handler keeps no views
  void release() override;
  void prepare() override {}                          // nothing is loaded late
  IdleAnswer check_signals() override { return {}; }  // C++ handlers run at once, in the kernel's way
  void wait_begin() override {}
  void wait_end() override {}
  void flush_in_forked_child() override;

 private:
  RunAnswer raised(std::string_view text);
  Handler handler_;
  std::vector<std::byte> result_;
};

}  // namespace holdfast::worker
