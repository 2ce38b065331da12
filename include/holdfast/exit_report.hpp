// What: how one worker process ended, as data (public API). Filled by the supervisor, read by anyone; a plain value.
#pragma once

#include <cstdint>
#include <string>

namespace holdfast {

/// Why a worker ended, on evidence and never guessed. The same words in C++, Python, docs and tests.
enum class Cause : std::uint8_t {
  none,               // it has not ended
  exit_code,          // it called exit (also with 0 in the middle of a task)
  signal,             // a signal that a process brings on itself (SIGSEGV, SIGABRT, SIGBUS, SIGFPE, ...)
  oom_killed,         // SIGKILL, and the oom_kill count of its cgroup (or, where that has none, of the machine) rose
  memory_limit,       // the pool killed it: over memory_limit
  time_limit,         // the pool killed it: over task_timeout
  protocol_error,     // it wrote nonsense into shared memory, or exec'd something else; the pool killed it
  failed_start,       // it ended, or fell silent, before its initializer was done
  stopped_by_pool,    // terminate(), cancel(kill) or a recycle
  killed_by_unknown,  // SIGKILL, SIGTERM and the like, not sent by the pool: somebody outside
  unknown_status,     // it is dead for certain, but somebody else took its exit status
};

/// "oom_killed" and so on: the enumerator's own name.
const char* to_string(Cause cause);

struct ExitReport {
  Cause cause = Cause::none;
  int pid = 0;
  bool has_exit_code = false;
  int exit_code = 0;  // valid with has_exit_code
  int signal = 0;     // 0 = not ended by a signal
  bool core_dumped = false;
  double runtime_s = 0;    // life of the process, start to end
  double cpu_user_s = -1;  // -1 = not known (status taken by another reaper)
  double cpu_system_s = -1;
  std::int64_t peak_rss_bytes = -1;     // -1 = not known; ru_maxrss, which counts what a fork inherited
  std::int64_t peak_memory_bytes = -1;  // -1 = not read; the highest of ten readings a second of what it had beyond its memory at birth
  std::uint64_t items_run = 0;          // items this worker had finished
  std::uint32_t attempts = 0;           // attempts of the lost item so far, this one included; 0 = no item was lost
  bool lost_item = false;               // it was running an item
  std::uint64_t job = 0;                // valid with lost_item
  std::uint64_t item = 0;               // position in the job, valid with lost_item
  std::int64_t news_ns = -1;            // from the first evidence seen by the supervisor to the settling, for P3
  // Where the program was when it crashed, or when its time was over (Python workers); "no stack: why" where that could not be had. Empty: not
  // that kind of end. The worker's own word: at most 64 KiB, any bytes.
  std::string traceback;
  std::string detail;  // extra evidence for a person: what was malformed, which limit, the initializer's error text
};

/// One English sentence: "worker 4121 was killed by SIGKILL (sender unknown) while running item 17".
std::string describe(const ExitReport& report);

}  // namespace holdfast
