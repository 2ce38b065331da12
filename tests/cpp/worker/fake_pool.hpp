// What: the pool's end of the wire for tests of src/worker: a real zygote, real workers, and the least that src/pool would do.
// Waits have no time limit but the outer one, which shows where they hang; the destructor stops the zygote and reaps it.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "ring/buffer.hpp"
#include "ring/channel.hpp"
#include "ring/control.hpp"
#include "sys/fd.hpp"
#include "worker/cpp_zygote.hpp"

namespace holdfast::worker::test {

inline constexpr Nanos kPatience = std::chrono::hours(1);  // beyond any outer time limit

std::vector<std::byte> bytes_of(std::string_view text);
std::string text_of(ByteSpan bytes);

struct FakeWorker {
  WorkerId id = 0;
  UniqueFd socket;
  UniqueFd pidfd;
  int pid = 0;
  int group = 0;
  std::unique_ptr<ring::ParentChannel> channel;
  std::vector<std::unique_ptr<ring::SharedBuffer>> result_buffers;
  std::uint32_t chunks = 0;  // sent so far

  /// The slot for the next chunk: tests never have 64 in flight, so the one used 64 chunks ago is free.
  std::uint32_t next_slot();
};

struct Answer {
  ring::ResultKind kind = ring::ResultKind::done;
  ChunkId chunk = 0;
  std::uint32_t item = 0;
  std::string text;
  BufferId buffer = 0;
  bool argument_kept = false;
};

class FakePool {
 public:
  explicit FakePool(Handler handler, std::function<void()> initializer = {}, std::function<void()> warm_up = {});
  ~FakePool();

  int zygote_pid() const { return zygote_pid_; }
  const UniqueFd& zygote_pidfd() const { return zygote_pidfd_; }
  /// Sends `start` and waits for `started`; with `ready` also for hello and ready. Without `good_ring` the worker gets a memfd that
  /// is no ring.
  std::unique_ptr<FakeWorker> start_worker(bool ready = true, bool good_ring = true);
  ring::Message next_from_zygote(std::vector<UniqueFd>* fds = nullptr);
  static ring::Message next_from(FakeWorker& worker);
  static std::string text_from(FakeWorker& worker, std::size_t size);
  /// Waits for the death and for `exited`, kills the group, sends `reap`; returns `exited`. Nothing is killed in the group when `a` is 0.
  ring::Message bury(FakeWorker& worker, int a);
  void send_to_zygote(ring::MessageType type, WorkerId worker = 0, int pid = 0, std::int64_t a = 0);
  void hang_up() { line_.reset(); }
  /// Waits for the zygote's end; its raw wait status.
  int await_zygote();

  /// One chunk of items, committed. Small payloads only.
  ChunkId submit(FakeWorker& worker, const std::vector<std::string>& items);
  std::optional<Answer> next_answer(FakeWorker& worker, Nanos patience = kPatience);
  /// submit() of one item and its answer.
  Answer run(FakeWorker& worker, const std::string& item);
  ChunkId next_chunk() { return ++chunk_; }
  /// Answers buffer requests as the pool does (or refuses them), until a result is there.
  std::optional<Answer> answer_serving_buffers(FakeWorker& worker, bool refuse = false);

 private:
  UniqueFd line_;
  UniqueFd self_pidfd_;
  UniqueFd zygote_pidfd_;
  std::optional<ring::BellPage> bell_;
  int zygote_pid_ = 0;
  WorkerId last_worker_ = 0;
  ChunkId chunk_ = 0;
  BufferId buffer_ = 100;
};

/// Waits until it holds, looking again every millisecond.
bool eventually(const std::function<bool()>& holds);
bool is_gone_or_zombie(int pid);

}  // namespace holdfast::worker::test
