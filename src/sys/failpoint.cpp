// What: arming and acting. [failpoint.hpp]
#ifdef HOLDFAST_FAILPOINTS

#include "sys/failpoint.hpp"

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <optional>
#include <string_view>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace holdfast::sys::failpoint {

namespace {

constexpr const char* kArmed = "HOLDFAST_FAILPOINT";
constexpr const char* kPageFile = "HOLDFAST_FAILPOINT_PAGE";
constexpr int kExitCode = 77;
constexpr timespec kDelay{.tv_sec = 0, .tv_nsec = 100'000'000};

enum class Act : std::uint8_t { none, kill, stop, exit, delay };

struct Order {
  Act act = Act::none;
  std::uint32_t at = 1;  // the n-th time
  bool always = false;   // and every time after it
};

struct Orders {
  std::array<Order, kPoints> of;
  Page* page = nullptr;  // null: nothing is armed, nothing is counted
};

[[noreturn]] void refuse(std::string_view what, std::string_view entry) {
  (void)std::fprintf(stderr, "holdfast: %s: %.*s: \"%.*s\"\n", kArmed, static_cast<int>(what.size()), what.data(),
                     static_cast<int>(entry.size()), entry.data());
  ::_exit(2);
}

/// Cuts the next piece off the front of `rest`.
std::string_view cut(std::string_view& rest, char separator) {
  const auto at = rest.find(separator);
  const std::string_view piece = rest.substr(0, at);
  rest = at == std::string_view::npos ? std::string_view() : rest.substr(at + 1);
  return piece;
}

std::size_t point_named(std::string_view name) {
  for (std::size_t i = 0; i < kPoints; ++i) {
    if (kTable[i].name == name) return i;
  }
  refuse("there is no such point (src/sys/failpoint_table.hpp)", name);
}

Act act_named(std::string_view name) {
  if (name == "kill") return Act::kill;
  if (name == "stop") return Act::stop;
  if (name == "exit") return Act::exit;
  if (name == "delay") return Act::delay;
  refuse("expected kill, stop, exit or delay after the point's name, got", name);
}

std::uint32_t number(std::string_view digits) {
  std::uint32_t value = 0;
  for (const char digit : digits) {
    if (digit < '0' || digit > '9' || value > 100'000'000) refuse("expected a count from 1, got", digits);
    value = value * 10 + static_cast<std::uint32_t>(digit - '0');
  }
  if (value == 0) refuse("expected a count from 1, got", digits);
  return value;
}

void parse(std::string_view entry, Orders& orders) {
  Order& order = orders.of[point_named(cut(entry, ':'))];
  order.act = act_named(cut(entry, ':'));
  if (entry.empty()) return;
  order.at = number(cut(entry, ':'));
  if (entry.empty()) return;
  if (entry != "always") refuse("expected always or nothing after the count, got", entry);
  order.always = true;
}

Page* map_page(const char* file) {
  const int fd = file == nullptr ? -1 : ::open(file, O_RDWR | O_CLOEXEC);
  if (file != nullptr && fd < 0) refuse("HOLDFAST_FAILPOINT_PAGE cannot be opened", file);
  void* page = ::mmap(nullptr, sizeof(Page), PROT_READ | PROT_WRITE, MAP_SHARED | (fd < 0 ? MAP_ANONYMOUS : 0), fd, 0);
  if (fd >= 0) (void)::close(fd);
  if (page == MAP_FAILED) refuse("no page for the counts", file == nullptr ? "" : file);
  return static_cast<Page*>(page);
}

Orders read_environment() {
  Orders orders;
  const char* armed = std::getenv(kArmed);
  const char* file = std::getenv(kPageFile);
  if (armed == nullptr && file == nullptr) return orders;
  for (std::string_view rest = armed == nullptr ? "" : armed; !rest.empty();) parse(cut(rest, ','), orders);
  orders.page = map_page(file);
  return orders;
}

// Before main(), when there is one thread and nobody changes the environment. A global because a point has nothing but its name at hand.
const Orders orders = read_environment();

/// To this very thread: it goes no further, whichever thread of the process the kernel would have chosen.
void signal_self(int number) { (void)::syscall(SYS_tgkill, ::getpid(), ::syscall(SYS_gettid), number); }

void act(Act what) {
  switch (what) {
    case Act::none: break;
    case Act::kill: signal_self(SIGKILL); break;
    case Act::stop: signal_self(SIGSTOP); break;
    case Act::exit: ::_exit(kExitCode);
    case Act::delay: {
      timespec left = kDelay;
      while (::nanosleep(&left, &left) != 0 && errno == EINTR) {}
    }
  }
}

}  // namespace

void reached(Point point) noexcept {
  if (orders.page == nullptr) return;
  const int kept = errno;
  const auto index = static_cast<std::size_t>(point);
  const Order& order = orders.of[index];
  // relaxed: counts, of which each is taken by one; nothing else is published with them.
  const std::uint32_t count = orders.page->hits[index].fetch_add(1, std::memory_order_relaxed) + 1;
  if (order.act != Act::none && (order.always ? count >= order.at : count == order.at)) {
    orders.page->last_pid.store(::getpid(), std::memory_order_relaxed);
    orders.page->acts.fetch_add(1, std::memory_order_release);  // pairs with the test's look: last_pid is set
    act(order.act);
  }
  errno = kept;
}

}  // namespace holdfast::sys::failpoint

#endif
