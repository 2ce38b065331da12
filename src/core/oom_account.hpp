// What: which dead workers the kernel has killed for lack of memory, from the rises of its oom_kill counter. PURE; called by the supervisor at
// each end by a SIGKILL that the pool did not send, and with each look at the counter while items run.
//
// The evidence: the counter has risen before the dead process can be seen (os-mechanisms.md, section 6), by one for each process that was
// killed; but it counts every process of the cgroup (or, in /proc/vmstat, of the machine), and it names none. So:
//   1. A rise explains one death. Of more deaths than rises the one with the most memory goes first.
//   2. A rise that nobody has died of within kClaimWithin was somebody else's, as is one from the time when the pool did nothing: then the next
//      plain SIGKILL is not taken for the kernel's.
//   3. A death that the evidence does not explain is none of its own (killed_by_unknown): P11, never guessed.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <span>

#include "base/types.hpp"

namespace holdfast::core {

class OomAccount {
 public:
  /// From the kernel's kill to the end: its time goes into giving back the memory, a second for some 15 GB.
  static constexpr Nanos kClaimWithin = std::chrono::seconds(30);

  /// The counter's reading. nullopt: it could not be read; what is known stays.
  void look(std::optional<std::uint64_t> count, Time now);
  /// All rises up to here are others'. The first reading of all does the same.
  void write_off(std::optional<std::uint64_t> count);
  /// A worker has ended by SIGKILL, with `memory` bytes at its last reading (-1: none was made). `others`: the memory of those that have ended so,
  /// too, and have not been asked about. True: a rise is its, and is used up.
  bool claim(std::int64_t memory, std::span<const std::int64_t> others);

  std::size_t unclaimed() const { return rises_.size(); }

 private:
  std::optional<std::uint64_t> last_;
  std::deque<Time> rises_;  // when each was first seen
};

}  // namespace holdfast::core
