// What: finding and reading cgroups. [cgroup.hpp]
#include "sys/cgroup.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <utility>

#include <fcntl.h>
#include <sys/stat.h>

#include "sys/process.hpp"
#include "sys/text_file.hpp"

namespace holdfast::sys {
namespace {

/// The next piece of `text` up to `separator`, which is taken off it.
std::string_view take_until(std::string_view& text, char separator) {
  const std::size_t end = std::min(text.find(separator), text.size());
  const std::string_view piece = text.substr(0, end);
  text.remove_prefix(std::min(end + 1, text.size()));
  return piece;
}

bool has_word(std::string_view list, std::string_view word) {
  while (!list.empty()) {
    if (take_until(list, ',') == word) return true;
  }
  return false;
}

/// mountinfo writes blanks, tabs, newlines and backslashes as \040 and so on.
std::string unescape(std::string_view text) {
  std::string plain;
  for (std::size_t at = 0; at < text.size(); ++at) {
    unsigned int code = 0;
    const bool escaped = text[at] == '\\' && text.size() - at > 3 &&
                         std::from_chars(text.data() + at + 1, text.data() + at + 4, code, 8).ptr == text.data() + at + 4 && code < 256;
    plain += escaped ? static_cast<char>(code) : text[at];
    if (escaped) at += 3;
  }
  return plain;
}

struct Mount {
  std::string root;  // which part of the hierarchy is mounted
  std::string where;
};

/// The first mount of the hierarchy that has `controller` (version 1), or of version 2.
std::optional<Mount> find_mount(std::string_view mountinfo, std::string_view controller, int version) {
  while (!mountinfo.empty()) {
    // 36 35 98:0 /root /where options [optional fields] - type source super-options
    std::string_view line = take_until(mountinfo, '\n');
    std::array<std::string_view, 5> front;
    for (std::string_view& field : front) field = take_until(line, ' ');
    const std::size_t dash = line.find(" - ");
    if (dash == std::string_view::npos) continue;
    line.remove_prefix(dash + 3);
    const std::string_view type = take_until(line, ' ');
    (void)take_until(line, ' ');  // the source: any word
    if (version == 1 ? type == "cgroup" && has_word(line, controller) : type == "cgroup2")
      return Mount{unescape(front[3]), unescape(front[4])};
  }
  return std::nullopt;
}

/// The own path in the hierarchy of `controller`, or in that of version 2 ("0::/path").
std::optional<std::string_view> find_path(std::string_view cgroups, std::string_view controller, int version) {
  while (!cgroups.empty()) {
    std::string_view line = take_until(cgroups, '\n');
    const std::string_view number = take_until(line, ':');
    const std::string_view controllers = take_until(line, ':');
    if (version == 1 ? has_word(controllers, controller) : number == "0" && controllers.empty()) return line;
  }
  return std::nullopt;
}

bool is_folder(const std::string& path) {
  struct stat about = {};
  return ::stat(path.c_str(), &about) == 0 && S_ISDIR(about.st_mode);
}

std::vector<std::string> folders_of(const Mount& mount, std::string_view path) {
  const std::string_view root = mount.root == "/" ? std::string_view() : std::string_view(mount.root);
  const bool below = path.starts_with(root) && (path.size() == root.size() || path[root.size()] == '/');
  std::string folder = mount.where + std::string(below ? path.substr(root.size()) : std::string_view());
  while (folder.size() > mount.where.size() && folder.back() == '/') folder.pop_back();
  if (!is_folder(folder)) folder = mount.where;
  std::vector<std::string> folders{folder};
  while (folder.size() > mount.where.size()) {
    folder.resize(folder.rfind('/'));
    folders.push_back(folder);
  }
  return folders;
}

UniqueFd open_if_it_tells(const std::string& path, std::string_view key) {
  UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) return file;
  const auto text = read_text(file.get());
  return text && number_behind(*text, key) ? std::move(file) : UniqueFd();
}

constexpr std::string_view kOomKill = "oom_kill";

}  // namespace

CgroupPlace find_cgroup(std::string_view controller, const std::string& proc_self) {
  const auto cgroups = read_text(proc_self + "/cgroup");
  const auto mounts = read_text(proc_self + "/mountinfo");
  if (!cgroups || !mounts) return {};
  for (const int version : {1, 2}) {  // a controller is in one hierarchy: where version 1 has it, version 2 has not
    const auto path = find_path(*cgroups, controller, version);
    const auto mount = find_mount(*mounts, controller, version);
    if (path && mount) return {version, folders_of(*mount, *path)};
  }
  return {};
}

OomCounter OomCounter::open(const CgroupPlace& memory, const std::string& vmstat) {
  if (memory.version == 1) {
    if (auto file = open_if_it_tells(memory.folders.front() + "/memory.oom_control", kOomKill)) return {Source::cgroup, std::move(file)};
  }
  if (memory.version == 2) {
    // Where a cgroup has no memory controller of its own its memory is counted in the next one above that has. `local` is without what its
    // other descendants lose; kernels before 5.2 do not have it.
    for (const std::string& folder : memory.folders) {
      for (const char* name : {"/memory.events.local", "/memory.events"}) {
        if (auto file = open_if_it_tells(folder + name, kOomKill)) return {Source::cgroup, std::move(file)};
      }
    }
  }
  if (auto file = open_if_it_tells(vmstat, kOomKill)) return {Source::machine, std::move(file)};
  return {};
}

std::optional<std::uint64_t> OomCounter::read() const {
  if (!file_) return std::nullopt;
  const auto text = read_text(file_.get());
  const auto number = text ? number_behind(*text, kOomKill) : std::nullopt;
  if (!number) return std::nullopt;
  return static_cast<std::uint64_t>(*number);
}

std::optional<double> cpu_quota(const CgroupPlace& cpu) {
  std::optional<double> least;
  for (const std::string& folder : cpu.folders) {
    std::int64_t quota = 0;
    std::int64_t period = 0;
    const auto number = [](const std::string& text, std::int64_t& out) {
      return std::from_chars(text.data(), text.data() + text.size(), out);  // "max" and "-1": no quota
    };
    if (cpu.version == 2) {
      const auto text = read_text(folder + "/cpu.max");  // "150000 100000"
      if (!text || number(*text, quota).ec != std::errc()) continue;
      const std::size_t blank = text->find(' ');
      if (blank == std::string::npos || number(text->substr(blank + 1), period).ec != std::errc()) continue;
    } else {
      const auto quota_text = read_text(folder + "/cpu.cfs_quota_us");
      const auto period_text = read_text(folder + "/cpu.cfs_period_us");
      if (!quota_text || !period_text) continue;
      if (number(*quota_text, quota).ec != std::errc() || number(*period_text, period).ec != std::errc()) continue;
    }
    if (quota <= 0 || period <= 0) continue;
    const double share = static_cast<double>(quota) / static_cast<double>(period);
    if (!least || share < *least) least = share;
  }
  return least;
}

std::uint32_t allowed_cpus(std::uint32_t affinity, std::optional<double> quota) {
  const double most = std::max(1.0, std::ceil(quota.value_or(affinity)));
  return most < affinity ? static_cast<std::uint32_t>(most) : affinity;
}

std::uint32_t allowed_cpus() { return allowed_cpus(usable_cpus(), cpu_quota(find_cgroup("cpu"))); }

}  // namespace holdfast::sys
