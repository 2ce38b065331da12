// What: what the task loop asks of the language it runs tasks in. Implementations: CppRunner (cpp_runner.hpp: a handler from bytes to
// bytes) and python/bindings/python_runner (functions unpickled, called, results encoded). Used by one thread, the loop's.
//
// No function here throws, and none blocks except through the user's own code. Between wait_begin() and wait_end() the loop sleeps and
// calls nothing else (Python's runner gives the GIL away meanwhile).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include <memory>

#include "base/types.hpp"
#include "ring/channel.hpp"

namespace holdfast::worker {

struct ItemCall {
  FunctionId function = 0;
  ChunkId chunk = 0;
  std::uint32_t item = 0;  // within the chunk
  std::uint16_t call_mode = 0;
  std::uint16_t flags = 0;             // ring::TaskFrame::flags
  ByteSpan payload;                    // valid during run() only; or, where it is in a buffer, as long as a copy of `memory` is kept
  std::shared_ptr<const void> memory;  // of a payload in a buffer: it is this process's to write to
};

/// What came of one item. Either `bytes` (at most ring::kInlineLimit, valid until release()), or `large_size` > 0: the loop finds
/// room for that many and has them written by write_large().
struct RunAnswer {
  enum class Next : std::uint8_t { publish, leave } next = Next::publish;
  ring::ResultKind kind = ring::ResultKind::done;
  ByteSpan bytes;
  std::size_t large_size = 0;
  int exit_code = 0;  // leave: no result; the process ends with this code
  bool last = false;  // publish: the worker leaves after it, for the task may have left it in a state that no other task should meet
};

/// What signal handlers did that ran between two tasks.
struct IdleAnswer {
  enum class Next : std::uint8_t { go_on, note, leave } next = Next::go_on;
  ByteSpan note;      // note: a warning that belongs to no task; valid until the next call
  int exit_code = 0;  // leave
};

class Runner {
 public:
  virtual ~Runner() = default;

  virtual void add_function(FunctionId function, ByteSpan bytes) = 0;  // copies the bytes
  virtual void forget_function(FunctionId function) = 0;
  /// May let go of `call.memory` before the item is done: the next user of the payload's buffer waits for that, and so does a fork.
  virtual RunAnswer run(ItemCall& call) = 0;
  /// A result for an item that could not be run, or whose result could not be stored (`err_no`: why, as errno; 0 = none).
  virtual RunAnswer failed(std::string_view why, int err_no, bool result_phase) = 0;
  /// The bytes of the last answer with large_size: exactly so many.
  virtual void write_large(std::byte* to) = 0;
  /// What run() made of a payload in a buffer may go, now that the answer's bytes are placed; inline ones stay valid until release().
  virtual void release_arguments() = 0;
  /// The last answer was published or given up: what it held may go.
  virtual void release() = 0;

  /// Nothing has come for a moment: what may be needed later, and takes time to load, can be loaded now. Called again and again.
  virtual void prepare() = 0;
  /// Runs the handlers of signals that have come. Called before each item and around sleeps.
  virtual IdleAnswer check_signals() = 0;
  virtual void wait_begin() = 0;
  virtual void wait_end() = 0;
  /// In a forked child of a task that came back into the loop, before it leaves: what it has printed is flushed.
  virtual void flush_in_forked_child() = 0;
};

}  // namespace holdfast::worker
