// What: see fork_guard.hpp.
#include "pool/fork_guard.hpp"

#include <algorithm>
#include <mutex>
#include <vector>

#include "sys/process.hpp"

namespace holdfast::pool {

namespace {

// The one registry of the process: pthread_atfork's handlers take no argument, so there is no other place. Never destroyed: a fork may come
// while static objects are being destroyed at exit.
struct Registry {
  std::mutex mutex;
  std::vector<Engine*> engines;
};
Registry& registry() {
  static Registry& only = *new Registry;
  return only;
}

void before_fork() {
  registry().mutex.lock();
  for (Engine* engine : registry().engines) engine->lock_for_fork();
}
void after_fork_in_parent() {
  for (Engine* engine : registry().engines) engine->unlock_after_fork();
  registry().mutex.unlock();
}
// The thread that forked is the child's only one, and it holds all these locks: unlocking them here is allowed and leaves them usable.
void after_fork_in_child() {
  for (Engine* engine : registry().engines) {
    engine->after_fork_in_child();
    engine->unlock_after_fork();
  }
  registry().engines.clear();
  registry().mutex.unlock();
}

}  // namespace

void guard_forks_of(Engine& engine) {
  static const bool installed = sys::at_fork(before_fork, after_fork_in_parent, after_fork_in_child).ok();
  (void)installed;  // fails only without memory; then a forked child that touches the pool may block, as with any other lock
  const std::lock_guard guard(registry().mutex);
  registry().engines.push_back(&engine);
}

void unguard_forks_of(Engine& engine) {
  const std::lock_guard guard(registry().mutex);
  std::erase(registry().engines, &engine);
}

}  // namespace holdfast::pool
