// What: the cgroups that hold this process, version 1 and 2, and what they count and limit: out-of-memory kills, free memory, processors.
// Thread-safe (values, and files that are only read). Callers: the supervisor (which death was the kernel's), the pool's size, bindings.
//
// The kernel's own words are os-mechanisms.md's, section 6. Paths: the own path in /proc/self/cgroup, less the root field of the mount in
// mountinfo (a container sees part of the tree); where that folder is not there, the mount itself.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "sys/fd.hpp"

namespace holdfast::sys {

struct CgroupPlace {
  int version = 0;                   // 1 or 2; 0: this controller is nowhere mounted
  std::vector<std::string> folders;  // the own cgroup's first, then its parents' up to the mount's
};

/// Where `controller` ("memory", "cpu") has this process. `proc_self`: the folder of `cgroup` and `mountinfo`; tests bring recorded ones.
CgroupPlace find_cgroup(std::string_view controller, const std::string& proc_self = "/proc/self");

/// How many processes the kernel has killed for lack of memory, of the cgroup that this process's memory is counted in; where that tells
/// nothing, of the whole machine. Keeps one descriptor, so that it can be read when there are no more to be had.
class OomCounter {
 public:
  enum class Source : std::uint8_t { none, cgroup, machine };
  OomCounter() = default;  // none
  static OomCounter open(const CgroupPlace& memory, const std::string& vmstat = "/proc/vmstat");

  Source source() const { return source_; }
  /// nullopt: there is no source, or it cannot be read any more (its cgroup was removed).
  std::optional<std::uint64_t> read() const;
  void close() { *this = OomCounter(); }

 private:
  OomCounter(Source source, UniqueFd file) : source_(source), file_(std::move(file)) {}
  Source source_ = Source::none;
  UniqueFd file_;
};

/// Processors that the quotas of `cpu` and of the cgroups above it allow: 1.5 = one and a half. nullopt: no quota.
std::optional<double> cpu_quota(const CgroupPlace& cpu);

/// The processors this process may use: its affinity, and no more than its quota, rounded up; at least 1.
std::uint32_t allowed_cpus();
/// The same from what is known of the two.
std::uint32_t allowed_cpus(std::uint32_t affinity, std::optional<double> quota);

}  // namespace holdfast::sys
