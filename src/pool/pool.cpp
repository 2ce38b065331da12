// What: the public C++ pool (include/holdfast/pool.hpp) on top of Engine: encodes nothing, forks a C++ zygote, keeps a restarter thread.
#include "holdfast/pool.hpp"

#include <algorithm>
#include <atomic>
#include <csignal>
#include <utility>

#include "pool/engine.hpp"
#include "sys/cgroup.hpp"
#include "sys/clock.hpp"
#include "sys/failpoint.hpp"
#include "sys/process.hpp"
#include "sys/signals.hpp"
#include "sys/thread.hpp"
#include "worker/cpp_zygote.hpp"

namespace holdfast {

namespace {

constexpr Nanos kForEver = Nanos::max();

std::optional<Error> check(const Policies& policies, const char* operation) {
  const auto bad = [operation](const char* what) { return Error{ErrorCode::invalid_argument, 0, operation, what}; };
  if (policies.task_timeout < Nanos{0}) return bad("options.policies.task_timeout: expected 0 (none) or more");
  if (policies.soft_timeout != Nanos{0})
    return bad("options.policies.soft_timeout: expected 0: it is for Python pools, a C++ handler cannot be interrupted");
  if (policies.retry.backoff_factor < 1.0) return bad("options.policies.retry.backoff_factor: expected 1 or more");
  if (policies.retry.jitter < 0.0 || policies.retry.jitter > 1.0) return bad("options.policies.retry.jitter: expected 0 to 1");
  if (policies.retry.then == OnFailure::retry) return bad("options.policies.retry.then: expected raise, skip or abort");
  return std::nullopt;
}

std::optional<Error> check(const Handler& handler, const PoolOptions& options) {
  const auto bad = [](const char* what) { return Error{ErrorCode::invalid_argument, 0, "Pool::open", what}; };
  if (!handler) return bad("handler: expected a callable, got an empty std::function");
  if (options.workers > ring::kMaxWorkers) return bad("options.workers: expected at most 4096");
  if (options.grace < Nanos{0}) return bad("options.grace: expected 0 or more");
  if (options.start_deadline <= Nanos{0}) return bad("options.start_deadline: expected more than 0");
  if (options.leave_limit < Nanos{0}) return bad("options.leave_limit: expected 0 or more");
  if (options.memory_limit < 0) return bad("options.memory_limit: expected 0 (none) or more");
  if (options.max_memory_per_worker < 0) return bad("options.max_memory_per_worker: expected 0 (none) or more");
  if (options.memory_limit != 0 && options.max_memory_per_worker >= options.memory_limit)
    return bad("options.max_memory_per_worker: expected less than memory_limit, which comes first otherwise");
  return check(options.policies, "Pool::open");
}

Outcome to_outcome(pool::Settled&& settled) {
  Outcome outcome;
  outcome.kind = settled.kind;
  outcome.failure = settled.failure;
  outcome.attempts = settled.attempts;
  const ByteSpan bytes = settled.payload.bytes();
  if (settled.kind == OutcomeKind::done)
    outcome.value.assign(bytes.begin(), bytes.end());
  else if (settled.payload.is_lost())
    outcome.error = "the result has come, but there was no memory for it in this process";
  else
    outcome.error.assign(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  if (settled.report) outcome.report = *settled.report;
  return outcome;
}

}  // namespace

struct Pool::BatchImpl {
  pool::ItemBatch items;
};
void Pool::BatchDeleter::operator()(BatchImpl* batch) const { delete batch; }

struct Pool::Impl {
  PoolOptions options;
  Handler handler;
  std::shared_ptr<pool::Engine> engine;
  pool::FunctionRef function;
  sigset_t callers_mask{};  // not that of the restarter, which blocks all signals
  sys::NativeThread restarter;

