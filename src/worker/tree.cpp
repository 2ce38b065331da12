#include "worker/tree.hpp"

#include <unistd.h>
#include <csignal>

#include "sys/pidfd.hpp"
#include "sys/procfs.hpp"
#include "worker/seed.hpp"

namespace holdfast::worker {
namespace {

// Trees deeper than this are cut by the caller's next round: what hung below a killed process has then moved up.
constexpr int kMaxDepth = 64;

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

}  // namespace

bool comes_from(int pid, const Origin& origin) {
  // The mappings first: an exec between the two looks ends them and makes the environment tell.
  // An origin that was never filled in is nobody's: inode 0 is what every anonymous mapping of every process shows.
  if (origin.ring.inode != 0 && sys::maps_file(pid, origin.ring)) return true;
  return !origin.tag.empty() && sys::environ_value(pid, kTagVariable) == origin.tag;
}

int kill_below(int pid) {
  int killed = 0;
  for (const int child : sys::children_of(pid)) killed += kill_branch(child, 0);
  return killed;
}

int kill_tree(int pid) { return kill_branch(pid, 0); }

void kill_by_origin(const Origin& origin) {
  const int self = getpid();
  for (const int pid : sys::all_pids()) {
    if (pid == self) continue;
    // The descriptor first, the question second: the answer is then about the process that the signal goes to.
    const auto pidfd = sys::pidfd_open(pid);
    if (!pidfd.ok() || !comes_from(pid, origin)) continue;
    (void)sys::pidfd_send_signal(pidfd.value().get(), SIGKILL);  // gone meanwhile: all the better
  }
}

}  // namespace holdfast::worker
