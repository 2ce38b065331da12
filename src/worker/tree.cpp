#include "worker/tree.hpp"

#include <unistd.h>
#include <csignal>
#include <unordered_set>
#include <utility>
#include <vector>

#include "sys/pidfd.hpp"
#include "sys/procfs.hpp"

namespace holdfast::worker {
namespace {

// Trees deeper than this are cut by the caller's next round: what hung below a killed process has then moved up.
constexpr int kMaxDepth = 64;
constexpr int kHuntRounds = 20;
constexpr useconds_t kExecPauseUs = 5000;

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

// One search for what comes from a pool, or from one worker of it.
class LineageHunt {
 public:
  LineageHunt(const Lineage& lineage, std::optional<WorkerId> worker) : lineage_(lineage), worker_(worker) {}

  /// Workers are spared until nothing else is left: each of them hunts, too, when the pool's process and its zygote have died. Who is killed by
  /// another in the middle of it has then no daemon left that only he would have found; without this, two could kill each other first.
  void run() {
    sweep(/*workers_too=*/false);
    sweep(/*workers_too=*/true);
  }

 private:
  void sweep(bool workers_too) {
    // A round that killed somebody is followed by another: he may have forked before, a child that the list of pids did not have yet.
    std::vector<int> candidates = sys::all_pids();
    for (int round = 0; round < kHuntRounds && !candidates.empty(); ++round) {
      undecided_.clear();
      news_ = false;
      for (const int pid : candidates) look_at(pid, workers_too);
      candidates = news_ ? sys::all_pids() : undecided_;
      // Nothing tells when an exec is through. Those without any environment are asked to the last round, and then left alone.
      if (!news_ && !candidates.empty()) (void)usleep(kExecPauseUs);
    }
  }

  void look_at(int pid, bool workers_too) {
    if (pid == getpid()) return;
    // The descriptor first, the question second: the answer is then about the process that the signal goes to.
    const auto pidfd = sys::pidfd_open(pid);
    if (!pidfd.ok()) return;
    const Lineage::Finding finding = lineage_.look(pid);
    if (finding.kin == Lineage::Kin::undecided && !workers_too) undecided_.push_back(pid);
    if (finding.kin != Lineage::Kin::ours || (worker_ && *worker_ != finding.worker) || (finding.is_worker && !workers_too)) return;
    // A worker is not stopped first: should it kill this process before its own SIGKILL has come, it would stay stopped for ever.
    if (!sys::pidfd_send_signal(pidfd.value().get(), finding.is_worker ? 0 : SIGSTOP).ok()) return;  // it is gone
    for (const int child : sys::children_of(pid)) (void)kill_branch(child, 0);
    (void)sys::pidfd_send_signal(pidfd.value().get(), SIGKILL);  // gone meanwhile: all the better
    if (killed_.insert(pid).second) news_ = true;
  }

  const Lineage& lineage_;
  const std::optional<WorkerId> worker_;
  std::unordered_set<int> killed_;  // may be seen again: it takes a moment to die, or for ever (frozen)
  std::vector<int> undecided_;
  bool news_ = false;
};

}  // namespace

int kill_below(int pid) {
  int killed = 0;
  for (const int child : sys::children_of(pid)) killed += kill_branch(child, 0);
  return killed;
}

int kill_tree(int pid) { return kill_branch(pid, 0); }

void kill_by_lineage(const Lineage& lineage, std::optional<WorkerId> worker) { LineageHunt(lineage, worker).run(); }

}  // namespace holdfast::worker
