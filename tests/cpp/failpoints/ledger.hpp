// What: what the programs of the failpoint tests put into items, what their handler does with them, and the page, shared with all workers, in
// which it notes what it did. The judge (judge.hpp) compares that with the outcomes.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "holdfast/holdfast.hpp"

namespace holdfast::failpoints {

inline constexpr std::size_t kMostItems = 512;
// A result ring has 256 KiB: with results of 30,000 bytes the ninth does not fit. One more run is the waker's own.
inline constexpr std::uint32_t kRunsThatFillARing = 10;

enum class Act : std::uint32_t {
  value,        // returns result_bytes of the item's pattern
  raise,        // throws
  die,          // the first run of it is killed by SIGKILL
  hang,         // the first run of it goes on until somebody ends it
  kill_zygote,  // SIGKILL to the zygote, then a value
  kill_parent,  // leaves a daemon behind, then SIGKILL to the pool's process
  kill_both,    // the same, and the zygote first
  stop_parent,  // SIGSTOP to the pool's process, then a value
  wake_parent,  // waits until no worker gets any further (a result ring is full), then SIGCONT to the pool's process
};

struct Item {
  std::uint32_t index = 0;  // in the ledger
  Act act = Act::value;
  std::uint32_t result_bytes = 16;
  std::uint32_t argument_bytes = 0;  // beyond this header
};

struct Ledger {
  struct Entry {
    std::atomic<std::uint32_t> begun;
    std::atomic<std::uint32_t> ended;
  };
  std::int32_t parent = 0;
  std::atomic<std::uint32_t> initialized;  // calls of the initializer
  std::atomic<std::uint32_t> runs;         // of any item
  std::array<Entry, kMostItems> items;

  static Ledger* create();  // in shared memory, for the life of the program
};

/// The bytes that belong to an item, as its argument or its result.
std::byte pattern(std::uint32_t index, std::size_t at);

Bytes encode(const Item& item);
/// The handler of all programs.
Bytes handle(Ledger& ledger, std::span<const std::byte> bytes);

}  // namespace holdfast::failpoints
