// What: how a failed HF_CHECK ends the process. [check.hpp]
#include "base/check.hpp"

#include <cstdio>
#include <cstdlib>

#include <unistd.h>

namespace holdfast {

void check_failed(const char* text, const char* file, int line) noexcept {
  // On the stack and by one write(): the heap may be what is broken, and stdio's lock may be held.
  char buffer[512];
  const int length = std::snprintf(buffer, sizeof buffer, "holdfast: check failed: %s (%s:%d)\n", text, file, line);
  const auto bytes = length < static_cast<int>(sizeof buffer) ? length : static_cast<int>(sizeof buffer) - 1;
  if (bytes > 0) (void)!::write(STDERR_FILENO, buffer, static_cast<std::size_t>(bytes));  // nowhere to report a failure to
  std::abort();
}

}  // namespace holdfast
