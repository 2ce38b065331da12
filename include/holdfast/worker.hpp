// What: what runs in a worker of a C++ pool (public API).
#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <vector>

namespace holdfast {

using Bytes = std::vector<std::byte>;

/// Runs in a worker process, forked from the process that opened the pool: from an item's bytes to its result's bytes, one item at a time.
/// It may throw: the item's outcome is then `raised`, with the text of what(). It may die: the outcome is `died`, with an ExitReport.
using Handler = std::function<Bytes(std::span<const std::byte> item)>;

/// Runs in each worker before its first item. It may throw: the worker's start has failed, with the text of what().
using Initializer = std::function<void()>;

}  // namespace holdfast
