// What: what a process shows of where it comes from when its parent is gone: the files it has mapped (a forked descendant keeps its starter's
// mappings) and its environment (an exec'd one keeps that). Reading and parsing only; src/worker/lineage draws the conclusions. Thread-safe.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"

namespace holdfast::sys {

/// One file for as long as somebody holds it. Names of memfds are free to repeat; this is not.
struct FileId {
  std::uint64_t device = 0;
  std::uint64_t inode = 0;
  friend bool operator==(const FileId&, const FileId&) = default;
};
Result<FileId> file_id(int fd);

/// Maps one page of `fd` at `offset` (a multiple of 64 KiB; it may lie behind the file's end), for this process's life: nobody can read or
/// write it, it is there to be seen in /proc/<pid>/maps: of this process and of all that it forks, or of this one alone.
enum class Inherited : bool { no, yes };
Status map_mark(int fd, std::uint64_t offset, Inherited inherited);

/// /proc/<pid>/maps and /proc/<pid>/environ (of its last exec). Empty: it is gone or a zombie, has none (a kernel's thread), or is not ours to read.
/// environ is also empty in the middle of an exec, when the new program's memory is there and its arguments are not yet.
std::string read_maps(int pid);
std::string read_environ(int pid);

/// The offsets of the mappings of `file` in the text of read_maps().
std::vector<std::uint64_t> mapped_offsets(std::string_view maps, const FileId& file);
/// The value of `name` in the text of read_environ().
std::optional<std::string_view> environ_value(std::string_view environ, std::string_view name);

}  // namespace holdfast::sys
