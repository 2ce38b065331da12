#include "worker/enrol.hpp"

#include <unistd.h>
#include <algorithm>
#include <csignal>
#include <utility>

#include "ring/control.hpp"
#include "sys/detach.hpp"
#include "sys/failpoint.hpp"
#include "sys/pidfd.hpp"
#include "sys/process.hpp"
#include "sys/signals.hpp"
#include "sys/socket.hpp"

namespace holdfast::worker {
namespace {

using ring::Message;
using ring::MessageType;

constexpr int kOomScore = 500;  // the growing worker is shot, not its parent

// From here to the second set_parent_death_signal the kernel alone guards against the parent's death; after it the watcher does,
// which also reaches what the worker started. SIGCONT then only wakes a stopped worker, so that its watcher runs.
Status guard_against_parent_death(Enrolment& worker) {
  Watcher::Charge charge;
  charge.parent_pidfd = worker.seed.parent_pidfd;
  auto zygote = sys::pidfd_open(worker.seed.zygote_pid);
  if (!zygote.ok()) return zygote.error();
  charge.zygote_pidfd = std::move(zygote).value();
  charge.group = worker.group;
  charge.bell_fd = worker.seed.bell_fd;
  auto lineage = Lineage::of_pool(worker.seed.bell_fd);
  if (!lineage.ok()) return lineage.error();
  charge.lineage = std::move(lineage).value();
  auto watcher = Watcher::start(std::move(charge));
  if (!watcher.ok()) return watcher.error();
  worker.watcher = std::move(watcher).value();
  HF_FAILPOINT(worker_watched);
  if (sys::pidfd_exited(worker.seed.parent_pidfd)) sys::exit_now(1);
  return sys::set_parent_death_signal(SIGCONT);
}

Status open_channel(Enrolment& worker) {
  auto channel = ring::WorkerChannel::attach(worker.seed.ring.get());
  if (!channel.ok()) return channel.error();
  worker.channel = std::move(channel).value();
  return ok_status();
}

Status say_hello(const Enrolment& worker) {
  Message hello;
  hello.type = MessageType::hello;
  hello.worker = worker.seed.worker;
  hello.pid = getpid();
  hello.a = ring::kProtocolVersion;
  hello.b = worker.group;
  return sys::send_pod(worker.seed.socket.get(), hello);
}

Status introduce(Enrolment& worker) {
  if (auto done = Lineage::mark_this_process(worker.seed.bell_fd, worker.seed.worker); !done.ok()) return done;
  if (auto done = guard_against_parent_death(worker); !done.ok()) return done;
  if (auto done = open_channel(worker); !done.ok()) return done;
  HF_FAILPOINT(worker_attached);
  auto said = say_hello(worker);
  HF_FAILPOINT(worker_hello);
  return said;
}

}  // namespace

Result<Groundwork> lay_ground(int bell_fd, int zygote_pid) {
  auto bell = ring::BellPage::attach(bell_fd);
  if (!bell.ok()) return bell.error();
  if (auto done = sys::set_parent_death_signal(SIGKILL); !done.ok()) return done.error();
  HF_FAILPOINT(worker_guarded);
  // The signal does not come for a zygote that died before it was set.
  if (getppid() != zygote_pid) sys::exit_now(1);
  auto group = sys::join_new_group();
  if (!group.ok()) return group.error();
  HF_FAILPOINT(worker_grouped);
  (void)sys::raise_oom_score_adj(kOomScore);  // a /proc mounted read-only must not keep workers from starting
  (void)sys::disable_core_dumps();            // at worst a death by SIGSEGV is told later
  (void)sys::set_ignored(SIGTTOU);            // `stty tostop` would stop a worker that prints; ditto
  if (auto done = sys::stdin_from_null(); !done.ok()) return done.error();
  return Groundwork{group.value(), std::move(bell).value()};
}

Result<std::unique_ptr<Enrolment>> enrol(WorkerSeed&& seed, std::optional<Groundwork>&& ground) {
  const int socket = seed.socket.get();
  if (!ground) {
    auto laid = lay_ground(seed.bell_fd, seed.zygote_pid);
    if (!laid.ok()) {
      report_init_failed(socket, laid.error().message());
      return laid.error();
    }
    ground = std::move(laid).value();
  }
  std::unique_ptr<Enrolment> worker(
      new Enrolment{std::move(seed), ground->group, /*watcher=*/nullptr, /*channel=*/nullptr, std::move(ground->bell)});
  if (auto done = introduce(*worker); !done.ok()) {
    report_init_failed(socket, done.error().message());
    return done.error();
  }
  return worker;
}

Status report_ready(const Enrolment& enrolment) {
  HF_FAILPOINT(worker_initialized);
  if (auto done = sys::set_parent_death_signal(SIGCONT); !done.ok()) return done;
  if (sys::pidfd_exited(enrolment.seed.parent_pidfd)) sys::exit_now(1);
  Message ready;
  ready.type = MessageType::ready;
  ready.worker = enrolment.seed.worker;
  ready.pid = getpid();
  auto sent = sys::send_pod(enrolment.seed.socket.get(), ready);
  HF_FAILPOINT(worker_ready);
  return sent;
}

void report_init_failed(int socket, std::string_view text) {
  text = text.substr(0, static_cast<std::size_t>(ring::kMaxErrorText));
  if (text.empty()) text = "no text";
  Message failed;
  failed.type = MessageType::init_failed;
  failed.pid = getpid();
  failed.a = static_cast<std::int64_t>(text.size());
  // A pool that is gone needs no reason: both may fail.
  (void)sys::send_pod(socket, failed);
  (void)sys::send_message(socket, std::as_bytes(std::span<const char>(text.data(), text.size())));
}

}  // namespace holdfast::worker
