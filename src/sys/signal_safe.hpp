// What: writing from a signal handler: functions that take no lock, allocate nothing, never wait, and leave `errno` to the caller.
// Callers: worker/stack_report.cpp.
//
// A descriptor is only a number, and the program may have closed it and opened something else under it: hence FileIdentity.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/result.hpp"
#include "base/types.hpp"

namespace holdfast::sys {

struct FileIdentity {
  std::uint64_t device = 0;
  std::uint64_t inode = 0;
  friend bool operator==(const FileIdentity&, const FileIdentity&) = default;
};
Result<FileIdentity> file_identity(int fd);
/// Still that file.
bool is_file(int fd, const FileIdentity& identity);

/// [offset, offset + size) of a memfd reads as zeros from here on, and the next write() to it begins at `offset`. False: it cannot be.
bool clear_and_seek(int fd, std::size_t offset, std::size_t size);

/// As much of `text` as can be written at once; a full pipe, a stopped terminal or a reader that is gone gets less, or nothing. A pipe's or terminal's
/// flags, which other processes share, stay as they are. SIGPIPE must be blocked.
void write_without_waiting(int fd, std::string_view text);
/// One message to a socket, or nothing where there is no room.
void send_without_waiting(int fd, ByteSpan bytes);

}  // namespace holdfast::sys
