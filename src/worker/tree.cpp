#include "worker/tree.hpp"

#include <unistd.h>
#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <new>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "sys/clock.hpp"
#include "sys/pidfd.hpp"
#include "sys/procfs.hpp"
#include "worker/inspection.hpp"

namespace holdfast::worker {
namespace {

// Trees deeper than this are cut by the caller's next round: what hung below a killed process has then moved up.
constexpr int kMaxDepth = 64;
constexpr int kExecRounds = 20;
constexpr Nanos kSweepLimit = std::chrono::milliseconds(500);
constexpr useconds_t kExecPauseUs = 5000;
constexpr std::size_t kBatch = 32;  // so many processes are held at a time, a descriptor each

bool is_zombie(int pid) {
  const auto stat = sys::read_stat(pid);
  return !stat.ok() || stat.value().state == 'Z';
}

int kill_branch(int pid, int depth) {
  if (is_zombie(pid)) return 0;
  (void)kill(pid, SIGSTOP);  // may have ended just now; then the rest finds nothing
  int killed = 0;
  if (depth < kMaxDepth) {
    for (const int child : sys::children_of(pid)) killed += kill_branch(child, depth + 1);
  }
  (void)kill(pid, SIGKILL);  // as above
  return killed + 1;
}

// One search for what comes from a pool, or from some workers of it.
class LineageHunt {
 public:
  LineageHunt(const Lineage& lineage, std::span<const WorkerId> workers)
      : inspection_([lineage](int pid) { return lineage.look(pid); }), workers_(workers) {}

  /// Workers are spared until nothing else is left: each of them hunts, too, when the pool's process and its zygote have died. Who is killed by
  /// another in the middle of it has then no daemon left that only he would have found; without this, two could kill each other first.
  void run() {
    sweep();
    for (const int worker : spared_) known_.erase(worker);
    workers_too_ = true;
    sweep();
  }

 private:
  // Each process is judged once. It ends after two looks at the list of pids at which nobody was killed and nobody had gone before he was asked:
  // either could have forked one that the list did not have yet.
  void sweep() {
    limit_ = sys::now() + kSweepLimit;
    keep_spare();
    int quiet = 0;
    for (int patience = kExecRounds; patience > 0 && sys::now() < limit_;) {
      undecided_ = news_ = false;
      if (quiet < 2) {
        look_at_all();
      } else if (asked_.empty() || workers_too_) {
        return;
      } else {
        judge(inspection_.late_answers(limit_));  // of those that hang in a look: theirs may end yet
      }
      quiet = news_ || undecided_ ? 0 : quiet + 1;
      if (!undecided_ || news_) continue;
      // Nothing tells when an exec is through. Those without any environment are asked to the last round, and then left alone.
      --patience;
      (void)usleep(kExecPauseUs);
    }
  }

  void look_at_all() {
    for (const int pid : sys::all_pids()) {
      if (sys::now() >= limit_) break;
      if (pid != getpid() && !known_.contains(pid) && !asked_.contains(pid)) take_hold(pid);
      if (batch_.size() == kBatch) judge_batch();
    }
    judge_batch();
  }

  // The descriptor first, the question second: the answer is then about the process that the signal goes to.
  void take_hold(int pid) {
    auto pidfd = sys::pidfd_open(pid);
    if (!pidfd.ok() && pidfd.error().err_no != ESRCH && !batch_.empty()) {  // they are few: then smaller batches
      judge_batch();
      pidfd = sys::pidfd_open(pid);
    }
    if (pidfd.ok()) {
      asked_.emplace(pid, std::move(pidfd).value());
      batch_.push_back(pid);
    } else if (pidfd.error().err_no == ESRCH) {
      news_ = true;
    } else {
      limit_ = Time{0};  // no descriptor is left
    }
  }

  // A look needs a descriptor, too: one is kept for it.
  void judge_batch() {
    spare_descriptor_.reset();
    judge(inspection_.ask(std::exchange(batch_, {})));
    keep_spare();
  }
  void keep_spare() {
    if (auto any = sys::pidfd_open(getpid()); any.ok()) spare_descriptor_ = std::move(any).value();
  }

  void judge(const std::vector<Inspection::Answer>& answers) {
    for (const auto& [pid, finding] : answers) {
      const auto held = asked_.extract(pid);
      undecided_ = undecided_ || finding.kin == Lineage::Kin::undecided;
      news_ = news_ || finding.kin == Lineage::Kin::gone;
      if (finding.kin == Lineage::Kin::undecided || finding.kin == Lineage::Kin::gone) continue;
      known_.insert(pid);
      if (finding.kin == Lineage::Kin::ours && is_wanted(finding.worker)) end(pid, held.mapped().get(), finding.is_worker);
    }
  }

  void end(int pid, int pidfd, bool is_worker) {
    news_ = true;
    if (is_worker && !workers_too_) {
      spared_.push_back(pid);
      return;
    }
    // A worker is not stopped first: should it kill this process before its own SIGKILL has come, it would stay stopped for ever.
    if (!sys::pidfd_send_signal(pidfd, is_worker ? 0 : SIGSTOP).ok()) return;  // it is gone
    for (const int child : sys::children_of(pid)) (void)kill_branch(child, 0);
    (void)sys::pidfd_send_signal(pidfd, SIGKILL);  // gone meanwhile: all the better
  }

  bool is_wanted(WorkerId worker) const { return workers_.empty() || std::ranges::find(workers_, worker) != workers_.end(); }

  Inspection inspection_;
  const std::span<const WorkerId> workers_;
  Time limit_{0};
  std::unordered_set<int> known_;            // strangers, and those that were killed
  std::unordered_map<int, UniqueFd> asked_;  // and not answered yet; held fast, so that an answer is about nobody else
  std::vector<int> batch_;                   // of those, who is to be asked about next
  UniqueFd spare_descriptor_;
  std::vector<int> spared_;
  bool workers_too_ = false;
  bool undecided_ = false;
  bool news_ = false;
};

}  // namespace

int kill_below(int pid) {
  int killed = 0;
  for (const int child : sys::children_of(pid)) killed += kill_branch(child, 0);
  return killed;
}

int kill_tree(int pid) { return kill_branch(pid, 0); }

void kill_by_lineage(const Lineage& lineage, std::span<const WorkerId> workers) {
  try {
    LineageHunt(lineage, workers).run();
  } catch (const std::bad_alloc&) {}  // nobody to be told, and nothing else to be done
}

}  // namespace holdfast::worker
