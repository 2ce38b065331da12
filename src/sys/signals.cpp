// What: masks, dispositions, names. [signals.hpp]
#include "sys/signals.hpp"

#include <cstring>

#include "sys/error.hpp"

namespace holdfast::sys {

namespace {

Status set_disposition(int signal, void (*handler)(int)) {
  struct sigaction action {};
  action.sa_handler = handler;
  if (::sigaction(signal, &action, nullptr) != 0) return last_error("sigaction");
  return ok_status();
}

}  // namespace

sigset_t block_all() {
  sigset_t all;
  ::sigfillset(&all);
  return block(all);
}

sigset_t block(const sigset_t& signals) {
  sigset_t old;
  (void)::pthread_sigmask(SIG_BLOCK, &signals, &old);  // fails only for a bad `how`
  return old;
}

void restore_mask(const sigset_t& mask) {
  (void)::pthread_sigmask(SIG_SETMASK, &mask, nullptr);  // fails only for a bad `how`
}

Status set_default(int signal) { return set_disposition(signal, SIG_DFL); }
Status set_ignored(int signal) { return set_disposition(signal, SIG_IGN); }

// From the upper end, a little below it: libraries take the first ones or the very last.
int free_realtime_signal() {
  sigset_t blocked;
  (void)::pthread_sigmask(SIG_SETMASK, nullptr, &blocked);
  return free_realtime_signal(blocked);
}

int free_realtime_signal(const sigset_t& blocked) {
  int second_best = 0;
  for (int signal = SIGRTMAX - 4; signal > SIGRTMIN; --signal) {
    struct sigaction now {};
    if (::sigaction(signal, nullptr, &now) != 0 || (now.sa_flags & SA_SIGINFO) != 0 || now.sa_handler != SIG_DFL) continue;
    if (sigismember(&blocked, signal) == 0) return signal;
    if (second_best == 0) second_best = signal;
  }
  return second_best;
}

void unblock(int signal) {
  sigset_t one;
  ::sigemptyset(&one);
  (void)::sigaddset(&one, signal);
  (void)::pthread_sigmask(SIG_UNBLOCK, &one, nullptr);
}

std::string signal_name(int signal) {
  if (const char* name = sigabbrev_np(signal)) return std::string("SIG") + name;
  if (signal >= SIGRTMIN && signal <= SIGRTMAX) {
    return signal == SIGRTMIN ? "SIGRTMIN" : "SIGRTMIN+" + std::to_string(signal - SIGRTMIN);
  }
  return "signal " + std::to_string(signal);
}

}  // namespace holdfast::sys
