// What: the parent's record of one worker process: its descriptors, its channel, the chunks it holds, its large result buffers, and
// how it ended. Guarded by the pool's mutex. Made by Engine::Impl::start_worker, freed when the process is gone and reported.
//
// Invariants: 1. `slots` in use belong to chunks in `chunks` or to `retired_slots`. 2. A retired slot (its chunk was taken back in
// part) is used again only when the worker has passed that chunk's frames: a result of a later chunk was seen, or the ring is empty.
#pragma once

#include <algorithm>
#include <deque>
#include <memory>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "holdfast/exit_report.hpp"
#include "pool/job.hpp"
#include "ring/channel.hpp"
#include "sys/fd.hpp"
#include "sys/procfs.hpp"

namespace holdfast::pool {

/// A chunk that was given to a worker. Its frames may be only partly pushed, when the ring had no room.
struct ChunkInFlight {
  ChunkId chunk = 0;
  JobRef job;
  ItemIndex first = 0;
  std::uint32_t count = 0;
  std::uint32_t end = 0;       // items the worker may begin (lowered by take_back)
  std::uint32_t pushed = 0;    // item frames pushed
  std::uint32_t answered = 0;  // results seen: they come in order
  std::uint32_t slot = 0;
  bool announced = false;  // the chunk frame was pushed
  /// An argument too large for the ring, sent and not answered. Whatever becomes of its job meanwhile, its buffer must not be used again yet: the
  /// worker's task reads it, or has views of it.
  struct Lent {
    std::uint32_t item;
    std::shared_ptr<ring::SharedBuffer> buffer;
    bool staged;  // copied into the buffer when it was sent
  };
  std::vector<Lent> lent;

  /// For the item that is pushed next. The second time in a row (the ring had no room for its frame) it is lent already.
  void lend(std::shared_ptr<ring::SharedBuffer> buffer, bool staged) {
    if (lent.empty() || lent.back().item != pushed) lent.push_back({pushed, std::move(buffer), staged});
  }
  /// The buffer that item's argument travelled in, while it is not answered; nullptr: it had none.
  const ring::SharedBuffer* lent_for(std::uint32_t item) const {
    const auto found = std::find_if(lent.begin(), lent.end(), [item](const Lent& each) { return each.item == item; });
    return found == lent.end() ? nullptr : found->buffer.get();
  }
  void drop_answered() {
    if (!lent.empty()) std::erase_if(lent, [this](const Lent& each) { return each.item < answered; });
  }
};

class ResultBuffers;

/// What a worker is born with: its ring and its socket.
struct Line {
  std::unique_ptr<ring::ParentChannel> channel;
  UniqueFd socket;                                                      // our end
  UniqueFd worker_end;                                                  // until the worker has it
  static constexpr std::string_view kRingName = "memfd:holdfast-ring";  // as /proc/<pid>/maps shows it
  static Result<Line> make(std::uint32_t worker_index);
};

/// A worker's own memory: what it has beyond what it was born with (a newborn fork of a large parent shows all of the parent's).
struct WorkerMemory {
  int pid = 0;                // whose
  sys::MemoryReader reader;   // from its hello on
  std::int64_t at_birth = 0;  // bytes
  std::int64_t reading = -1;  // the supervisor's, made without the mutex
  std::int64_t last = -1;     // -1: not read yet
  std::int64_t peak = -1;     // the highest reading
};

class Worker {
 public:
  enum class Life : std::uint8_t {
    requested,  // `start` sent, or waiting to be sent
    enrolled,   // hello came
    ready,      // initializer done
    dying,      // it has ended: pidfd or zygote said so; waiting for the zygote's `exited`, if that has not come
  };

  Worker(WorkerId worker_id, std::uint32_t worker_index, std::int64_t worker_identity)
      : id(worker_id), index(worker_index), identity(worker_identity) {}

  const WorkerId id;
  const std::uint32_t index;    // bit in the bell page
  const std::int64_t identity;  // 1, 2, ...: for names
  Life life = Life::requested;
  bool ready_told = false;  // the scheduler was told worker_ready
  int pid = 0;              // from the zygote
  int said_pid = 0;         // from its hello
  int group = 0;            // its process group; 0 = not known
  UniqueFd pidfd;
  UniqueFd socket;          // our end
  UniqueFd zygote_end;      // the worker's end, until it is started
  bool start_sent = false;  // on this line
  std::shared_ptr<ring::ParentChannel> channel;
  std::size_t empty_ring_room = 0;  // task_room() of an empty ring