  Status fork_zygote();
  void restart_zygotes();
};

Status Pool::Impl::fork_zygote() {
  auto seed = engine->prepare_zygote();
  if (!seed) return std::move(seed).error();
  HF_FAILPOINT(parent_zygote_prepared);
  // Copies: a forked child of this process, as the zygote is, closes what belongs to the engine (fork_guard.hpp).
  auto bell = sys::duplicate(seed->bell_fd);
  if (!bell) return std::move(bell).error();
  auto parent = sys::duplicate(seed->parent_pidfd);
  if (!parent) return std::move(parent).error();
  auto pid = worker::fork_cpp_zygote({.pool_socket = std::move(seed->socket),
                                      .bell_fd = bell->get(),
                                      .parent_pidfd = parent->get(),
                                      .handler = handler,
                                      .initializer = options.initializer,
                                      .worker_mask = callers_mask,
                                      .warm_up = {},  // a fork without an interpreter costs little
                                      .in_zygote = {}});
  if (!pid) return std::move(pid).error();
  HF_FAILPOINT(parent_zygote_forked);
  return engine->zygote_running(*pid, /*is_our_child=*/true);
}

/// The restarter's body: asleep until a zygote has died.
void Pool::Impl::restart_zygotes() {
  for (;;) {
    const pool::Waited waited = engine->wait_zygote_needed(kForEver);
    if (waited == pool::Waited::ended) return;
    // A fork that fails now (no memory, no pids) leaves the pool without a zygote: terminating tells every waiter.
    if (waited == pool::Waited::ready && !fork_zygote()) engine->kill();
  }
}

Result<Pool> Pool::open(Handler handler, PoolOptions options) {
  if (auto bad = check(handler, options)) return *std::move(bad);
  if (options.workers == 0) options.workers = sys::allowed_cpus();
  auto engine = pool::Engine::create({.workers = options.workers,
                                      .max_chunks_per_worker = options.max_chunks_per_worker,
                                      .max_restarts = options.max_restarts,
                                      .max_deaths = options.max_deaths,
                                      .grace = options.grace,
                                      .start_deadline = options.start_deadline,
                                      .leave_limit = options.leave_limit,
                                      .memory_limit = options.memory_limit,
                                      .max_memory_per_worker = options.max_memory_per_worker});
  if (!engine) return std::move(engine).error();
  auto impl = std::make_unique<Impl>();
  impl->options = std::move(options);
  impl->handler = std::move(handler);
  impl->callers_mask = sys::BlockAllSignals().old_mask();
  impl->engine = *std::move(engine);
  auto function = impl->engine->intern_function({});
  if (!function) return std::move(function).error();
  impl->function = *std::move(function);
  if (auto forked = impl->fork_zygote(); !forked) return std::move(forked).error();
  if (auto started = impl->engine->start(); !started) return std::move(started).error();
  auto restarter = sys::NativeThread::start({.name = "hf-restarter", .stack_bytes = 0}, [raw = impl.get()] { raw->restart_zygotes(); });
  if (!restarter) return std::move(restarter).error();
  impl->restarter = *std::move(restarter);
  while (impl->engine->wait_started(kForEver) == pool::Waited::interrupted) {}
  return Pool(std::move(impl));
}

Pool::Pool(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Pool::Pool(Pool&&) noexcept = default;
Pool& Pool::operator=(Pool&& other) noexcept {
  const Pool old(std::exchange(impl_, std::move(other.impl_)));  // ends as every pool does
  return *this;
}

Pool::~Pool() {
  if (!impl_) return;
  if (impl_->engine->in_forked_child()) {
    impl_->restarter.forget();
    return;
  }
  terminate();
  (void)join();  // the ladder ends by itself (P4)
}

Pool::Batch Pool::new_batch() { return Batch(new BatchImpl); }

Status Pool::add(Batch& batch, std::span<const std::byte> item) {
  if (item.size() <= pool::ItemBatch::kStagedLimit) {
    batch->items.add(item);
    return ok_status();
  }
  auto buffer = impl_->engine->buffers()->sealed_copy(item);
  if (!buffer) return std::move(buffer).error();
  batch->items.add_large(*std::move(buffer), item.size());
  return ok_status();
}

Result<Job> Pool::submit_batch(Batch batch, const JobOptions& options) {
  if (options.policies) {
    if (auto bad = check(*options.policies, "Pool::submit")) return *std::move(bad);
  }
  const std::uint64_t count = batch->items.count();
  const std::uint64_t quarter = 4ULL * impl_->options.workers;
  pool::JobRequest request;
  request.function = impl_->function;
  request.items = std::move(batch->items);
  request.chunk_size = options.chunk_size != 0 ? options.chunk_size : std::max<std::uint64_t>(1, (count + quarter - 1) / quarter);
  request.policies = options.policies.value_or(impl_->options.policies);
  auto job = impl_->engine->submit(std::move(request));
  if (!job) return std::move(job).error();
  return Job(impl_->engine, std::make_shared<pool::JobRef>(*std::move(job)));
}

Result<Job> Pool::submit(std::span<const std::byte> item, const JobOptions& options) {
  Batch batch = new_batch();
  if (auto added = add(batch, item); !added) return std::move(added).error();
  return submit_batch(std::move(batch), options);
}

void Pool::close() { impl_->engine->close(); }

void Pool::terminate(std::optional<std::chrono::nanoseconds> grace) { impl_->engine->terminate(grace.value_or(impl_->options.grace)); }

bool Pool::join(std::optional<std::chrono::nanoseconds> timeout) {
  const Time until = timeout ? after(sys::now(), *timeout) : kNever;
  for (;;) {
    const Nanos rest = until == kNever ? kForEver : std::max(Nanos{0}, until - sys::now());
    const pool::Waited waited = impl_->engine->wait_ended(rest);
    if (waited == pool::Waited::ready || waited == pool::Waited::ended) {
      impl_->restarter.join();
      return true;
    }
    if (waited == pool::Waited::timed_out) return false;
  }
}

std::vector<WorkerView> Pool::workers() const {
  std::vector<WorkerView> views;
  for (const pool::WorkerInfo& each : impl_->engine->workers()) {
    views.push_back({.worker = each.worker,
                     .identity = each.identity,
                     .pid = each.pid,
                     .alive = each.alive,
                     .ready = each.ready,
                     .memory_bytes = each.memory_bytes});
  }
  return views;
}

Stats Pool::stats() const { return impl_->engine->stats(); }

std::vector<KilledItem> Pool::killed_items() const {
  std::vector<KilledItem> items;
  for (const pool::KilledItem& each : impl_->engine->killed_items()) {
    const ByteSpan bytes = each.large_item ? ByteSpan{each.large_item->data(), each.large_size} : each.item.bytes();
    items.push_back({.item = {bytes.begin(), bytes.end()}, .report = each.report, .outcome = each.outcome});
  }
  return items;
}

std::optional<std::vector<Outcome>> Job::get_for(std::chrono::nanoseconds timeout) {
  const Time until = after(sys::now(), timeout);
  for (;;) {
    const Nanos rest = until == kNever ? kForEver : std::max(Nanos{0}, until - sys::now());
    const pool::Waited waited = engine_->wait_job(*job_, rest);
    if (waited == pool::Waited::timed_out) return std::nullopt;
    if (waited == pool::Waited::interrupted) continue;
    std::vector<Outcome> outcomes;
    pool::Harvest harvest = engine_->take_results(*job_);
    while (harvest.next()) {
      if (harvest.kind() != OutcomeKind::pending) outcomes.push_back(to_outcome(harvest.take()));
    }
    return outcomes;
  }
}

std::vector<Outcome> Job::get() { return *get_for(kForEver); }

std::optional<Outcome> Job::next() {
  pool::Settled settled;
  for (;;) {
    const pool::Waited waited = engine_->wait_item(*job_, next_, kForEver, settled);
    if (waited == pool::Waited::ended) return std::nullopt;
    if (waited != pool::Waited::ready) continue;
    ++next_;
    return to_outcome(std::move(settled));
  }
}

bool Job::ready() const { return engine_->unsettled(**job_) == 0; }
std::size_t Job::size() const { return engine_->job_size(**job_); }
void Job::cancel(bool kill) { engine_->cancel(*job_, 0, engine_->job_size(**job_), kill); }

}  // namespace holdfast
