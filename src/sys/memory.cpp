// What: reads /proc/meminfo. [memory.hpp]
#include "sys/memory.hpp"

#include <cstdlib>
#include <string>
#include <string_view>

#include <fcntl.h>
#include <unistd.h>

#include "sys/error.hpp"
#include "sys/fd.hpp"

namespace holdfast::sys {
namespace {

/// The number of kB behind `key` at a line's start, or nothing.
bool read_kib(std::string_view text, std::string_view key, std::uint64_t& out) {
  const std::size_t at = text.find(key);
  if (at == std::string_view::npos) return false;
  // `text` ends with a NUL behind its last byte (the caller's buffer), so strtoull stops.
  out = std::strtoull(text.data() + at + key.size(), nullptr, 10);
  return true;
}

}  // namespace

Result<std::uint64_t> available_memory() {
  const UniqueFd fd(::open("/proc/meminfo", O_RDONLY | O_CLOEXEC));
  if (!fd) return last_error("open", "/proc/meminfo");
  char text[4096];
  const ssize_t got = ::read(fd.get(), text, sizeof text - 1);  // one read gives all of what we look for: it is at the top
  if (got < 0) return last_error("read", "/proc/meminfo");
  text[got] = '\0';
  const std::string_view view(text, static_cast<std::size_t>(got));
  std::uint64_t available = 0;
  std::uint64_t swap = 0;
  if (!read_kib(view, "MemAvailable:", available)) return Error{ErrorCode::unsupported, 0, "meminfo", "no MemAvailable in /proc/meminfo"};
  (void)read_kib(view, "SwapFree:", swap);  // a kernel without swap has no such line
  return (available + swap) * 1024;
}

}  // namespace holdfast::sys
