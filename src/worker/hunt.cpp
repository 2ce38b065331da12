#include "worker/hunt.hpp"

#include <unistd.h>
#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <new>
#include <utility>

#include "sys/clock.hpp"
#include "sys/pidfd.hpp"
#include "sys/procfs.hpp"
#include "worker/tree.hpp"

namespace holdfast::worker {
namespace {

constexpr int kExecRounds = 20;
constexpr useconds_t kExecPauseUs = 5000;
constexpr std::size_t kBatch = 32;  // so many processes are held at a time, a descriptor each
constexpr Nanos kLimit = std::chrono::milliseconds(500);
constexpr Nanos kWorkersLimit = std::chrono::milliseconds(100);  // at least, for the workers themselves
constexpr Nanos kLateLimit = std::chrono::milliseconds(50);

}  // namespace

/// Workers are spared until nothing else is left: each of them hunts, too, when the pool's process and its zygote have died. Who is killed by
/// another in the middle of it has then no daemon left that only he would have found; without this, two could kill each other first.
void Hunt::kill(std::span<const WorkerId> workers) noexcept {
  try {
    if (!inspection_) inspection_.emplace([lineage = lineage_](int pid) { return lineage.look(pid); });
    workers_ = workers;
    limit_ = sys::now() + kLimit;
    known_.clear();
    spared_.clear();
    workers_too_ = false;
    keep_spare();
    sweep();
    wait_for_late_ones();
    for (const int worker : spared_) known_.erase(worker);
    workers_too_ = true;
    limit_ = std::max(limit_, sys::now() + kWorkersLimit);
    sweep();
  } catch (const std::bad_alloc&) {}  // nobody to be told, and nothing else to be done
  spare_descriptor_.reset();
  batch_.clear();
}

// Each process is judged once. It ends after two looks at the list of pids at which nobody was killed and nobody had gone before he was asked:
// either could have forked one that the list did not have yet.
void Hunt::sweep() {
  int quiet = 0;
  for (int patience = kExecRounds; quiet < 2 && patience > 0 && sys::now() < limit_;) {
    undecided_ = news_ = false;
    look_at_all();
    quiet = news_ || undecided_ ? 0 : quiet + 1;
    if (!undecided_ || news_) continue;
    // Nothing tells when an exec is through. Those without any environment are asked to the last round, and then left alone.
    --patience;
    (void)usleep(kExecPauseUs);
  }
}

// A look that hung may have been a slow one. For the same ones it is waited once: an end must not take longer for each search of it.
void Hunt::wait_for_late_ones() {
  const Time until = std::min(limit_, sys::now() + kLateLimit);
  news_ = false;
  while (inspection_->hanging() > waited_for_ && sys::now() < until) judge(inspection_->late_answers(until));
  waited_for_ = inspection_->hanging();
  if (news_) sweep();
}

void Hunt::look_at_all() {
  for (const int pid : sys::all_pids()) {
    if (sys::now() >= limit_) break;
    if (pid != getpid() && !known_.contains(pid)) take_hold(pid);
    if (batch_.size() == kBatch) ask_about_batch();
  }
  ask_about_batch();
}

// The descriptor first, the question second: the answer is then about the process that the signal goes to.
void Hunt::take_hold(int pid) {
  if (const auto held = held_.find(pid); held != held_.end()) {
    if (!sys::pidfd_exited(held->second.get())) return batch_.push_back(pid);
    held_.erase(held);  // the number is another's by now
  }
  auto pidfd = sys::pidfd_open(pid);
  if (!pidfd.ok() && pidfd.error().err_no != ESRCH && !batch_.empty()) {  // they are few: then smaller batches
    ask_about_batch();
    pidfd = sys::pidfd_open(pid);
  }
  if (pidfd.ok()) {
    held_.emplace(pid, std::move(pidfd).value());
    batch_.push_back(pid);
  } else if (pidfd.error().err_no == ESRCH) {
    news_ = true;
  } else {
    limit_ = Time{0};  // no descriptor is left
  }
}

void Hunt::ask_about_batch() {
  spare_descriptor_.reset();
  judge(inspection_->ask(std::exchange(batch_, {}), limit_));
  keep_spare();
}

void Hunt::keep_spare() {
  if (auto any = sys::pidfd_open(getpid()); any.ok()) spare_descriptor_ = std::move(any).value();
}

void Hunt::judge(const std::vector<Inspection::Answer>& answers) {
  for (const auto& [pid, finding] : answers) {
    const auto held = held_.extract(pid);
    if (held.empty()) continue;  // asked about by an earlier search, and gone since
    undecided_ = undecided_ || finding.kin == Lineage::Kin::undecided;
    news_ = news_ || finding.kin == Lineage::Kin::gone;
    if (finding.kin == Lineage::Kin::undecided || finding.kin == Lineage::Kin::gone) continue;
    known_.insert(pid);
    if (finding.kin == Lineage::Kin::ours && is_wanted(finding.worker)) end(pid, held.mapped().get(), finding.is_worker);
  }
}

void Hunt::end(int pid, int pidfd, bool is_worker) {
  news_ = true;
  if (is_worker && !workers_too_) {
    spared_.push_back(pid);
    return;
  }
  // A worker is not stopped first: should it kill this process before its own SIGKILL has come, it would stay stopped for ever.
  if (!sys::pidfd_send_signal(pidfd, is_worker ? 0 : SIGSTOP).ok()) return;  // it is gone
  (void)kill_below(pid);
  (void)sys::pidfd_send_signal(pidfd, SIGKILL);  // gone meanwhile: all the better
}

bool Hunt::is_wanted(WorkerId worker) const { return workers_.empty() || std::ranges::find(workers_, worker) != workers_.end(); }

}  // namespace holdfast::worker
