// What: see signal_safe.hpp.
#include "sys/signal_safe.hpp"

#include <cerrno>

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sys/error.hpp"

namespace holdfast::sys {

namespace {

// "/proc/self/fd/<fd>", without snprintf, which a signal handler may not call.
struct OwnPath {
  explicit OwnPath(int fd) {
    char* end = text + sizeof text;
    *--end = '\0';
    do {
      *--end = static_cast<char>('0' + fd % 10);
      fd /= 10;
    } while (fd != 0);
    constexpr std::string_view kFolder = "/proc/self/fd/";
    for (std::size_t i = kFolder.size(); i-- > 0;) *--end = kFolder[i];
    begin = end;
  }
  char text[32];
  const char* begin;
};

/// Until all is written, or nothing more can be.
template <class Step>
void write_all(std::string_view text, Step&& step) {
  while (!text.empty()) {
    const ssize_t written = step(text);
    if (written <= 0) return;
    text.remove_prefix(static_cast<std::size_t>(written));
  }
}

}  // namespace

Result<FileIdentity> file_identity(int fd) {
  struct stat info {};
  if (::fstat(fd, &info) != 0) return last_error("fstat");
  return FileIdentity{info.st_dev, info.st_ino};
}

bool is_file(int fd, const FileIdentity& identity) {
  struct stat info {};
  return ::fstat(fd, &info) == 0 && FileIdentity{info.st_dev, info.st_ino} == identity;
}

bool clear_and_seek(int fd, std::size_t offset, std::size_t size) {
  const auto from = static_cast<off_t>(offset);
  return ::fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, from, static_cast<off_t>(size)) == 0 &&
         ::lseek(fd, from, SEEK_SET) == from;
}

void write_without_waiting(int fd, std::string_view text) {
  struct stat info {};
  if (::fstat(fd, &info) != 0) return;
  const auto write_to = [](int to) { return [to](std::string_view rest) { return ::write(to, rest.data(), rest.size()); }; };
  if (S_ISSOCK(info.st_mode)) {
    write_all(text, [fd](std::string_view rest) { return ::send(fd, rest.data(), rest.size(), MSG_DONTWAIT | MSG_NOSIGNAL); });
  } else if (S_ISFIFO(info.st_mode) || S_ISCHR(info.st_mode)) {
    // Opened again: O_NONBLOCK on this descriptor would be everybody's who shares the open file. A pipe without a reader: ENXIO.
    const int own = ::open(OwnPath(fd).begin, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (own < 0) return;
    write_all(text, write_to(own));
    (void)::close(own);  // nothing was left to be written
  } else {
    write_all(text, write_to(fd));  // a file does not wait for anybody
  }
}

void send_without_waiting(int fd, ByteSpan bytes) {
  (void)::send(fd, bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);  // no room, nobody there: the receiver's own time limit
}

}  // namespace holdfast::sys
