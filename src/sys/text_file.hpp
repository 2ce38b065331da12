// What: small text files of /proc and of cgroups, read whole. Thread-safe. Callers: procfs, cgroup.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.hpp"

namespace holdfast::sys {

/// The whole file: the kernel's have no size beforehand, and one short read is not the end of maps or environ.
Result<std::string> read_text(const std::string& path);
/// The same for an open file, from its beginning (the kernel makes a fresh text for each such read).
Result<std::string> read_text(int fd);

/// The number behind `key` where it begins a line ("oom_kill 3", "MemAvailable:  12 kB"); nullopt: there is none.
std::optional<std::int64_t> number_behind(std::string_view text, std::string_view key);

}  // namespace holdfast::sys
