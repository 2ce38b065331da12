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

#include "sys/error.hpp"
#include "sys/fd.hpp"

namespace holdfast::sys {
namespace {

constexpr std::size_t kMarkBytes = 4096;  // rounded up to a page by the kernel

std::string read_proc_file(int pid, const char* file) {
  char path[64];
  (void)std::snprintf(path, sizeof path, "/proc/%d/%s", pid, file);  // fits: a pid has at most 10 digits
  std::string text;
  UniqueFd fd(open(path, O_RDONLY | O_CLOEXEC));
  if (!fd) return text;
  char block[16384];
  for (;;) {
    const ssize_t got = read(fd.get(), block, sizeof block);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return text;
    text.append(block, static_cast<std::size_t>(got));
  }
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

std::string read_maps(int pid) { return read_proc_file(pid, "maps"); }
std::string read_environ(int pid) { return read_proc_file(pid, "environ"); }

std::vector<std::uint64_t> mapped_offsets(std::string_view maps, const FileId& file) {
  // A line: "7f00-7f01 ---s 00010000 00:01 4711   /memfd:name (deleted)": offset and device in hex, inode in decimal.
  char wanted[64];
  const int size = std::snprintf(wanted, sizeof wanted, " %02x:%02x %llu ", major(file.device), minor(file.device),
                                 static_cast<unsigned long long>(file.inode));
  const std::string_view device_and_inode(wanted, static_cast<std::size_t>(size));
  std::vector<std::uint64_t> offsets;
  for (std::size_t at = maps.find(device_and_inode); at != std::string_view::npos; at = maps.find(device_and_inode, at + 1)) {
    const std::size_t begin = maps.rfind(' ', at - 1) + 1;
    std::uint64_t offset = 0;
    const auto parsed = std::from_chars(maps.data() + begin, maps.data() + at, offset, 16);
    if (parsed.ec == std::errc() && parsed.ptr == maps.data() + at) offsets.push_back(offset);
  }
  return offsets;
}

std::optional<std::string_view> environ_value(std::string_view environ, std::string_view name) {
  for (std::size_t at = 0; at < environ.size();) {
    const std::size_t end = std::min(environ.find('\0', at), environ.size());
    const std::string_view entry = environ.substr(at, end - at);
    if (entry.size() > name.size() && entry.starts_with(name) && entry[name.size()] == '=') return entry.substr(name.size() + 1);
    at = end + 1;
  }
  return std::nullopt;
}

}  // namespace holdfast::sys
