// What: whose a process is, by the mark among its mappings and by its environment.
#include "worker/lineage.hpp"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>
#include <csignal>
#include <cstdlib>

#include "ring/channel.hpp"
#include "sys/procfs.hpp"
#include "worker/fake_pool.hpp"
#include "worker/seed.hpp"

namespace holdfast::worker::test {
namespace {

using Kin = Lineage::Kin;

struct Pool {
  ring::BellPage bell = ring::BellPage::create().value();
  Lineage lineage = Lineage::of_pool(bell.fd()).value();
};

// A child that does `first` and then sleeps; killed at the end.
template <typename First>
class Child {
 public:
  explicit Child(First first) : pid_(fork()) {
    if (pid_ != 0) return;
    first();
    for (;;) pause();
  }
  ~Child() {
    EXPECT_EQ(kill(pid_, SIGKILL), 0);
    EXPECT_EQ(waitpid(pid_, nullptr, 0), pid_);
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  int pid() const { return pid_; }

 private:
  int pid_;
};

void expect_ours(const Lineage& lineage, int pid, WorkerId worker) {
  EXPECT_TRUE(eventually([&] {
    const auto finding = lineage.look(pid);
    return finding.kin == Kin::ours && finding.worker == worker;
  }));
}

TEST(Lineage, IsSeenInTheMappingsOfAWorkerAndOfWhatItForks) {
  const Pool pool;
  const Pool other;
  const Child worker([&] {
    if (!Lineage::mark_this_process(pool.bell.fd(), 7).ok()) _exit(1);
    (void)fork();
  });
  expect_ours(pool.lineage, worker.pid(), 7);
  EXPECT_TRUE(eventually([&] { return !sys::children_of(worker.pid()).empty(); }));
  for (const int child : sys::children_of(worker.pid())) {
    expect_ours(pool.lineage, child, 7);
    EXPECT_EQ(other.lineage.look(child).kin, Kin::stranger);
    EXPECT_EQ(kill(child, SIGKILL), 0);
  }
}

TEST(Lineage, IsSeenInTheEnvironmentOfAnExecdProcess) {
  const Pool pool;
  const Pool other;
  const Child child([&] {
    setenv(kTagVariable, pool.lineage.tag(4'000'000'000).c_str(), 1);
    execl("/bin/sleep", "sleep", "1000", nullptr);
    _exit(1);
  });
  expect_ours(pool.lineage, child.pid(), 4'000'000'000);
  EXPECT_EQ(other.lineage.look(child.pid()).kin, Kin::stranger);
}

TEST(Lineage, IsUndecidedWhereThereIsNoEnvironment) {
  const Pool pool;
  const Child child([] {
    char name[] = "sleep";
    char time[] = "1000";
    char* const arguments[] = {name, time, nullptr};
    char* const nothing[] = {nullptr};
    execve("/bin/sleep", arguments, nothing);
    _exit(1);
  });
  EXPECT_TRUE(eventually([&] { return pool.lineage.look(child.pid()).kin == Kin::undecided; }));
}

// The pool's own process has the bell file mapped, and so has what it forks: neither comes from a worker.
TEST(Lineage, IsNotThatOfThePoolsOwnProcessAndItsChildren) {
  const Pool pool;
  const Child child([] {});
  EXPECT_EQ(pool.lineage.look(getpid()).kin, Kin::stranger);
  EXPECT_EQ(pool.lineage.look(child.pid()).kin, Kin::stranger);
  EXPECT_EQ(pool.lineage.look(0x7fffffff).kin, Kin::gone);
}

TEST(Lineage, OfNobodyFindsStrangersOnly) {
  EXPECT_EQ(Lineage().look(getpid()).kin, Kin::stranger);
  EXPECT_FALSE(Lineage::of_pool(-1).ok());
}

}  // namespace
}  // namespace holdfast::worker::test
