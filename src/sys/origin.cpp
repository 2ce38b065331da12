#include "sys/origin.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>
#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <optional>
#include <utility>

#include "sys/error.hpp"
#include "sys/fd.hpp"

namespace holdfast::sys {
namespace {

constexpr std::size_t kMarkBytes = 4096;  // rounded up to a page by the kernel

// The entries of a file in /proc, one after the other, through a buffer of fixed size: what is longer is cut.
class Entries {
 public:
  Entries(int pid, const char* file, char end) : end_(end) {
    char path[64];
    (void)std::snprintf(path, sizeof path, "/proc/%d/%s", pid, file);  // fits: a pid has at most 10 digits
    fd_ = UniqueFd(open(path, O_RDONLY | O_CLOEXEC));
    if (!fd_) note_failure();
  }

  std::optional<std::string_view> next() {
    for (;;) {
      const std::string_view rest(buffer_ + begin_, filled_ - begin_);
      any_ = any_ || !rest.empty();
      if (const std::size_t at = rest.find(end_); at != std::string_view::npos) {
        begin_ += at + 1;
        if (!std::exchange(cut_, false)) return rest.substr(0, at);
        continue;  // the rest of one that was cut
      }
      if (begin_ == 0 && filled_ == sizeof buffer_) {
        filled_ = 0;
        if (!std::exchange(cut_, true)) return std::string_view(buffer_, sizeof buffer_);
      } else if (!read_more()) {
        begin_ = filled_ = 0;
        return rest.empty() || cut_ ? std::nullopt : std::optional(rest);
      }
    }
  }
  /// After the last entry that was wanted.
  Readable readable() const { return failure_.value_or(any_ ? Readable::yes : Readable::nothing); }

 private:
  void note_failure() { failure_ = errno == EMFILE || errno == ENFILE || errno == ENOMEM ? Readable::nothing : Readable::no; }

  bool read_more() {
    std::copy(buffer_ + begin_, buffer_ + filled_, buffer_);
    filled_ -= begin_;
    begin_ = 0;
    if (!fd_) return false;
    ssize_t got = 0;
    do got = read(fd_.get(), buffer_ + filled_, sizeof buffer_ - filled_);
    while (got < 0 && errno == EINTR);
    if (got < 0) note_failure();
    if (got <= 0) return false;
    filled_ += static_cast<std::size_t>(got);
    return true;
  }

  const char end_;
  UniqueFd fd_;
  std::optional<Readable> failure_;
  bool any_ = false;
  bool cut_ = false;
  std::size_t begin_ = 0;
  std::size_t filled_ = 0;
  char buffer_[8192];
};

// The fields of a line, which are separated by spaces.
std::string_view next_field(std::string_view& line) {
  const std::size_t begin = std::min(line.find_first_not_of(' '), line.size());
  const std::size_t end = std::min(line.find(' ', begin), line.size());
  const std::string_view field = line.substr(begin, end - begin);
  line.remove_prefix(end);
  return field;
}

std::optional<std::uint64_t> number_of(std::string_view digits, int base) {
  std::uint64_t number = 0;
  const auto parsed = std::from_chars(digits.data(), digits.data() + digits.size(), number, base);
  if (parsed.ec != std::errc() || parsed.ptr != digits.data() + digits.size()) return std::nullopt;
  return number;
}

}  // namespace

Result<FileId> file_id(int fd) {
  struct stat info = {};
  if (fstat(fd, &info) != 0) return last_error("fstat");
  return FileId{static_cast<std::uint64_t>(info.st_dev), static_cast<std::uint64_t>(info.st_ino)};
}

Status map_mark(int fd, std::uint64_t offset, Inherited inherited) {
  void* const mark = ::mmap(nullptr, kMarkBytes, PROT_NONE, MAP_SHARED, fd, static_cast<off_t>(offset));
  if (mark == MAP_FAILED) return last_error("mmap", "a mark");
  if (inherited == Inherited::no && ::madvise(mark, kMarkBytes, MADV_DONTFORK) != 0) return last_error("madvise(MADV_DONTFORK)");
  return ok_status();
}

MappedOffsets mapped_offsets(int pid, const FileId& file) {
  // A line: "7f00-7f01 ---s 00010000 00:01 4711   /memfd:name (deleted)": offset and device in hex, inode in decimal.
  char device[32];
  (void)std::snprintf(device, sizeof device, "%02x:%02x", major(file.device), minor(file.device));
  MappedOffsets found;
  Entries lines(pid, "maps", '\n');
  for (auto line = lines.next(); line && found.count < found.offsets.size(); line = lines.next()) {
    (void)next_field(*line);  // addresses
    (void)next_field(*line);  // permissions
    const auto offset = number_of(next_field(*line), 16);
    if (!offset || *offset == 0 || next_field(*line) != device || number_of(next_field(*line), 10) != file.inode) continue;
    found.offsets[found.count++] = *offset;
  }
  found.readable = lines.readable();
  return found;
}

EnvironValue environ_value(int pid, std::string_view name) {
  EnvironValue found;
  Entries entries(pid, "environ", '\0');
  for (auto entry = entries.next(); entry && !found.found; entry = entries.next()) {
    found.found = entry->size() > name.size() && entry->starts_with(name) && (*entry)[name.size()] == '=';
    if (found.found) found.value = entry->substr(name.size() + 1);
  }
  found.readable = entries.readable();
  return found;
}

}  // namespace holdfast::sys
