#include "worker/zygote.hpp"

#include <unistd.h>
#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "ring/control.hpp"
#include "sys/children.hpp"
#include "sys/clock.hpp"
#include "sys/epoll.hpp"
#include "sys/failpoint.hpp"
#include "sys/pidfd.hpp"
#include "sys/process.hpp"
#include "sys/procfs.hpp"
#include "sys/signals.hpp"
#include "sys/socket.hpp"
#include "worker/brood.hpp"
#include "worker/hunt.hpp"
#include "worker/job_control.hpp"
#include "worker/lineage.hpp"
#include "worker/tree.hpp"

namespace holdfast::worker {
namespace {

using ring::Message;
using ring::MessageType;

constexpr std::uint64_t kPoolTag = 1;
constexpr std::uint64_t kParentTag = 2;
constexpr std::uint64_t kChildTag = 3;
constexpr std::uint64_t kJobControlTag = 4;
constexpr std::uint64_t kWorkerTag = std::uint64_t{1} << 32;  // and its pid in the lower half
constexpr Nanos kOrphanDelay = std::chrono::milliseconds(2);
// After a start: the worker that was just born, and who waits for it, go first.
constexpr Nanos kSpareDelay = std::chrono::milliseconds(1);
// Of a large caller a fork takes tens of milliseconds (its page tables are copied), in which no death would be told: only after a quiet time.
constexpr Nanos kShortFork = std::chrono::milliseconds(2);
constexpr int kSpareDelayPerFork = 20;
// Steps of start_failed (its field b).
constexpr std::int64_t kStepMessage = 1;
constexpr std::int64_t kStepFork = 2;
constexpr std::int64_t kStepPidfd = 3;

class Zygote {
 public:
  explicit Zygote(ZygoteConfig& config) : config_(config) {}

  int run() {
    HF_FAILPOINT(zygote_born);
    bool serving = set_up().ok();
    const int code = serving ? 0 : 1;
    if (serving) HF_FAILPOINT(zygote_hello);
    while (serving) serving = serve_once();
    HF_FAILPOINT(zygote_leaves);
    read_last_orders();
    // At once, and again after the brood: one of that may not die (frozen), and until it is given up others leave something behind.
    if (succeeds_) hunt_.kill();
    if (child_signal_) brood_.kill_everything(*child_signal_);
    if (succeeds_) hunt_.kill();
    HF_FAILPOINT(zygote_left);
    return code;
  }

 private:
  Status set_up();
  Status say_hello();
  bool serve_once();
  Nanos time_to_sleep() const;
  void follow_caller();
  bool handle_message();
  void start(const Message& request, std::vector<UniqueFd> fds);
  WorkerSeed make_seed(const Message& request, std::vector<UniqueFd>&& fds) const;
  void tell_started(const Message& request, int pid, int pidfd);
  void leave_behind();
  [[noreturn]] void become_worker(WorkerSeed&& seed);
  int fork_worker() const { return config_.fork ? config_.fork() : fork_bound(); }
  void fork_spare();
  Nanos spare_delay() const { return fork_took_ < kShortFork ? kSpareDelay : kSpareDelayPerFork * fork_took_; }
  [[noreturn]] void become_spare(UniqueFd line);
  bool use_spare(const Message& request, const WorkerSeed& seed);
  void drop_spare();
  void worker_ended(int pid);
  bool tell_end(int pid, Brood::Worker& worker);
  void read_last_orders();
  void reap(const Message& request);
  void end_strays();
  void bury(int pid, bool with_leftovers);
  void answer(const Message& message, std::span<const int> fds = {});
  void start_failed(const Message& request, int err_no, std::int64_t step);

