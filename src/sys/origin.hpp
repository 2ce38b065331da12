// What: what a process shows of where it comes from when its parent is gone: the files it has mapped (a forked descendant keeps its starter's
// mappings) and its environment (an exec'd one keeps that). Reading and parsing only; src/worker/lineage draws the conclusions. Thread-safe.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

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

/// What could be read of a process. Neither reading needs memory of its own, however much there is to read.
enum class Readable {
  no,       // it is gone, or not ours to read (another user's, or not dumpable)
  nothing,  // a zombie, a kernel thread; or in the middle of an exec: the old memory has gone, or the new program's arguments are not there yet;
            // or this process has no descriptor or memory left to look
  yes,
};
struct MappedOffsets {
  Readable readable = Readable::no;
  std::array<std::uint64_t, 4> offsets = {};  // of the first mappings of the file at offsets other than 0
  std::size_t count = 0;
};
/// From /proc/<pid>/maps. Waits for the process's memory lock: for long if a thread of it holds that.
MappedOffsets mapped_offsets(int pid, const FileId& file);

struct EnvironValue {
  Readable readable = Readable::no;
  bool found = false;
  std::string value;  // cut at 8 KiB
};
/// From /proc/<pid>/environ: as it was at the process's last exec, or as it has overwritten it.
EnvironValue environ_value(int pid, std::string_view name);

}  // namespace holdfast::sys
