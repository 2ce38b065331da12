// What: how much memory can still be had, for a check before a very large allocation (touching a memfd beyond it is an OOM kill, never
// an error one could catch). Callers: src/ring/buffer. Thread-safe.
#pragma once

#include <cstdint>

#include "base/result.hpp"

namespace holdfast::sys {

/// MemAvailable + SwapFree of /proc/meminfo, in bytes. Limits of cgroups are not in it. About 30 us.
Result<std::uint64_t> available_memory();

}  // namespace holdfast::sys
