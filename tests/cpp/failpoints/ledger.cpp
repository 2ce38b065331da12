#include "failpoints/ledger.hpp"

#include <csignal>
#include <cstring>
#include <fstream>
#include <new>
#include <stdexcept>
#include <string>

#include <sys/mman.h>
#include <unistd.h>

namespace holdfast::failpoints {

namespace {

[[noreturn]] void hang() {
  while (true) ::pause();
}

/// A process that has left group and session: what must be gone when the pool's process is.
void leave_a_daemon() {
  if (::fork() != 0) return;
  if (::setsid() < 0 || ::fork() != 0) ::_exit(0);
  hang();
}

/// Until the workers' runs, once there were enough to fill a ring, have stood still for a while: the one that fills it waits for room then. There is
/// no event for that. Without progress for half a second there is nobody who would fill it: its worker was killed.
void wake_parent(const Ledger& ledger) {
  std::uint32_t seen = 0;
  for (int still = 0; still < (seen < kRunsThatFillARing ? 500 : 100); ++still) {
    const std::uint32_t runs = ledger.runs.load();
    if (runs != seen) still = 0;
    seen = runs;
    ::usleep(1000);
  }
  (void)::kill(ledger.parent, SIGCONT);
}

/// Only if it is one: where it has died already, somebody else is our parent.
void kill_zygote() {
  const int parent = ::getppid();
  std::string name;
  std::getline(std::ifstream("/proc/" + std::to_string(parent) + "/comm"), name);
  if (name == "hf-zygote") (void)::kill(parent, SIGKILL);
}

void act(Ledger& ledger, const Item& item, bool first_run) {
  switch (item.act) {
    case Act::value: break;
    case Act::raise: throw std::runtime_error("item " + std::to_string(item.index));
    case Act::die:
      if (first_run) (void)::kill(::getpid(), SIGKILL);
      break;
    case Act::hang:
      (void)std::signal(SIGTERM, SIG_IGN);
      if (first_run) hang();
      break;
    case Act::kill_zygote:
      if (first_run) kill_zygote();
      break;
    case Act::kill_both:
    case Act::kill_parent:
      leave_a_daemon();
      if (item.act == Act::kill_both) kill_zygote();
      (void)::kill(ledger.parent, SIGKILL);
      hang();
    case Act::stop_parent:
      if (first_run) (void)::kill(ledger.parent, SIGSTOP);
      break;
    case Act::wake_parent: wake_parent(ledger); break;
  }
}

}  // namespace

Ledger* Ledger::create() {
  void* page = ::mmap(nullptr, sizeof(Ledger), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (page == MAP_FAILED) throw std::bad_alloc();
  auto* ledger = new (page) Ledger{};
  ledger->parent = ::getpid();
  return ledger;
}

std::byte pattern(std::uint32_t index, std::size_t at) { return static_cast<std::byte>(index * 31 + at * 7 + (at >> 9)); }

Bytes encode(const Item& item) {
  Bytes bytes(sizeof item + item.argument_bytes);
  std::memcpy(bytes.data(), &item, sizeof item);
  for (std::size_t i = 0; i < item.argument_bytes; ++i) bytes[sizeof item + i] = pattern(item.index, i);
  return bytes;
}

Bytes handle(Ledger& ledger, std::span<const std::byte> bytes) {
  Item item;
  if (bytes.size() < sizeof item) throw std::runtime_error("a damaged argument");
  std::memcpy(&item, bytes.data(), sizeof item);
  if (item.index >= kMostItems || bytes.size() != sizeof item + item.argument_bytes) throw std::runtime_error("a damaged argument");
  for (std::size_t i = 0; i < item.argument_bytes; ++i) {
    if (bytes[sizeof item + i] != pattern(item.index, i)) throw std::runtime_error("a damaged argument");
  }
  Ledger::Entry& entry = ledger.items[item.index];
  const bool first_run = entry.begun.fetch_add(1) == 0;
  ledger.runs.fetch_add(1);
  act(ledger, item, first_run);
  entry.ended.fetch_add(1);
  Bytes result(item.result_bytes);
  for (std::size_t i = 0; i < result.size(); ++i) result[i] = pattern(item.index, i);
  return result;
}

}  // namespace holdfast::failpoints
