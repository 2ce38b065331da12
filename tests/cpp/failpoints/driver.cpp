// What: the programs that the failpoint tests run (tests/failpoints/run.py), each a small life of a pool that passes through a part of the
// failpoints. `hf_failpoint_driver PROGRAM [policy=raise|skip|retry] [lost=N] [stops] [broken] [repeated]`: what may happen to it (judge.hpp).
// Exit codes: 0 all promises kept, 1 complaints on stderr, 2 a wrong call. It may hang: whoever runs it has a limit for that.
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <stdexcept>
#include <string>
#include <string_view>

#include "failpoints/judge.hpp"
#include "failpoints/ledger.hpp"
#include "holdfast/holdfast.hpp"

namespace holdfast::failpoints {

namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr std::uint32_t kSmallBytes = 16;
constexpr std::uint32_t kLargeBytes = 200'000;  // far beyond what goes through a ring

/// One run of one program: its pool, its ledger, its judge.
class Life {
 public:
  Life(const Policies& policies, const Allowed& allowed, bool stops) : allowed_(allowed), judge_(*ledger_, policies, allowed) {
    options_.workers = 2;
    options_.policies = policies;
    options_.max_restarts = allowed.broken ? 5 : 1000;
    options_.grace = milliseconds(300);
    if (!stops) return;
    // Somebody has to notice that a worker stands still.
    options_.policies.task_timeout = seconds(1);
    options_.start_deadline = seconds(1);
    options_.leave_limit = seconds(1);
  }

  PoolOptions& options() { return options_; }
  Ledger& ledger() { return *ledger_; }
  Judge& judge() { return judge_; }

  bool open() {
    auto opened = Pool::open([ledger = ledger_](std::span<const std::byte> item) { return handle(*ledger, item); }, options_);
    if (!opened) {
      judge_.complain("the pool cannot be opened: " + opened.error().message());
      return false;
    }
    pool_.emplace(*std::move(opened));
    return true;
  }
  Pool& pool() { return *pool_; }

  std::vector<Item> items(std::size_t count, const Item& like = {}) {
    std::vector<Item> made(count, like);
    for (Item& item : made) item.index = next_index_++;
    return made;
  }
  /// Nothing comes of it when the pool was broken or aborted before: what was allowed then.
  std::optional<Job> submit(const std::vector<Item>& items, std::uint64_t chunk_size, std::optional<Policies> policies = std::nullopt) {
    std::vector<Bytes> bytes;
    std::transform(items.begin(), items.end(), std::back_inserter(bytes), encode);
    auto job = pool_->map(bytes, {.chunk_size = chunk_size, .policies = policies});
    if (job) return *std::move(job);
    if (!allowed_.broken) judge_.complain("submit: " + job.error().message());
    return std::nullopt;
  }
  /// A whole job, from submit to judgement.
  void run(const std::vector<Item>& items, std::uint64_t chunk_size) {
    if (auto job = submit(items, chunk_size)) judge_.job(items, job->get());
  }
  void wait_until_all_are_ready() {
    const auto ready = [this] {
      const auto all = pool_->workers();
      return std::all_of(all.begin(), all.end(), [](const WorkerView& worker) { return worker.ready; });
    };
    // One that is stopped between its hello and its initializer's end never is.
    for (int i = 0; !ready() && !(allowed_.time_outs && i >= 1000); ++i) ::usleep(1000);
  }
  /// The normal end.
  void end() {
    pool_->close();
    (void)pool_->join();
  }

