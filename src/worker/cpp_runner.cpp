#include "worker/cpp_runner.hpp"
#include "sys/failpoint.hpp"

#include <cstdio>
#include <cstring>
#include <exception>

namespace holdfast::worker {

RunAnswer CppRunner::run(ItemCall& call) {
  try {
    result_ = handler_(call.payload);
  } catch (const std::exception& error) { return raised(error.what()); } catch (...) {
    return raised("an exception that is no std::exception");
  }
  RunAnswer answer;
  if (result_.size() > ring::kInlineLimit) {
    answer.large_size = result_.size();
  } else {
    answer.bytes = result_;
  }
  return answer;
}

RunAnswer CppRunner::raised(std::string_view text) {
  text = text.substr(0, ring::kInlineLimit);
  const auto bytes = std::as_bytes(std::span<const char>(text.data(), text.size()));
  result_.assign(bytes.begin(), bytes.end());
  RunAnswer answer;
  answer.kind = ring::ResultKind::raised;
  answer.bytes = result_;
  return answer;
}

RunAnswer CppRunner::failed(std::string_view why, int, bool) { return raised(why); }

// In two halves: between them stands the death of a worker whose buffer is half filled.
void CppRunner::write_large(std::byte* to) {
  const std::size_t half = result_.size() / 2;
  std::memcpy(to, result_.data(), half);
  HF_FAILPOINT(worker_buffer_half);
  std::memcpy(to + half, result_.data() + half, result_.size() - half);
}

void CppRunner::release() {
  // A large result's memory goes back at once; a small one's is kept for the next.
  if (result_.capacity() > 2 * ring::kInlineLimit) std::vector<std::byte>().swap(result_);
}

void CppRunner::flush_in_forked_child() { (void)std::fflush(nullptr); }  // a closed stdout is the task's own doing

}  // namespace holdfast::worker
