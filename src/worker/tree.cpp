#include "worker/tree.hpp"

#include <unistd.h>
#include <csignal>

#include "sys/procfs.hpp"

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

int kill_below(int pid) {
  int killed = 0;
  for (const int child : sys::children_of(pid)) killed += kill_branch(child, 0);
  return killed;
}

int kill_tree(int pid) { return kill_branch(pid, 0); }

}  // namespace holdfast::worker