 private:
  Ledger* ledger_ = Ledger::create();
  const Allowed allowed_;
  PoolOptions options_;
  Judge judge_;
  std::optional<Pool> pool_;
  std::uint32_t next_index_ = 0;
};

// --- the programs ---

/// Small and large items, read in three ways, close() and join().
void jobs(Life& life) {
  if (!life.open()) return;
  auto small = life.items(48);
  for (std::size_t i = 0; i < small.size(); i += 7) small[i].act = Act::raise;
  life.run(small, /*chunk_size=*/8);
  const auto large = life.items(6, {.result_bytes = kLargeBytes, .argument_bytes = kLargeBytes});
  if (auto job = life.submit(large, 1)) {
    std::vector<Outcome> outcomes;
    while (auto outcome = job->next()) outcomes.push_back(*std::move(outcome));
    life.judge().job(large, outcomes);
  }
  life.run(life.items(1), 1);
  life.end();
}

/// Nobody waits for the job: the supervisor drains.
void unattended(Life& life) {
  if (!life.open()) return;
  const auto items = life.items(12);
  if (auto job = life.submit(items, 1)) {
    while (!job->ready()) ::usleep(1000);
    life.judge().job(items, job->get());
  }
  life.end();
}

/// terminate() while all workers are in items that do not listen to SIGTERM, and others have not begun.
void terminated(Life& life) {
  if (!life.open()) return;
  const auto items = life.items(8, {.act = Act::hang});
  auto job = life.submit(items, 2);
  while (job && life.ledger().runs == 0 && !job->ready()) ::usleep(1000);
  life.pool().terminate();
  (void)life.pool().join();
  if (job) life.judge().job(items, job->get(), /*cut_short=*/true);
}

/// Every worker leaves after each chunk.
void recycled(Life& life) {
  life.options().max_chunks_per_worker = 1;
  if (!life.open()) return;
  life.run(life.items(6), 2);
  life.end();
}

/// Items that kill their workers.
void deaths(Life& life) {
  if (!life.open()) return;
  auto items = life.items(16);
  items[3].act = items[4].act = items[13].act = Act::die;
  life.run(items, 4);
  life.end();
}

/// An item that kills the zygote; the pool goes on under another.
void zygote_killed(Life& life) {
  if (!life.open()) return;
  auto items = life.items(8);
  items[2].act = Act::kill_zygote;
  life.run(items, 2);
  life.run(life.items(8), 2);
  life.end();
}

/// The pool's process dies in the middle of a job, with a daemon of a worker's about.
void end_of_the_parent(Life& life, Act how) {
  if (!life.open()) return;
  auto items = life.items(8);
  items[3].act = how;
  items[7].act = Act::hang;  // so that it is not over before
  auto job = life.submit(items, 2);
  if (!job) return;
  // Unless the killer was lost itself.
  const auto outcome = [&] {
    for (int i = 0; i < 3; ++i) (void)job->next();
    return job->next();
  }();
  if (!outcome || outcome->ok()) life.judge().complain("it was to be killed");
}
void orphaned(Life& life) { end_of_the_parent(life, Act::kill_parent); }
/// The zygote, which would kill the workers, dies just before: they have only themselves.
void orphaned_alone(Life& life) { end_of_the_parent(life, Act::kill_both); }

/// The pool's process stands still until a worker has filled its result ring.
void full_ring(Life& life) {
  if (!life.open()) return;
  life.wait_until_all_are_ready();  // one wakes, the other fills its ring
  auto items = life.items(24, {.result_bytes = 30'000});
  auto wakers = life.items(1, {.act = Act::wake_parent});
  items[0].act = Act::stop_parent;
  auto waker = life.submit(wakers, 1);
  auto job = life.submit(items, items.size());
  if (job) life.judge().job(items, job->get());
  if (waker) life.judge().job(wakers, waker->get());
  life.end();
}

/// An item that hangs until its time is over; a job that is cancelled, with what runs and what lies at the workers.
void limits(Life& life) {
  if (!life.open()) return;
  Policies limited = life.options().policies;
  limited.task_timeout = milliseconds(200);
  auto items = life.items(4);
  items[1].act = Act::hang;
  if (auto job = life.submit(items, 2, limited)) life.judge().job(items, job->get());
  const std::uint32_t runs = life.ledger().runs;
  const auto hanging = life.items(8, {.act = Act::hang});
  if (auto job = life.submit(hanging, 4)) {
    while (life.ledger().runs == runs && !job->ready()) ::usleep(1000);
    job->cancel(/*kill=*/true);
    life.judge().job(hanging, job->get(), /*cut_short=*/true);
  }
  life.run(life.items(4), 1);
  life.end();
}

/// The first two starts of a worker fail in the initializer.
void births(Life& life) {
  life.options().initializer = [ledger = &life.ledger()] {
    if (ledger->initialized.fetch_add(1) < 2) throw std::runtime_error("not yet");
  };
  if (!life.open()) return;
  life.run(life.items(4), 1);
  life.end();
}

struct Program {
  std::string_view name;
  void (*run)(Life&);
};
constexpr auto kPrograms = std::to_array<Program>({{"jobs", jobs},
                                                   {"unattended", unattended},
                                                   {"terminated", terminated},
                                                   {"recycled", recycled},
                                                   {"deaths", deaths},
                                                   {"zygote_killed", zygote_killed},
                                                   {"orphaned", orphaned},
                                                   {"orphaned_alone", orphaned_alone},
                                                   {"full_ring", full_ring},
                                                   {"limits", limits},
                                                   {"births", births}});

/// A thread that was joined is in /proc for a moment longer; all else is gone when the pool says so.
void look_for_leaks(Judge& judge, const Holdings& before) {
  Holdings after = Holdings::now();
  for (int i = 0; i < 1000 && after.threads > before.threads; ++i) {
    ::usleep(1000);
    after = Holdings::now();
  }
  if (after.children) judge.complain("P5: a child is left");
  if (after.threads > before.threads) judge.complain("P5: threads are left");
  if (after.descriptors > before.descriptors) judge.complain("P5: descriptors are left");
  if (after.memory_files > before.memory_files) judge.complain("P5: memfds are left");
}

int run(const Program& program, const Policies& policies, const Allowed& allowed) {
  const Holdings before = Holdings::now();
  std::optional<Life> life(std::in_place, policies, allowed, /*stops=*/allowed.time_outs);
  program.run(*life);
  Judge judge = life->judge();
  life.reset();  // the pool's destructor
  judge.losses();
  look_for_leaks(judge, before);
  for (const std::string& complaint : judge.complaints()) (void)std::fprintf(stderr, "%s\n", complaint.c_str());
  return judge.complaints().empty() ? 0 : 1;
}

/// False: it is no word of ours.
bool read_word(std::string_view word, Policies& policies, Allowed& allowed) {
  const auto all = [&policies](OnFailure policy) { policies.on_death = policies.on_timeout = policy; };
  if (word == "policy=raise") return true;
  if (word == "policy=skip")
    all(OnFailure::skip);
  else if (word == "policy=retry")
    all(OnFailure::retry);
  else if (word.substr(0, 5) == "lost=")
    allowed.lost = static_cast<std::uint32_t>(std::atoi(word.data() + 5));
  else if (word == "stops")
    allowed.time_outs = true;
  else if (word == "broken")
    allowed.broken = true;
  else if (word == "repeated")
    allowed.repeated = true;
  else
    return false;
  return true;
}

}  // namespace

}  // namespace holdfast::failpoints

int main(int argc, char** argv) {
  using namespace holdfast::failpoints;
  if (argc == 2 && std::string_view(argv[1]) == "--list") {
    for (const Program& program : kPrograms) (void)std::printf("%s\n", std::string(program.name).c_str());
    return 0;
  }
  holdfast::Policies policies;
  Allowed allowed;
  const auto* program = kPrograms.end();
  if (argc > 1) program = std::find_if(kPrograms.begin(), kPrograms.end(), [&](const Program& each) { return each.name == argv[1]; });
  bool good = program != kPrograms.end();
  for (int i = 2; i < argc; ++i) good = read_word(argv[i], policies, allowed) && good;
  if (!good) {
    (void)std::fprintf(stderr, "hf_failpoint_driver PROGRAM [policy=raise|skip|retry] [lost=N] [stops] [broken] [repeated]; or --list\n");
    return 2;
  }
  return run(*program, policies, allowed);
}
