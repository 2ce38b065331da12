// What: what /proc tells about a process. A pid may be recycled between two reads unless the caller holds it (an unreaped child
// of the zygote, or itself): so callers pass pids they know to be held. Thread-safe. Callers: supervisor, zygote, watcher.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.hpp"
#include "sys/fd.hpp"

namespace holdfast::sys {

struct ProcStat {
  int pid = 0;
  char state = '?';  // R S D Z T t X: 'Z' = zombie, 'T' = stopped
  int ppid = 0;
  int pgrp = 0;
  int session = 0;
  bool kernel_thread = false;
  std::uint64_t utime_ticks = 0;  // sysconf(_SC_CLK_TCK) per second
  std::uint64_t stime_ticks = 0;
  std::int64_t threads = 0;
  std::uint64_t start_ticks = 0;  // since boot: pid + start_ticks is one process for ever
  int exit_code_raw = 0;          // field 52, a raw wait status; only valid in state Z, and 0 unless we may ptrace-read it
};
/// Errors: os_error with ENOENT or ESRCH: no such process (reaped).
Result<ProcStat> read_stat(int pid);

/// Children of all threads of `pid` (zombies too); empty when it is gone.
std::vector<int> children_of(int pid);
/// All that descend from `pid`, children before grandchildren, without `pid` itself. A snapshot: stop them first to be sure.
std::vector<int> descendants_of(int pid);
/// The processes on this machine that this user can see.
std::vector<int> all_pids();

/// A file name in `pid`'s mappings contains `name` ("/memfd:holdfast"). False when it cannot be read or is gone.
bool maps_contain(int pid, std::string_view name);

/// The process has a handler of its own for `signal`. False when it is gone.
bool catches_signal(int pid, int signal);

/// Resident memory, shared pages included; 0 for a zombie.
Result<std::int64_t> rss_bytes(int pid);
/// A process's own memory, read again and again by a descriptor that is kept: 3 to 6 us each time, and never another process's, whatever becomes
/// of the pid.
class MemoryReader {
 public:
  MemoryReader() = default;  // reads nothing
  static MemoryReader open(int pid);
  explicit operator bool() const { return static_cast<bool>(file_); }
  /// Resident bytes that it shares with no file and no memfd; pages that a fork has in common with its parent are in it. nullopt: it has ended.
  std::optional<std::int64_t> own_bytes() const;

 private:
  explicit MemoryReader(UniqueFd file) : file_(std::move(file)) {}
  UniqueFd file_;
};

/// The unit of ProcStat's times.
double ticks_to_seconds(std::uint64_t ticks);
/// CPU seconds (user + system) of the process so far.
Result<double> cpu_seconds(int pid);

}  // namespace holdfast::sys
