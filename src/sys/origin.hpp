// What: telling where a process comes from when its parent is gone: by a file it has mapped (a forked descendant keeps its
// starter's mappings) or by a variable in its environment (an exec'd one keeps that). Thread-safe. Callers: src/worker/tree.
#pragma once

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

/// `pid` has that file mapped. False when it cannot be read or is gone.
bool maps_file(int pid, const FileId& file);
/// The value of `name` in the environment that `pid` was exec'd with; empty when it has none, cannot be read or is gone.
std::string environ_value(int pid, std::string_view name);

}  // namespace holdfast::sys
