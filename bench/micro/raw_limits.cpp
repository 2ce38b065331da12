// What: the machine's own limits that the report sets the pools against, without a line of ours in the way. One limit per call:
//   raw_limits pingpong ROUNDS    two processes wake each other by a futex in shared memory: microseconds there and back, median
//   raw_limits memcpy MIB TIMES   private memory into an already mapped shared segment: GB/s, best of TIMES
//   raw_limits fork TIMES         fork, the child's _exit, waitpid: microseconds, median
// Prints one number. Called by bench/workloads/limits.py, which also compiles it. Exit code 1: a system call failed.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <vector>

#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

namespace {

using Clock = std::chrono::steady_clock;

[[noreturn]] void fail(const char* what) {
  std::perror(what);
  std::_Exit(1);
}

double us_since(Clock::time_point began) { return std::chrono::duration<double, std::micro>(Clock::now() - began).count(); }

double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2), values.end());
  return values[values.size() / 2];
}

void* shared(std::size_t bytes) {
  void* const memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) fail("mmap");
  return memory;
}

/// One word per direction, on a cache line of its own; it counts the rounds.
struct Table {
  alignas(64) std::atomic<std::uint32_t> ping{0};
  alignas(64) std::atomic<std::uint32_t> pong{0};
};

// Not FUTEX_PRIVATE_FLAG: the other side is another process. Release pairs with the acquire in await(): as a pool's record would need it.
void post(std::atomic<std::uint32_t>& word, std::uint32_t value) {
  word.store(value, std::memory_order_release);
  if (syscall(SYS_futex, &word, FUTEX_WAKE, 1, nullptr, nullptr, 0) < 0) fail("futex wake");
}

void await(std::atomic<std::uint32_t>& word, std::uint32_t value) {
  for (std::uint32_t seen; (seen = word.load(std::memory_order_acquire)) != value;) {
    // EAGAIN (changed before we slept) and EINTR: look again.
    (void)syscall(SYS_futex, &word, FUTEX_WAIT, seen, nullptr, nullptr, 0);
  }
}

double pingpong(std::uint32_t rounds) {
  constexpr std::uint32_t kWarm = 500;
  auto* const table = new (shared(sizeof(Table))) Table;
  const pid_t child = fork();
  if (child < 0) fail("fork");
  if (child == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (std::uint32_t round = 1; round <= rounds + kWarm; ++round) {
      await(table->ping, round);
      post(table->pong, round);
    }
    std::_Exit(0);
  }
  std::vector<double> times;
  for (std::uint32_t round = 1; round <= rounds + kWarm; ++round) {
    const auto began = Clock::now();
    post(table->ping, round);
    await(table->pong, round);
    if (round > kWarm) times.push_back(us_since(began));
  }
  if (waitpid(child, nullptr, 0) != child) fail("waitpid");
  return median(times);
}

double copy_speed(std::size_t mib, int times) {
  const std::size_t bytes = mib << 20;
  std::vector<char> from(bytes, 'x');
  char* const to = static_cast<char*>(shared(bytes));
  std::memset(to, 0, bytes);  // its pages are there before the clock runs
  double best_us = 1e12;
  for (int i = 0; i < times; ++i) {
    from[static_cast<std::size_t>(i)] = 'y';
    const auto began = Clock::now();
    std::memcpy(to, from.data(), bytes);
    best_us = std::min(best_us, us_since(began));
    if (to[i] != 'y') fail("memcpy");  // also keeps the copy from being optimised away
  }
  return static_cast<double>(bytes) / best_us / 1e3;
}

double fork_and_wait(int times) {
  std::vector<double> all;
  for (int i = 0; i < times; ++i) {
    const auto began = Clock::now();
    const pid_t child = fork();
    if (child < 0) fail("fork");
    if (child == 0) std::_Exit(0);
    if (waitpid(child, nullptr, 0) != child) fail("waitpid");
    all.push_back(us_since(began));
  }
  return median(all);
}

}  // namespace

int main(int argc, char** argv) {
  const std::string_view what = argc > 1 ? argv[1] : "";
  const auto number = [&](int i) { return argc > i ? std::max(1, std::atoi(argv[i])) : 1; };
  if (what == "pingpong") {
    std::printf("%.3f\n", pingpong(static_cast<std::uint32_t>(number(2))));
  } else if (what == "memcpy") {
    std::printf("%.3f\n", copy_speed(static_cast<std::size_t>(number(2)), number(3)));
  } else if (what == "fork") {
    std::printf("%.3f\n", fork_and_wait(number(2)));
  } else {
    std::fprintf(stderr, "usage: raw_limits pingpong ROUNDS | memcpy MIB TIMES | fork TIMES\n");
    return 2;
  }
  return 0;
}
