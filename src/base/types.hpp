// What: the identifiers and units that every layer shares. Values only.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>

namespace holdfast {

using Nanos = std::chrono::nanoseconds;
/// A point on CLOCK_MONOTONIC, as nanoseconds since its start. The pure core gets it as an argument.
using Time = std::chrono::nanoseconds;
inline constexpr Time kNever = Time::max();
/// `time` + `span`; kNever where that would be beyond the end of the clock (a wait of centuries).
constexpr Time after(Time time, Nanos span) { return span >= kNever - time ? kNever : time + span; }

using ByteSpan = std::span<const std::byte>;
using MutableByteSpan = std::span<std::byte>;

using JobId = std::uint64_t;       // what one user call submitted; unique in the pool's life, never 0
using WorkerId = std::uint32_t;    // one process; unique in the pool's life (a replacement gets a new one), never 0
using ChunkId = std::uint64_t;     // one sending of consecutive items to one worker; unique, never 0
using FunctionId = std::uint64_t;  // one pickled function, sent once per worker; never 0
using BufferId = std::uint64_t;    // one large shared buffer; unique in the pool's life, never 0
using ItemIndex = std::uint64_t;   // position of an item in its job, from 0

}  // namespace holdfast
