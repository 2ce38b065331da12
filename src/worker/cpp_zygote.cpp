#include "worker/cpp_zygote.hpp"

#include <unistd.h>
#include <cstdio>
#include <exception>
#include <utility>

#include "sys/error.hpp"
#include "sys/process.hpp"
#include "sys/signals.hpp"
#include "worker/enrol.hpp"
#include "worker/task_loop.hpp"
#include "worker/zygote.hpp"

namespace holdfast::worker {
namespace {

// A handler can hang at exit no more than in a task: stop ladders reach it there, too. So no limit on the way out.
int leave(int code) {
  (void)std::fflush(nullptr);  // exit_now() does not, and a closed stdout is the handler's own doing
  return code;
}

bool initialize(const std::function<void()>& initializer, int socket) {
  if (!initializer) return true;
  try {
    initializer();
    return true;
  } catch (const std::exception& error) { report_init_failed(socket, error.what()); } catch (...) {
    report_init_failed(socket, "the initializer threw an exception that is no std::exception");
  }
  return false;
}

int run_cpp_worker(const CppZygote& zygote, WorkerSeed&& seed) {
  const sigset_t mask = seed.mask;
  auto worker = enrol(std::move(seed));
  if (!worker.ok()) return 1;
  auto mark = sys::ForkMark::create();
  if (!mark.ok()) return 1;
  if (setenv(kTagVariable, worker.value()->seed.tag.c_str(), /*overwrite=*/1) != 0) return 1;
  sys::restore_mask(mask);
  if (!initialize(zygote.initializer, worker.value()->seed.socket.get())) return leave(1);
  if (!report_ready(*worker.value()).ok()) return leave(1);
  CppRunner runner(zygote.handler);
  const int code = TaskLoop(*worker.value(), runner, std::move(mark).value()).run();
  // Neither the watcher nor the channel is taken down: _exit follows, and until then both have to work.
  (void)worker.value().release();
  return leave(code);
}

int run_zygote(CppZygote& zygote) {
  if (zygote.in_zygote) zygote.in_zygote();
  ZygoteConfig config;
  config.pool_socket = std::move(zygote.pool_socket);
  config.bell_fd = zygote.bell_fd;
  config.parent_pidfd = zygote.parent_pidfd;
  config.worker_mask = zygote.worker_mask;
  config.warm_up = zygote.warm_up;
  config.run_worker = [&zygote](WorkerSeed&& seed) { return run_cpp_worker(zygote, std::move(seed)); };
  return zygote_main(config);
}

}  // namespace

Result<int> fork_cpp_zygote(CppZygote zygote) {
  (void)std::fflush(nullptr);  // best effort
  const sys::BlockAllSignals blocked;
  const int pid = fork();
  if (pid < 0) return sys::last_error("fork", "the zygote");
  if (pid == 0) {
    int code = 1;
    try {
      code = run_zygote(zygote);
    } catch (...) {
      (void)std::fputs("holdfast: the zygote ran out of memory\n", stderr);  // what else can throw there; the pool sees its death
    }
    sys::exit_now(code);
  }
  return pid;
}

}  // namespace holdfast::worker
