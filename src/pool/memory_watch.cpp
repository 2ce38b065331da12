// What: the workers' memory, read ten times a second while items are in flight, and whose death the kernel's oom_kill count explains. Part of
// Engine::Impl (engine_impl.hpp); runs in the supervisor. An idle pool is not woken for it, and no item pays for it.
#include <algorithm>
#include <array>
#include <cstdio>
#include <string>

#include "core/exit_cause.hpp"
#include "pool/engine_impl.hpp"
#include "sys/failpoint.hpp"
#include "sys/pidfd.hpp"

namespace holdfast::pool {

namespace {
constexpr Nanos kMemoryLook = std::chrono::milliseconds(100);

std::string size_text(std::int64_t bytes) {
  std::array<char, 32> text{};
  (void)std::snprintf(text.data(), text.size(), "%.1f MiB", static_cast<double>(bytes) / (1 << 20));  // longer than any number
  return text.data();
}

bool was_sigkilled(bool status_known, int raw_status) {
  return core::ending_of({.status_known = status_known, .raw_status = raw_status}) == core::Ending::sigkill;
}

/// Another one that has ended by a SIGKILL which the pool did not send, and whose end has not been looked at yet.
bool awaits_explanation(const Worker& worker) {
  if (worker.kill_cause != Cause::none || !worker.pidfd || !sys::pidfd_exited(worker.pidfd.get())) return false;
  if (worker.status_known) return was_sigkilled(true, worker.raw_status);
  const auto stat = sys::read_stat(worker.pid);
  return stat && stat->state == 'Z' && was_sigkilled(true, stat->exit_code_raw);
}
}  // namespace

void Engine::Impl::open_oom_counter() {
  oom_counter = sys::OomCounter::open(sys::find_cgroup("memory"));
  oom_account.write_off(oom_counter.read());
}

/// Its memory as it is born: called when its hello has come, before its initializer has taken anything, and when the zygote has told its pid, in
/// whichever order the two come. The pid of the hello is the worker's own word, so it counts only until the zygote's is there.
void Engine::Impl::begin_memory_watch(Worker& worker) {
  const int pid = worker.pid != 0 ? worker.pid : worker.said_pid;
  if (worker.life == Worker::Life::requested || worker.memory.pid == pid) return;
  worker.memory.pid = pid;
  worker.memory.reader = sys::MemoryReader::open(pid);  // no descriptor left: then nothing is known of its memory
  worker.memory.at_birth = worker.memory.reader.own_bytes().value_or(0);
}

/// Reads without the mutex, a few microseconds for each worker: nobody else frees what `watched` points to, for corpses are the supervisor's
/// (do_chores), and a worker that another thread buries meanwhile becomes one of them.
void Engine::Impl::look_at_memory(Lock& lock) {
  if (scheduler.unsettled_in_all() == 0 || clock.now() < memory_look_at) return;
  memory_look_at = clock.now() + kMemoryLook;
  watched.clear();
  for (const auto& [id, worker] : workers) {
    if (worker->memory.reader) watched.push_back(worker.get());
  }
  lock.unlock();
  const auto kills = oom_counter.read();
  for (Worker* worker : watched) {
    const auto bytes = worker->memory.reader.own_bytes();
    if (bytes) worker->memory.reading = std::max<std::int64_t>(0, *bytes - worker->memory.at_birth);
  }
  HF_FAILPOINT(parent_memory_read);
  lock.lock();
  for (Worker* worker : watched) {
    worker->memory.last = worker->memory.reading;
    worker->memory.peak = std::max(worker->memory.peak, worker->memory.last);
  }
  oom_account.look(kills, clock.now());
  if (options.memory_limit == 0 && options.max_memory_per_worker == 0) return;
  for (Worker* worker : watched) {
    if (worker->life == Worker::Life::ready && find_worker(worker->id) == worker) hold_to_memory_limits(*worker);
  }
}

/// Over the hard limit in the middle of an item: killed. It is read once more before that, for the item which took the memory may be over by now, and
/// the next one is innocent. Over the soft limit, or over the hard one with nothing to run: it leaves after its item, having run one at least,
/// else a limit below what the initializer takes would be a storm of starts.
void Engine::Impl::hold_to_memory_limits(Worker& worker) {
  if (worker.kill_cause != Cause::none) return;  // killed already, for this or another reason, and slow to die
  WorkerMemory& memory = worker.memory;
  const bool too_much = options.memory_limit != 0 && memory.last > options.memory_limit;
  if (too_much && worker.busy()) {
    const auto bytes = memory.reader.own_bytes();
    if (!bytes || *bytes - memory.at_birth <= options.memory_limit) return;
    memory.last = *bytes - memory.at_birth;
    memory.peak = std::max(memory.peak, memory.last);
    worker.report.detail = size_text(memory.last) + " of its own, memory_limit is " + size_text(options.memory_limit);
    kill_worker(worker, Cause::memory_limit);
    return;
  }
  const bool grown = options.max_memory_per_worker != 0 && memory.last > options.max_memory_per_worker;
  if ((too_much || grown) && worker.items_run != 0 && !worker.closing) ask_to_leave(worker, /*deliver=*/true);
}

/// Something is in flight again: whom the kernel has killed until now, none of them was at work for this pool. By the thread that has submitted:
/// the supervisor may come so late that it finds the first death there already.
void Engine::Impl::end_memory_rest() {
  if (memory_look_at != kRested || scheduler.unsettled_in_all() == 0) return;
  memory_look_at = clock.now();
  oom_account.write_off(oom_counter.read());
}

/// Whether a rise of the kernel's count is this death's. Asked once for each death, for it uses the rise up.
bool Engine::Impl::killed_for_memory(const Worker& worker) {
  if (worker.kill_cause != Cause::none || !was_sigkilled(worker.status_known, worker.raw_status)) return false;
  if (memory_look_at == kRested && worker.ready_told) {  // an idle one of an idle pool: the count may have risen long ago
    oom_account.write_off(oom_counter.read());
    return false;
  }
  oom_account.look(oom_counter.read(), clock.now());
  if (oom_account.unclaimed() == 0) return false;
  std::vector<std::int64_t> others;
  for (const auto& [id, other] : workers) {
    if (other.get() != &worker && awaits_explanation(*other)) others.push_back(other->memory.last);
  }
  return oom_account.claim(worker.memory.last, others);
}

}  // namespace holdfast::pool