  ZygoteConfig& config_;
  std::optional<sys::Epoll> epoll_;
  std::optional<sys::ChildSignal> child_signal_;
  std::optional<JobControl> job_control_;
  struct sigaction callers_child_action_ = {};
  std::string callers_name_;  // in top and ps: workers show it again
  Lineage lineage_;
  Hunt hunt_{lineage_};
  std::vector<WorkerId> strays_;  // dead workers of that one, whose leftovers are to be ended
  bool succeeds_ = false;         // a zygote before it has died, and what that one had adopted is nobody's now
  bool orphans_due_ = false;      // some child has ended since the last look
  const int zygote_pid_ = getpid();
  struct Spare {
    int pid = 0;  // 0 = there is none
    UniqueFd line;
  };
  Spare spare_;
  bool workers_die_ = false;  // one has
  Time spare_due_ = kNever;
  Nanos fork_took_{0};  // the last one of a spare: nothing is told meanwhile
  Brood brood_;
};

Status Zygote::set_up() {
  callers_name_ = sys::thread_name();
  sys::set_thread_name("hf-zygote");
  auto lineage = Lineage::of_pool(config_.bell_fd);
  if (!lineage.ok()) return lineage.error();
  lineage_ = std::move(lineage).value();  // first: the end needs it, whatever fails below
  if (sigaction(SIGCHLD, nullptr, &callers_child_action_) != 0) return Error{ErrorCode::os_error, errno, "sigaction", "SIGCHLD"};
  if (auto done = sys::set_default(SIGCHLD); !done.ok()) return done;
  if (auto done = sys::set_child_subreaper(true); !done.ok()) return done;
  // A zygote that is stopped would not see its caller's death. (Also sent when merely the thread ends that forked it: no harm.)
  if (auto done = sys::set_parent_death_signal(SIGCONT); !done.ok()) return done;
  auto epoll = sys::Epoll::create();
  if (!epoll.ok()) return epoll.error();
  auto child_signal = sys::ChildSignal::create();
  if (!child_signal.ok()) return child_signal.error();
  const auto caller = sys::pidfd_pid(config_.parent_pidfd);
  if (!caller.ok()) return caller.error();
  auto job_control = JobControl::create(caller.value());
  if (!job_control.ok()) return job_control.error();
  epoll_.emplace(std::move(epoll).value());
  child_signal_.emplace(std::move(child_signal).value());
  job_control_.emplace(std::move(job_control).value());
  if (auto done = epoll_->add(config_.pool_socket.get(), kPoolTag, sys::kReadable); !done.ok()) return done;
  if (auto done = epoll_->add(config_.parent_pidfd, kParentTag, sys::kReadable); !done.ok()) return done;
  if (auto done = epoll_->add(child_signal_->fd(), kChildTag, sys::kReadable); !done.ok()) return done;
  if (auto done = epoll_->add(job_control_->fd(), kJobControlTag, sys::kReadable); !done.ok()) return done;
  HF_FAILPOINT(zygote_set_up);
  return say_hello();
}

Status Zygote::say_hello() {
  auto self = sys::pidfd_open(getpid());
  if (!self.ok()) return self.error();
  Message hello;
  hello.type = MessageType::zygote_hello;
  hello.pid = getpid();
  const int fds[] = {self.value().get()};
  return sys::send_pod(config_.pool_socket.get(), hello, fds);
}

// One round; false = leave. The parent's death goes first: nothing else matters then.
bool Zygote::serve_once() {
  std::array<sys::Event, 16> events;
  // A worker's end shows at its pidfd: it is told at once, somebody waits for the news. SIGCHLD, which comes with it, may stand for ended orphans,
  // too: the look for those, a scan of /proc, comes when nothing else has come for a moment.
  const auto count = epoll_->wait(events, time_to_sleep());
  if (!count.ok()) return false;
  if (count.value() == 0 && std::exchange(orphans_due_, false)) brood_.reap_ended_orphans();
  if (count.value() == 0) end_strays();
  if (brood_.next_look() <= sys::now()) brood_.take_late_looks();
  if (count.value() == 0 && spare_due_ <= sys::now()) fork_spare();
  if (job_control_->next_look() <= sys::now()) follow_caller();
  bool message = false;
  bool child = false;
  for (int i = 0; i < count.value(); ++i) {
    const std::uint64_t tag = events[static_cast<std::size_t>(i)].tag;
    if (tag == kParentTag) return false;
    if ((tag & kWorkerTag) != 0) worker_ended(static_cast<int>(tag & 0xffffffffU));
    if (tag == kJobControlTag) job_control_->on_signal(sys::now());
    message = message || tag == kPoolTag;
    child = child || tag == kChildTag;
  }
  if (child) {
    child_signal_->drain();
    orphans_due_ = true;
  }
  return !message || handle_message();
}

void Zygote::follow_caller() {
  const Nanos pause = job_control_->look(sys::now(), brood_.pids());
  if (pause == Nanos{0}) return;
  Message message;
  message.type = MessageType::paused;
  message.a = pause.count();
  answer(message);
}

Nanos Zygote::time_to_sleep() const {
  if (!strays_.empty()) return Nanos{0};
  const Time look = job_control_->next_look();
  const Time next = std::min({look, spare_due_, brood_.next_look()});
  const Nanos until_look = next == kNever ? Nanos::max() : std::max(Nanos{0}, next - sys::now());
  return orphans_due_ ? std::min(kOrphanDelay, until_look) : until_look;
}

bool Zygote::handle_message() {
  Message request;
  auto got = sys::receive_pod(config_.pool_socket.get(), request, /*dont_wait=*/true);
  if (!got.ok()) return got.error().code == ErrorCode::timed_out;
  if (got->eof || !ring::check_message(request, ring::Route::pool_to_zygote, got->fds.size()).ok()) return false;
  switch (request.type) {
    case MessageType::start: start(request, std::move(got->fds)); return true;
    case MessageType::reap: reap(request); return true;
    case MessageType::succeed: succeeds_ = true; return true;
    default: return false;  // stop_zygote
  }
}

void Zygote::answer(const Message& message, std::span<const int> fds) {
  (void)sys::send_pod(config_.pool_socket.get(), message, fds);  // a pool that is gone shows as EOF in the next round
}

void Zygote::start_failed(const Message& request, int err_no, std::int64_t step) {
  Message message;
  message.type = MessageType::start_failed;
  message.worker = request.worker;
  message.a = err_no;
  message.b = step;
  answer(message);
}

WorkerSeed Zygote::make_seed(const Message& request, std::vector<UniqueFd>&& fds) const {
  WorkerSeed seed;
  seed.worker = request.worker;
  seed.identity = request.a;
  seed.socket = std::move(fds[0]);
  seed.ring = std::move(fds[1]);
  seed.bell_fd = config_.bell_fd;
  seed.parent_pidfd = config_.parent_pidfd;
  seed.zygote_pid = zygote_pid_;
  seed.tag = lineage_.tag(request.worker);
  seed.mask = config_.worker_mask;
  return seed;
}

void Zygote::start(const Message& request, std::vector<UniqueFd> fds) {
  if (fds.size() != 2) return start_failed(request, EMFILE, kStepMessage);  // descriptors were lost on the way (MSG_CTRUNC)
  WorkerSeed seed = make_seed(request, std::move(fds));
  if (config_.warm_up && workers_die_) spare_due_ = sys::now() + spare_delay();
  if (use_spare(request, seed)) return;

  HF_FAILPOINT(zygote_forks);
  const int pid = fork_worker();
  if (pid == 0) become_worker(std::move(seed));
  if (pid < 0) return start_failed(request, errno, kStepFork);
  HF_FAILPOINT(zygote_forked);
  auto pidfd = sys::pidfd_open(pid);  // no race: nobody but us reaps it
  if (!pidfd.ok()) {
    (void)kill_tree(pid);  // the pool could not watch it; it is reaped as an orphan when it has ended
    return start_failed(request, pidfd.error().err_no, kStepPidfd);
  }
  tell_started(request, pid, pidfd.value().get());
  // Without memory in the kernel for this its end is told when the pool asks for it to be reaped.
  (void)epoll_->add(pidfd.value().get(), kWorkerTag | static_cast<std::uint32_t>(pid), sys::kReadable);
  brood_.add(pid, {.id = request.worker, .pidfd = std::move(pidfd).value(), .burial = {}});
}

void Zygote::tell_started(const Message& request, int pid, int pidfd) {
  Message started;
  started.type = MessageType::started;
  started.worker = request.worker;
  started.pid = pid;
  const int pass[] = {pidfd};
  answer(started, pass);
  HF_FAILPOINT(zygote_started);
}

// In a child. What belongs to the zygote alone is closed, so that a worker holds no other worker's pidfd and not the pool's line.
void Zygote::leave_behind() {
  brood_.forget();
  config_.pool_socket.reset();
  epoll_.reset();
  child_signal_.reset();
  job_control_.reset();
  spare_ = {};
}

void Zygote::become_worker(WorkerSeed&& seed) {
  HF_FAILPOINT(worker_born);
  leave_behind();
  sys::set_thread_name(callers_name_.c_str());
  (void)sigaction(SIGCHLD, &callers_child_action_, nullptr);  // cannot fail: it is what sigaction() gave us
  int code = 1;
  try {
    code = config_.run_worker(std::move(seed));
  } catch (...) {
    (void)std::fputs("holdfast: a worker ended by an exception that left its start function\n", stderr);  // nothing else can be done
  }
  HF_FAILPOINT(worker_exits);
  sys::exit_now(code);
}

// Whatever fails here: the next worker is then forked when it is asked for.
void Zygote::fork_spare() {
  spare_due_ = kNever;
  if (spare_.pid != 0) return;
  auto line = sys::socketpair_seqpacket();
  if (!line.ok()) return;
  const Time began = sys::now();
  const int pid = fork_worker();
  fork_took_ = sys::now() - began;
  if (pid == 0) {
    line.value().a.reset();
    become_spare(std::move(line.value().b));
  }
  if (pid < 0) return;
  auto pidfd = sys::pidfd_open(pid);
  if (!pidfd.ok() || !epoll_->add(pidfd.value().get(), kWorkerTag | static_cast<std::uint32_t>(pid), sys::kReadable).ok()) {
    (void)kill_tree(pid);  // nobody would see its end; it is reaped as an orphan
    return;
  }
  // Among the brood, so that nobody takes it for a leftover of a dead worker. It has no mark yet (Lineage), and no worker has the id 0.
  brood_.add(pid, {.id = 0, .pidfd = std::move(pidfd).value(), .burial = {}});
  spare_ = {pid, std::move(line.value().a)};
}

void Zygote::become_spare(UniqueFd line) {
  leave_behind();
  sys::set_thread_name("hf-spare");
  try {
    if (config_.warm_up) config_.warm_up();
    Message request;
    auto got = sys::receive_pod(line.get(), request);
    // EOF: the zygote does without. Fewer descriptors: this process is out of them, and its end is a failed start.
    if (!got.ok() || got->eof || got->fds.size() != 2) sys::exit_now(1);
    line.reset();
    become_worker(make_seed(request, std::move(got->fds)));
  } catch (...) { sys::exit_now(1); }  // out of memory
}

// False: there is none, or it is dead, and its end has not been seen yet.
bool Zygote::use_spare(const Message& request, const WorkerSeed& seed) {
  if (spare_.pid == 0) return false;
  const int fds[] = {seed.socket.get(), seed.ring.get()};
  if (!sys::send_pod(spare_.line.get(), request, fds, /*dont_wait=*/true).ok()) return false;
  const int pid = std::exchange(spare_, {}).pid;
  // From here on it is a worker like any other; its end, should it be dead already, is told when its pidfd is looked at.
  Brood::Worker* worker = brood_.find(pid);
  worker->id = request.worker;
  tell_started(request, pid, worker->pidfd.get());
  return true;
}

void Zygote::drop_spare() {
  epoll_->remove(brood_.find(spare_.pid)->pidfd.get());
  (void)sys::wait_pidfd(brood_.find(spare_.pid)->pidfd.get(), /*reap=*/true, /*no_hang=*/true);  // fails if a stranger has: all the same
  (void)brood_.remove(spare_.pid, /*left_alone=*/false);
  spare_ = {};
}

void Zygote::worker_ended(int pid) {
  if (pid == spare_.pid) return drop_spare();
  Brood::Worker* worker = brood_.find(pid);
  if (worker == nullptr || !tell_end(pid, *worker) || !worker->burial) return;
  bury(pid, *worker->burial);
}

// Without reaping: the zombie holds the pid and the group's number until the pool has done with them. False: it is alive.
bool Zygote::tell_end(int pid, Brood::Worker& worker) {
  if (worker.end_told) return true;
  const auto ended = sys::wait_pidfd(worker.pidfd.get(), /*reap=*/false, /*no_hang=*/true);
  if (ended.ok() && !ended.value().ready) return false;
  Message message;
  message.type = MessageType::exited;
  message.worker = worker.id;
  message.pid = pid;
  message.a = -1;  // the wait can fail in one way: a stranger in this process, a library's thread, has waited for our child
  if (ended.ok()) {
    message.a = ended.value().raw_status;
    message.utime_us = ended.value().utime_us;
    message.stime_us = ended.value().stime_us;
    message.maxrss_bytes = ended.value().maxrss_bytes;
  }
  HF_FAILPOINT(zygote_end_seen);
  answer(message);
  HF_FAILPOINT(zygote_end_told);
  worker.end_told = true;
  workers_die_ = true;
  epoll_->remove(worker.pidfd.get());
  return true;
}

void Zygote::reap(const Message& request) {
  Brood::Worker* worker = brood_.find(request.pid);
  if (worker == nullptr || worker->id != request.worker) {  // reaped before, and its pid perhaps another's by now; or never ours
    if (succeeds_ && request.a == 1) strays_.push_back(request.worker);
    return;
  }
  worker->burial = request.a == 1;
  if (tell_end(request.pid, *worker)) return bury(request.pid, *worker->burial);
  (void)kill_tree(request.pid);  // the pool could not watch it; its pidfd tells here when it is gone
}

// When no message waits: one search for all of them.
void Zygote::end_strays() {
  if (!strays_.empty()) hunt_.kill(strays_);
  strays_.clear();
}

// The caller may be dead before this process has looked into its socket for the first time: what it had said before lies there.
void Zygote::read_last_orders() {
  Message order;
  for (;;) {
    const auto got = sys::receive_pod(config_.pool_socket.get(), order, /*dont_wait=*/true);
    if (!got.ok() || got->eof) return;
    succeeds_ = succeeds_ || order.type == MessageType::succeed;
  }
}

void Zygote::bury(int pid, bool with_leftovers) {
  HF_FAILPOINT(zygote_buries);
  (void)sys::wait_pidfd(brood_.find(pid)->pidfd.get(), /*reap=*/true, /*no_hang=*/true);  // fails if a stranger has: all the same
  HF_FAILPOINT(zygote_buried);
  const WorkerId id = brood_.remove(pid, /*left_alone=*/!with_leftovers);
  if (with_leftovers) brood_.kill_leftovers(id, lineage_, *child_signal_);
}

}  // namespace

int fork_bound() {
  const int zygote = getpid();
  const int pid = fork();
  // The signal does not come for a zygote that died before it was set: hence the look at getppid().
  if (pid == 0 && (!sys::set_parent_death_signal(SIGKILL).ok() || getppid() != zygote)) sys::exit_now(1);
  return pid;
}

int zygote_main(ZygoteConfig& config) { return Zygote(config).run(); }

}  // namespace holdfast::worker
