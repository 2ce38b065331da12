// What: pthread_create under a full signal mask. [thread.hpp]
#include "sys/thread.hpp"

#include <algorithm>
#include <memory>
#include <utility>

#include <unistd.h>

#include "sys/error.hpp"
#include "sys/process.hpp"
#include "sys/signals.hpp"

namespace holdfast::sys {

namespace {

struct Start {
  std::function<void()> body;
  const char* name;
};

// noexcept: an exception out of the body is our own bug and must not unwind through C frames.
void* run(void* argument) noexcept {
  const std::unique_ptr<Start> start(static_cast<Start*>(argument));
  set_thread_name(start->name);
  start->body();
  return nullptr;
}

std::size_t whole_pages(std::size_t bytes) {
  const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  const std::size_t wanted = std::max(bytes, static_cast<std::size_t>(::sysconf(_SC_THREAD_STACK_MIN)));
  return (wanted + page - 1) / page * page;
}

}  // namespace

Result<NativeThread> NativeThread::start(const Options& options, std::function<void()> body) {
  auto start = std::make_unique<Start>(Start{std::move(body), options.name});
  pthread_attr_t attributes;
  if (const int failed = ::pthread_attr_init(&attributes)) return error_from_errno("pthread_attr_init", failed);
  if (options.stack_bytes != 0) (void)::pthread_attr_setstacksize(&attributes, whole_pages(options.stack_bytes));
  pthread_t handle{};
  int failed = 0;
  {
    // The new thread inherits the full mask: there is no moment in which a signal handler could run in it.
    const BlockAllSignals blocked;
    failed = ::pthread_create(&handle, &attributes, run, start.get());
  }
  (void)::pthread_attr_destroy(&attributes);  // fails only for attributes that were never initialised
  if (failed != 0) return Error{ErrorCode::exhausted, failed, "pthread_create", options.name};
  (void)start.release();  // run() owns it now
  return NativeThread(handle);
}

NativeThread::NativeThread(NativeThread&& other) noexcept : handle_(other.handle_), joinable_(std::exchange(other.joinable_, false)) {}

NativeThread& NativeThread::operator=(NativeThread&& other) noexcept {
  if (this != &other) {
    join();
    handle_ = other.handle_;
    joinable_ = std::exchange(other.joinable_, false);
  }
  return *this;
}

void NativeThread::join() {
  if (!std::exchange(joinable_, false)) return;
  (void)::pthread_join(handle_, nullptr);  // fails only for a handle that is not joinable
}

void NativeThread::detach() {
  if (!std::exchange(joinable_, false)) return;
  (void)::pthread_detach(handle_);  // as above
}

}  // namespace holdfast::sys
