// What: what a worker is after its enrolment, and that a failed initializer is told.
#include "worker/enrol.hpp"

#include <algorithm>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <stdexcept>
#include <string>

#include "sys/pidfd.hpp"
#include "sys/procfs.hpp"
#include "worker/fake_pool.hpp"

namespace holdfast::worker::test {
namespace {

std::string read_line(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

std::string describe_signals() {
  sigset_t mask;
  pthread_sigmask(SIG_BLOCK, nullptr, &mask);
  struct sigaction child = {};
  sigaction(SIGCHLD, nullptr, &child);
  return std::string(sigismember(&mask, SIGUSR2) == 1 ? "usr2 blocked" : "usr2 open") +
         (sigismember(&mask, SIGTERM) == 1 ? ", term blocked" : ", term open") +
         (child.sa_handler == SIG_IGN ? ", chld ignored" : ", chld default");
}

std::vector<std::byte> inquire(ByteSpan item) {
  const std::string question = text_of(item);
  if (question == "group") return bytes_of(std::to_string(getpgrp()));
  if (question == "oom") return bytes_of(read_line("/proc/self/oom_score_adj"));
  if (question == "signals") return bytes_of(describe_signals());
  if (question == "tag") return bytes_of(getenv(kTagVariable) != nullptr ? getenv(kTagVariable) : "");
  if (question == "core") {
    rlimit limit{};
    getrlimit(RLIMIT_CORE, &limit);
    return bytes_of(std::to_string(limit.rlim_cur));
  }
  if (question == "stdin") {
    char byte = 0;
    return bytes_of(std::to_string(read(STDIN_FILENO, &byte, 1)));
  }
  if (question == "death signal") {
    int signal = 0;
    prctl(PR_GET_PDEATHSIG, &signal);
    return bytes_of(std::to_string(signal));
  }
  if (question == "descriptors") {
    std::string list;
    for (int fd = 3; fd < 256; ++fd) {
      char target[256] = {};
      const std::string link = "/proc/self/fd/" + std::to_string(fd);
      if (readlink(link.c_str(), target, sizeof target - 1) > 0) list += std::string(target) + "\n";
    }
    return bytes_of(list);
  }
  return {};
}

TEST(Enrol, PutsTheWorkerIntoAGroupThatItDoesNotLead) {
  FakePool pool(inquire);
  auto worker = pool.start_worker();
  EXPECT_EQ(pool.run(*worker, "group").text, std::to_string(worker->group));
  EXPECT_NE(worker->group, worker->pid);
  EXPECT_NE(worker->group, getpgrp());
  EXPECT_FALSE(sys::read_stat(worker->group).ok()) << "its leader is reaped";
  auto second = pool.start_worker();
  EXPECT_NE(second->group, worker->group);
}

TEST(Enrol, SetsWhatTheWorkerNeeds) {
  FakePool pool(inquire);
  auto worker = pool.start_worker();
  EXPECT_GE(std::stoi(pool.run(*worker, "oom").text), 500);
  EXPECT_EQ(pool.run(*worker, "core").text, "0");
  EXPECT_EQ(pool.run(*worker, "stdin").text, "0") << "end of file";
  EXPECT_EQ(pool.run(*worker, "death signal").text, std::to_string(SIGCONT));
  auto second = pool.start_worker();
  EXPECT_NE(pool.run(*worker, "tag").text, "");
  EXPECT_NE(pool.run(*worker, "tag").text, pool.run(*second, "tag").text);
}

TEST(Enrol, GivesTheCallersMaskAndChildDispositionBack) {
  sigset_t only_usr2;
  sigemptyset(&only_usr2);
  sigaddset(&only_usr2, SIGUSR2);
  ASSERT_EQ(pthread_sigmask(SIG_BLOCK, &only_usr2, nullptr), 0);
  ASSERT_NE(signal(SIGCHLD, SIG_IGN), SIG_ERR);
  {
    FakePool pool(inquire);
    EXPECT_EQ(pool.run(*pool.start_worker(), "signals").text, "usr2 blocked, term open, chld ignored");
    ASSERT_NE(signal(SIGCHLD, SIG_DFL), SIG_ERR);  // before the zygote ends, or its status were lost
  }
  ASSERT_EQ(pthread_sigmask(SIG_UNBLOCK, &only_usr2, nullptr), 0);
}

TEST(Enrol, HoldsNoOtherWorkersDescriptors) {
  FakePool pool(inquire);
  auto first = pool.start_worker();
  const std::string before = pool.run(*first, "descriptors").text;
  std::vector<std::unique_ptr<FakeWorker>> more;
  for (int i = 0; i < 5; ++i) more.push_back(pool.start_worker());
  const std::string after = pool.run(*more.back(), "descriptors").text;
  EXPECT_EQ(std::count(before.begin(), before.end(), '\n'), std::count(after.begin(), after.end(), '\n')) << before << "\n" << after;
}

TEST(EnrolInitializer, RunsBeforeReadyAndItsFailureIsTold) {
  FakePool pool(inquire, [] { throw std::runtime_error("no database"); });
  auto worker = pool.start_worker(/*ready=*/false);
  EXPECT_EQ(pool.next_from(*worker).type, ring::MessageType::hello);
  const auto failed = pool.next_from(*worker);
  ASSERT_EQ(failed.type, ring::MessageType::init_failed);
  EXPECT_EQ(pool.text_from(*worker, static_cast<std::size_t>(failed.a)), "no database");
  EXPECT_EQ(WEXITSTATUS(static_cast<int>(pool.bury(*worker, 1).a)), 1);
}

TEST(EnrolDeath, BeforeHelloIsSeenLikeAnyOther) {
  FakePool pool(inquire, [] { raise(SIGKILL); });
  auto worker = pool.start_worker(/*ready=*/false);
  EXPECT_EQ(pool.bury(*worker, 1).a, SIGKILL);
}

TEST(EnrolFailure, OfTheRingIsTold) {
  FakePool pool(inquire);
  auto worker = pool.start_worker(/*ready=*/false, /*good_ring=*/false);
  const auto failed = pool.next_from(*worker);
  ASSERT_EQ(failed.type, ring::MessageType::init_failed);
  EXPECT_NE(pool.text_from(*worker, static_cast<std::size_t>(failed.a)), "");
  EXPECT_EQ(WEXITSTATUS(static_cast<int>(pool.bury(*worker, 1).a)), 1);
}

}  // namespace
}  // namespace holdfast::worker::test
