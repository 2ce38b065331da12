#include "sys/origin.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>
#include <algorithm>
#include <cerrno>
#include <cstdio>

#include "sys/error.hpp"
#include "sys/fd.hpp"

namespace holdfast::sys {
namespace {

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

bool maps_file(int pid, const FileId& file) {
  // A line of maps: "7f00-7f01 rw-s 00000000 00:01 4711   /memfd:name (deleted)": device in hex, inode in decimal.
  char wanted[64];
  (void)std::snprintf(wanted, sizeof wanted, " %02x:%02x %llu ", major(file.device), minor(file.device),
                      static_cast<unsigned long long>(file.inode));
  return read_proc_file(pid, "maps").find(wanted) != std::string::npos;
}

std::string environ_value(int pid, std::string_view name) {
  const std::string all = read_proc_file(pid, "environ");
  std::size_t at = 0;
  while (at < all.size()) {
    const std::size_t end = std::min(all.find('\0', at), all.size());
    const std::string_view entry = std::string_view(all).substr(at, end - at);
    if (entry.size() > name.size() && entry.starts_with(name) && entry[name.size()] == '=') {
      return std::string(entry.substr(name.size() + 1));
    }
    at = end + 1;
  }
  return {};
}

}  // namespace holdfast::sys
