// What: reading small text files. [text_file.hpp]
#include "sys/text_file.hpp"

#include <cerrno>
#include <charconv>

#include <fcntl.h>
#include <unistd.h>

#include "sys/error.hpp"
#include "sys/fd.hpp"

namespace holdfast::sys {

Result<std::string> read_text(const std::string& path) {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return last_error("open", path);
  auto text = read_text(fd.get());
  if (!text) return last_error("read", path);
  return text;
}

Result<std::string> read_text(int fd) {
  std::string text;
  char part[4096];
  for (;;) {
    const ssize_t got = ::pread(fd, part, sizeof part, static_cast<off_t>(text.size()));
    if (got > 0) {
      text.append(part, static_cast<std::size_t>(got));
    } else if (got == 0) {
      return text;
    } else if (errno != EINTR) {
      return last_error("read");
    }
  }
}

std::optional<std::int64_t> number_behind(std::string_view text, std::string_view key) {
  for (std::size_t at = text.find(key); at != std::string_view::npos; at = text.find(key, at + 1)) {
    if (at != 0 && text[at - 1] != '\n') continue;
    const std::size_t digits = text.find_first_not_of(' ', at + key.size());
    if (digits == std::string_view::npos || (digits == at + key.size() && key.back() != ':')) continue;  // a longer name
    std::int64_t number = 0;
    const auto parsed = std::from_chars(text.data() + digits, text.data() + text.size(), number);
    if (parsed.ec == std::errc()) return number;
  }
  return std::nullopt;
}

}  // namespace holdfast::sys
