// What: reading and parsing /proc. [procfs.hpp]
#include "sys/procfs.hpp"

#include <algorithm>
#include <charconv>
#include <memory>
#include <string>

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include "sys/text_file.hpp"

namespace holdfast::sys {

namespace {

constexpr std::uint64_t kKernelThreadFlag = 0x00200000;  // PF_KTHREAD, <linux/sched.h>

std::string proc_path(int pid, const char* name) { return "/proc/" + std::to_string(pid) + "/" + name; }

// Numbers in a directory's names: pids under /proc, tids under /proc/<pid>/task.
std::vector<int> numeric_names(const char* path) {
  std::vector<int> numbers;
  const std::unique_ptr<DIR, int (*)(DIR*)> directory(::opendir(path), ::closedir);
  if (!directory) return numbers;
  while (const dirent* entry = ::readdir(directory.get())) {
    const std::string_view name = entry->d_name;
    int number = 0;
    const auto parsed = std::from_chars(name.data(), name.data() + name.size(), number);
    if (parsed.ec == std::errc() && parsed.ptr == name.data() + name.size()) numbers.push_back(number);
  }
  return numbers;
}

// The numbers of `text` from `at` on, separated by blanks; words that are no numbers count as 0 and keep their place.
std::vector<std::int64_t> numbers_of(std::string_view text) {
  std::vector<std::int64_t> numbers;
  const char* at = text.data();
  const char* const end = at + text.size();
  while (at != end) {
    if (*at == ' ' || *at == '\n') {
      ++at;
      continue;
    }
    std::int64_t number = 0;
    (void)std::from_chars(at, end, number);  // a word that is no number stays 0
    numbers.push_back(number);
    at = std::find_if(at, end, [](char c) { return c == ' ' || c == '\n'; });
  }
  return numbers;
}

}  // namespace

Result<ProcStat> read_stat(int pid) {
  auto text = read_text(proc_path(pid, "stat"));
  if (!text.ok()) return std::move(text).error();
  // The name (field 2) stands in parentheses and may hold anything, also ") Z 1": what counts begins after the last one.
  const std::size_t name_end = text->rfind(") ");
  if (name_end == std::string::npos || name_end + 3 >= text->size()) {
    return Error{ErrorCode::os_error, 0, "procfs.read_stat", "unexpected format of " + proc_path(pid, "stat")};
  }
  ProcStat stat;
  stat.pid = pid;
  stat.state = (*text)[name_end + 2];
  const auto fields = numbers_of(std::string_view(*text).substr(name_end + 4));
  // fields[0] is field 4 of proc(5).
  const auto field = [&fields](std::size_t number) { return number - 4 < fields.size() ? fields[number - 4] : 0; };
  stat.ppid = static_cast<int>(field(4));
  stat.pgrp = static_cast<int>(field(5));
  stat.session = static_cast<int>(field(6));
  stat.kernel_thread = (static_cast<std::uint64_t>(field(9)) & kKernelThreadFlag) != 0;
  stat.utime_ticks = static_cast<std::uint64_t>(field(14));
  stat.stime_ticks = static_cast<std::uint64_t>(field(15));
  stat.threads = field(20);
  stat.start_ticks = static_cast<std::uint64_t>(field(22));
  stat.exit_code_raw = static_cast<int>(field(52));
  return stat;
}

std::vector<int> children_of(int pid) {
  std::vector<int> children;
  for (const int tid : numeric_names(proc_path(pid, "task").c_str())) {
    const auto text = read_text(proc_path(pid, ("task/" + std::to_string(tid) + "/children").c_str()));
    if (!text.ok()) continue;  // the thread has ended meanwhile: its children went to another thread or to the reaper
    for (const std::int64_t child : numbers_of(text.value())) children.push_back(static_cast<int>(child));
  }
  return children;
}

std::vector<int> descendants_of(int pid) {
  std::vector<int> found = children_of(pid);
  for (std::size_t i = 0; i < found.size(); ++i) {
    for (const int child : children_of(found[i])) {
      // A process seen twice (it moved to another parent during the walk) must not make the walk endless.
      if (std::find(found.begin(), found.end(), child) == found.end()) found.push_back(child);
    }
  }
  return found;
}

std::vector<int> all_pids() { return numeric_names("/proc"); }

bool maps_contain(int pid, std::string_view name) {
  const auto text = read_text(proc_path(pid, "maps"));
  return text.ok() && text->find(name) != std::string::npos;
}

bool catches_signal(int pid, int signal) {
  constexpr std::string_view kField =
      "\nSigCgt:\t";  // 16 hexadecimal digits; bit 0 is signal 1. A line's start: the name may hold anything else
  const auto text = read_text(proc_path(pid, "status"));
  const std::size_t at = text.ok() ? text->rfind(kField) : std::string::npos;
  if (at == std::string::npos || signal < 1 || signal > 64) return false;
  const char* digits = text->data() + at + kField.size();
  std::uint64_t caught = 0;
  (void)std::from_chars(digits, text->data() + text->size(), caught, 16);  // no digits: stays 0
  return ((caught >> (signal - 1)) & 1) != 0;
}

Result<std::int64_t> rss_bytes(int pid) {
  const auto text = read_text(proc_path(pid, "statm"));
  if (!text.ok()) return text.error();
  const auto fields = numbers_of(text.value());
  if (fields.size() < 2) return Error{ErrorCode::os_error, 0, "procfs.rss_bytes", "unexpected format of statm"};
  return fields[1] * ::sysconf(_SC_PAGESIZE);
}

MemoryReader MemoryReader::open(int pid) { return MemoryReader(UniqueFd(::open(proc_path(pid, "statm").c_str(), O_RDONLY | O_CLOEXEC))); }

std::optional<std::int64_t> MemoryReader::own_bytes() const {
  char text[128];
  const ssize_t got = file_ ? ::pread(file_.get(), text, sizeof text, 0) : -1;  // ESRCH: reaped
  if (got <= 0) return std::nullopt;
  const auto fields = numbers_of(std::string_view(text, static_cast<std::size_t>(got)));
  if (fields.size() < 3 || fields[0] == 0) return std::nullopt;  // a zombie's are all 0
  return (fields[1] - fields[2]) * ::sysconf(_SC_PAGESIZE);
}

double ticks_to_seconds(std::uint64_t ticks) { return static_cast<double>(ticks) / static_cast<double>(::sysconf(_SC_CLK_TCK)); }

Result<double> cpu_seconds(int pid) {
  const auto stat = read_stat(pid);
  if (!stat.ok()) return stat.error();
  return ticks_to_seconds(stat->utime_ticks + stat->stime_ticks);
}

}  // namespace holdfast::sys
