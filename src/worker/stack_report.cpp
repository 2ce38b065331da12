#include "worker/stack_report.hpp"

#include <sys/mman.h>
#include <unistd.h>
#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <csetjmp>
#include <string_view>

#include "ring/control.hpp"
#include "sys/signal_safe.hpp"
#include "sys/signals.hpp"

namespace holdfast::worker {
namespace {

constexpr std::array<int, 5> kCrashSignals = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
constexpr std::array<std::string_view, kCrashSignals.size()> kCrashNames = {"SIGSEGV", "SIGBUS", "SIGFPE", "SIGILL", "SIGABRT"};
constexpr std::size_t kAlternateStack = 64 * 1024;  // a stack overflow leaves no room for a handler on the stack itself

void on_request(int signal);
void on_crash(int signal);

// What the handlers need. In a process forked from a worker it is what that one had, and `pid` says that it is not ours.
struct Place {
  std::atomic<pid_t> pid{0};
  int request_signal = 0;
  int segment = -1;
  sys::FileIdentity segment_file;
  int socket = -1;
  sys::FileIdentity socket_file;
  ring::WorkerChannel* channel = nullptr;
  WorkerId worker = 0;
  void (*write)(int) = nullptr;
  std::array<struct sigaction, kCrashSignals.size()> before = {};
  std::array<bool, kCrashSignals.size()> ours = {};
  bool reports_crashes = false;
  std::atomic<bool> writing{false};
  // The writer reads what other threads change meanwhile. A fault in it must not cost a worker that was only asked: it ends there.
  std::atomic<pid_t> answering{0};  // the thread that does
  sigjmp_buf way_out;
  sigset_t blockable;
  Place() { (void)sigfillset(&blockable); }
};

Place& place() {
  static Place the_one;  // made by choose_signal(), before any handler can run
  return the_one;
}

bool is_handler(const struct sigaction& action, void (*handler)(int)) {
  return (action.sa_flags & SA_SIGINFO) == 0 && action.sa_handler == handler;
}

bool handles(int signal, void (*handler)(int)) {
  struct sigaction now = {};
  return sigaction(signal, nullptr, &now) == 0 && is_handler(now, handler);
}

/// False: another thread is at it, or the segment cannot be reached any more.
bool begin_writing(Place& here) {
  // Two at once would mix their texts.
  if (here.writing.exchange(true, std::memory_order_seq_cst)) return false;
  if (sys::is_file(here.segment, here.segment_file) &&
      sys::clear_and_seek(here.segment, here.channel->stacks_offset(), ring::kMaxStacksText)) {
    return true;
  }
  here.writing.store(false, std::memory_order_seq_cst);
  return false;
}

/// What does not fit is dropped: the segment cannot grow.
bool write_stacks(Place& here) {
  if (!begin_writing(here)) return false;
  here.write(here.request_signal);
  here.writing.store(false, std::memory_order_seq_cst);
  return true;
}

/// The same, as far as it comes. Only who has begun to write may touch `way_out`.
bool write_guarded(Place& here) {
  if (!begin_writing(here)) return false;
  if (sigsetjmp(here.way_out, /*savemask=*/1) == 0) {
    here.answering.store(gettid(), std::memory_order_relaxed);  // for a handler in this same thread
    here.write(here.request_signal);
  }
  here.answering.store(0, std::memory_order_relaxed);
  here.writing.store(false, std::memory_order_seq_cst);
  return true;
}

void send_answer(const Place& here, std::uint32_t number) {
  ring::Message message;
  message.type = ring::MessageType::stacks_taken;
  message.worker = here.worker;
  message.a = number;
  if (sys::is_file(here.socket, here.socket_file)) sys::send_without_waiting(here.socket, std::as_bytes(std::span(&message, 1)));
}

// Two threads may be in it at once, each for a request: the second leaves its own to the first, which looks again when it is done. seq_cst on `writing`
// and on the number: the second found `writing` set, after its number had been; so the first, which clears it and then looks, sees that number.
void on_request(int) {
  Place& here = place();
  if (here.pid.load(std::memory_order_relaxed) != getpid()) return;
  const int error = errno;
  for (auto wanted = here.channel->stacks_wanted(); wanted.number != here.channel->stacks_taken(); wanted = here.channel->stacks_wanted()) {
    if (!write_guarded(here)) break;
    here.channel->set_stacks_taken(wanted.number);
    send_answer(here, wanted.number);
    // The signal may have ended a system call early, and the task would go on with that, to a result that is none.
    if (wanted.last) (void)kill(getpid(), SIGSTOP);
  }
  errno = error;
}

/// Nobody else does it: the program has not put a reporter of its own before ours (that one has run by now, and is gone from this very signal), and there
/// is none behind.
bool is_to_tell_stderr(const Place& here, int signal) {
  if (here.reports_crashes) return false;
  for (std::size_t i = 0; i < kCrashSignals.size(); ++i) {
    if (kCrashSignals[i] != signal && here.ours[i] && !handles(kCrashSignals[i], on_crash)) return false;
  }
  return true;
}

void tell_stderr(const Place& here, std::string_view name) {
  const auto area = here.channel->stacks_text();
  const std::string_view text(area.data(), area.size());
  for (const std::string_view part : {std::string_view("Fatal error in a worker of holdfast: "), name, std::string_view("\n\n"),
                                      text.substr(0, std::min(text.find('\0'), text.size()))}) {
    sys::write_without_waiting(STDERR_FILENO, part);
  }
}

void on_crash(int signal) {
  Place& here = place();
  if (here.answering.load(std::memory_order_relaxed) == gettid() && signal != SIGABRT) siglongjmp(here.way_out, 1);
  const auto at = static_cast<std::size_t>(std::find(kCrashSignals.begin(), kCrashSignals.end(), signal) - kCrashSignals.begin());
  (void)sigaction(signal, &here.before[at], nullptr);  // was valid when it was read
  if (here.pid.load(std::memory_order_relaxed) == getpid()) {
    const bool tell = is_to_tell_stderr(here, signal);
    here.channel->set_crash_signal(signal);
    const bool written = write_stacks(here);
    here.writing.store(true, std::memory_order_seq_cst);  // for good: what a request would write would take the place of the crash
    if (written && tell) tell_stderr(here, kCrashNames[at]);
  }
  (void)raise(signal);  // it is blocked in here: comes when this returns, before the next instruction of the program
}

Status set_handler(int signal, void (*handler)(int), int flags) {
  struct sigaction action = {};
  action.sa_handler = handler;
  action.sa_flags = SA_ONSTACK | flags;
  (void)sigfillset(&action.sa_mask);
  if (handler == on_request) {
    for (const int each : kCrashSignals) (void)sigdelset(&action.sa_mask, each);
  }
  if (sigaction(signal, &action, nullptr) != 0) return Error{ErrorCode::os_error, errno, "sigaction", sys::signal_name(signal)};
  return ok_status();
}

/// Python's own is too small for two handlers one in the other, or was another thread's at the fork.
void make_alternate_stack() {
  stack_t now = {};
  if (sigaltstack(nullptr, &now) != 0 || ((now.ss_flags & SS_DISABLE) == 0 && now.ss_size >= kAlternateStack)) return;
  void* memory = mmap(nullptr, kAlternateStack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return;  // then a stack overflow goes without a report
  now = {.ss_sp = memory, .ss_flags = 0, .ss_size = kAlternateStack};
  (void)sigaltstack(&now, nullptr);  // for the process's life; refused on that stack only, where we are not
}

/// Nobody handles it, or the language's own reporter does. What else a program does at a crash signal (a JIT's or collector's fault is no crash) is its
/// own.
bool may_take(const struct sigaction& now, bool reports_crashes) {
  if ((now.sa_flags & SA_SIGINFO) != 0) return false;
  if (now.sa_handler == SIG_DFL) return true;
  // The interpreter has one handler for all that Python code handles. That of SIGINT is it, as a rule.
  return reports_crashes && now.sa_handler != SIG_IGN && !handles(SIGINT, now.sa_handler);
}

}  // namespace

int StackReport::choose_signal(const sigset_t& blocked) {
  const Place& here = place();
  if (here.request_signal != 0 && handles(here.request_signal, on_request)) return here.request_signal;
  return sys::free_realtime_signal(blocked);
}

Status StackReport::install(const Enrolment& enrolment, int signal, bool reports_crashes) {
  Place& here = place();
  struct sigaction now = {};
  if (sigaction(signal, nullptr, &now) != 0) return Error{ErrorCode::os_error, errno, "sigaction", sys::signal_name(signal)};
  // Inherited, it is ours already, and the language's writer is known.
  if (!is_handler(now, on_request)) here.write = now.sa_handler;
  const auto segment = sys::file_identity(enrolment.seed.ring.get());
  if (!segment.ok()) return segment.error();
  const auto socket = sys::file_identity(enrolment.seed.socket.get());
  if (!socket.ok()) return socket.error();
  here.segment = enrolment.seed.ring.get();
  here.segment_file = segment.value();
  here.socket = enrolment.seed.socket.get();
  here.socket_file = socket.value();
  here.channel = enrolment.channel.get();
  here.worker = enrolment.seed.worker;
  here.request_signal = signal;
  here.reports_crashes = reports_crashes;
  here.writing.store(false, std::memory_order_relaxed);
  make_alternate_stack();
  if (auto done = set_handler(signal, on_request, SA_RESTART); !done.ok()) return done;
  (void)sigdelset(&here.blockable, signal);
  here.pid.store(getpid(), std::memory_order_relaxed);
  for (std::size_t i = 0; i < kCrashSignals.size(); ++i) {
    if (sigaction(kCrashSignals[i], nullptr, &now) != 0) continue;
    const bool inherited = is_handler(now, on_crash);  // then `before` is, too
    here.ours[i] = inherited || may_take(now, reports_crashes);
    if (!here.ours[i]) continue;
    if (!inherited) here.before[i] = now;
    if (auto done = set_handler(kCrashSignals[i], on_crash, 0); !done.ok()) return done;
    (void)sigdelset(&here.blockable, kCrashSignals[i]);
  }
  here.channel->set_stacks_signal(signal);
  return ok_status();
}

const sigset_t& StackReport::blockable() { return place().blockable; }

void StackReport::unblock() {
  if (place().pid.load(std::memory_order_relaxed) == getpid()) sys::unblock(place().request_signal);
}

}  // namespace holdfast::worker
