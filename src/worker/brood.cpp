#include "worker/brood.hpp"

#include <unistd.h>
#include <algorithm>
#include <csignal>
#include <unordered_set>
#include <utility>

#include "sys/clock.hpp"
#include "sys/procfs.hpp"
#include "worker/tree.hpp"

namespace holdfast::worker {
namespace {

// A round kills all it finds and waits for the deaths; another is needed only when somebody forked in between, or orphans moved up.
constexpr int kRounds = 50;
constexpr Nanos kRoundWait = std::chrono::milliseconds(5);
constexpr Nanos kLookLimit = std::chrono::milliseconds(200);  // nothing else is served meanwhile
constexpr Nanos kFirstLookPause = std::chrono::milliseconds(10);
constexpr Nanos kLongestLookPause = std::chrono::seconds(5);
// Processes that take no SIGKILL now (frozen, in uninterruptible sleep) must not keep the zygote for ever.
constexpr Nanos kEndLimit = std::chrono::seconds(10);

}  // namespace

void Brood::add(int pid, Worker worker) { workers_.insert_or_assign(pid, std::move(worker)); }

std::vector<int> Brood::pids() const {
  std::vector<int> all;
  all.reserve(workers_.size());
  for (const auto& entry : workers_) all.push_back(entry.first);
  return all;
}

Brood::Worker* Brood::find(int pid) {
  const auto found = workers_.find(pid);
  return found == workers_.end() ? nullptr : &found->second;
}

WorkerId Brood::remove(int pid, bool left_alone) {
  const auto found = workers_.find(pid);
  if (found == workers_.end()) return 0;
  const WorkerId id = found->second.id;
  if (left_alone) {
    left_alone_.push_back(id);
    if (left_alone_.size() > kLeftAloneLimit) left_alone_.pop_front();
  }
  workers_.erase(found);
  return id;
}

void Brood::reap_ended_orphans() {
  for (const int pid : sys::children_of(getpid())) {
    if (!workers_.contains(pid)) (void)sys::reap_child(pid);  // still alive: next time
  }
}

Brood::Owner Brood::owner_by(const Lineage::Finding& finding, WorkerId dead) const {
  if (finding.kin != Lineage::Kin::ours) return Owner::nobody;
  if (finding.worker == dead) return Owner::dead;
  const bool lives = std::any_of(workers_.begin(), workers_.end(), [&](const auto& entry) { return entry.second.id == finding.worker; });
  const bool known = lives || std::find(left_alone_.begin(), left_alone_.end(), finding.worker) != left_alone_.end();
  return known ? Owner::other : Owner::nobody;
}

// Its children that are no workers, those that have ended reaped.
std::vector<int> Brood::orphans() const {
  auto children = sys::children_of(getpid());
  std::erase_if(children, [this](int pid) { return workers_.contains(pid) || sys::reap_child(pid) != sys::Reaped::still_alive; });
  return children;
}

void Brood::kill_leftovers(WorkerId dead, const Lineage& lineage, const sys::ChildSignal& child_signal) {
  std::unordered_set<int> suspects;
  for (int round = 0; round < kRounds; ++round) {
    const auto there = orphans();
    if (there.empty()) return;
    if (!inspection_) inspection_.emplace([lineage](int pid) { return lineage.look(pid); });
    int left = 0;
    for (const auto& [pid, finding] : inspection_->ask(there, sys::now() + kLookLimit)) {
      // gone: it is our child, so that is not it; the look has failed. The other: a late answer about one that has been reaped.
      if (finding.kin == Lineage::Kin::gone || std::ranges::find(there, pid) == there.end()) continue;
      const Owner owner = owner_by(finding, dead);
      if (owner == Owner::other) continue;
      ++left;
      // In the middle of an exec a process has neither its old mappings nor its new environment: nobody's is believed at the second look.
      if (owner == Owner::dead || !suspects.insert(pid).second) (void)kill_tree(pid);
    }
    if (inspection_->hanging() != 0) next_look_ = sys::now() + (look_pause_ = kFirstLookPause);
    if (left == 0) return;
    child_signal.drain();
    reap_ended_orphans();
    child_signal.wait(kRoundWait);
  }
}

// Asked less and less often: what hangs for long will hang for longer.
void Brood::take_late_looks() {
  const auto answers = inspection_->late_answers(Time{0});
  const auto there = orphans();
  for (const auto& [pid, finding] : answers) {
    if (finding.kin != Lineage::Kin::ours || std::ranges::find(there, pid) == there.end()) continue;
    if (owner_by(finding, 0) == Owner::nobody) (void)kill_tree(pid);
  }
  look_pause_ = std::min(2 * look_pause_, kLongestLookPause);
  next_look_ = inspection_->hanging() == 0 ? kNever : sys::now() + look_pause_;
}

void Brood::kill_everything(const sys::ChildSignal& child_signal) {
  const Time limit = sys::now() + kEndLimit;
  while (sys::now() < limit) {
    const auto children = sys::children_of(getpid());
    if (children.empty()) return;
    // Workers last: should this process be killed in the middle of it, their watchers end what is left.
    for (const int pid : children) {
      if (!workers_.contains(pid)) (void)kill_tree(pid);
    }
    for (const int pid : children) {
      if (workers_.contains(pid)) (void)kill_tree(pid);
    }
    child_signal.drain();
    for (const int pid : children) (void)sys::reap_child(pid);  // still alive: the next round sees it again
    if (!sys::children_of(getpid()).empty()) child_signal.wait(kRoundWait);
  }
}

void Brood::forget() { workers_.clear(); }

}  // namespace holdfast::worker