  std::deque<ChunkInFlight> chunks;  // in the order sent
  std::vector<std::uint32_t> free_slots;
  std::vector<std::uint32_t> retired_slots;  // see invariant 2
  ChunkId retired_by = 0;                    // newest chunk sent when the last slot was retired
  ChunkId last_sent = 0;                     // chunk ids grow
  std::unordered_set<FunctionId> functions;  // sent and not forgotten
  std::unordered_set<BufferId> buffers;      // argument buffers whose descriptor was sent
  std::shared_ptr<ResultBuffers> results;
  bool uncommitted = false;  // frames pushed, not committed
  bool wants_room = false;   // a chunk could not be pushed whole

  bool closing = false;            // retired: it leaves by itself
  Cause kill_cause = Cause::none;  // the pool sent SIGKILL, and why
  Cause stop_cause = Cause::none;  // the pool sent SIGTERM (terminate)
  Time requested_at{0};
  Time start_deadline = kNever;
  Time evidence_at{0};                // first sign of its death
  Time exited_deadline = kNever;      // dying: until when the zygote's word is waited for
  Time eof_check_at = kNever;         // its socket ended: look then whether it is still our worker
  Time leave_deadline = kNever;       // closed, with nothing left to run: gone by then, or killed
  Time abandon_at = kNever;           // SIGKILL was sent: no sign of death by then = abandoned
  Time look_until = kNever;           // to be killed for its time limit as soon as it has shown its stacks, and then at the latest
  std::uint32_t stacks_asked = 0;     // number of the last request for its stacks,
  std::uint32_t stacks_answered = 0;  // of the last one that it has answered,
  std::string stacks;                 // and that answer, or why it could not be asked
  bool orphaned = false;              // its zygote has died, and it has not been asked to leave for it
  bool exit_told = false;             // the zygote's `exited` has come
  bool status_known = false;
  int raw_status = 0;
  bool oom_evidence = false;  // the kernel's count explains its SIGKILL (core/oom_account.hpp)
  std::uint64_t items_run = 0;
  WorkerMemory memory;
  bool text_follows = false;                           // init_failed was read: the next message is its text
  std::string start_error;                             // that text, or why it could not be started
  static constexpr std::size_t kStagedAtOnce = 8;      // staged buffers that lie at a worker: each holds a descriptor
  std::uint64_t announced_item = ~std::uint64_t{0};    // last (chunk, item) told to the scheduler as started
  std::uint64_t interrupted_item = ~std::uint64_t{0};  // last item that it was running when it got a SIGINT from the pool, and when
  Time interrupted_at{0};
  ExitReport report;

  /// A number for an item of a chunk: equal for the same one.
  static std::uint64_t item_key(ChunkId chunk, std::uint32_t item) { return chunk * 0x9E3779B97F4A7C15ULL + item; }
  /// That of the item which it says it is running.
  std::uint64_t said_item() const {
    const auto progress = channel->progress();
    return item_key(progress.chunk, progress.item);
  }

  /// In a forked child of the host: closes what is the parent's.
  void forked_child();
  ChunkInFlight* find_chunk(ChunkId chunk);
  bool busy() const { return !chunks.empty(); }
  /// When it is to be looked at, whatever happens.
  Time deadline() const {
    if (life == Life::dying) return exited_deadline;
    return std::min({start_deadline, abandon_at, eof_check_at, leave_deadline, look_until});
  }
  std::size_t staged() const {
    std::size_t sum = 0;
    for (const ChunkInFlight& each : chunks)
      sum += static_cast<std::size_t>(std::count_if(each.lent.begin(), each.lent.end(), [](const auto& loan) { return loan.staged; }));
    return sum;
  }
  /// A free chunk slot, or nullopt: then `wants_room` until some come back.
  std::optional<std::uint32_t> take_slot();
  void give_slot(std::uint32_t slot, bool passed);
  /// A result of `chunk` was seen: slots retired before it was sent are free again.
  void saw_result_of(ChunkId chunk);
};

}  // namespace holdfast::pool
