// What: a soft time limit in the worker: once an item is over it, SoftTimeoutError is raised inside the task, by a handler for a signal
// that the pool sends. Which item is over its limit stands in shared memory; the handler compares it with the one that runs.
//
// Invariants:
//   1. It raises between begin() and end() only, so in the task's own code: never in pickling, in the loop, or in another item.
//   2. It raises once for an item. A signal that comes late, or twice, or from anybody else, does nothing.
//   3. The signal is a real-time one that nobody used when the first such item came; the handler is looked at again before each item,
//      and put in place for another signal if the program has taken this one. Items without a limit cost nothing.
// One thread: the main thread, where Python runs handlers. Made by bind_worker.cpp, used by python_runner.cpp.
#pragma once

#include <Python.h>

#include "base/types.hpp"
#include "ring/channel.hpp"

namespace holdfast::python {

class SoftLimit {
 public:
  /// Lives as long as the process, as `channel` does: the handler may be called until then. nullptr: a Python error is set. With the GIL.
  static SoftLimit* make(ring::WorkerChannel& channel);

  /// From here on the item is interrupted when its limit is over. False: a Python error is set, of the handler's (no signal is free), or out of
  /// another handler of the program, which ran now.
  bool begin(ChunkId chunk, std::uint32_t item);
  void end() { running_ = false; }
  void begin_unlimited() { told_ = false; }
  bool told() const { return told_; }  // the last item was interrupted

 private:
  explicit SoftLimit(ring::WorkerChannel& channel) : channel_(channel) {}
  bool find_functions();
  bool in_place() const;
  bool install();
  static PyObject* on_signal(PyObject* self, PyObject* arguments);

  ring::WorkerChannel& channel_;
  PyObject* make_error_ = nullptr;  // make_error(seconds) -> the exception to raise; there before the first item with a limit
  PyObject* handler_ = nullptr;
  PyObject* get_signal_ = nullptr;  // of the C module: its Python wrappers would run bytecode of theirs
  PyObject* set_signal_ = nullptr;
  int signal_ = 0;              // 0: not in place yet
  PyObject* number_ = nullptr;  // the same as an int
  ChunkId chunk_ = 0;
  std::uint32_t item_ = 0;
  bool running_ = false;
  bool told_ = false;
};

}  // namespace holdfast::python
