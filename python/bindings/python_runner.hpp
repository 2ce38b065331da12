// What: the runner of Python pools (src/worker/runner.hpp): unpickles functions once, calls them, encodes what they return or raise.
//
// Invariants:
//   1. Whatever Python raises here (any BaseException, out of a signal handler too) becomes the outcome of the item it belongs to, a
//      note, or the worker's end (SystemExit out of a call or a handler): nothing propagates (P7).
//   2. Signals are blocked while pickle runs, so no handler raises in the middle of it. The compact code runs no bytecode, so the two
//      system calls are saved there. A handler that became due during the call runs before the result is encoded: it is that item's.
//   3. Arguments and result are let go in release(), after the result was published: a slow __del__ delays nobody. But before it where the
//      arguments are views of a buffer, which the pool may use again from then on.
// One thread, with the GIL, except between wait_begin() and wait_end(). Callers: bind_worker.cpp.
#pragma once

#include <Python.h>

#include <string_view>
#include <unordered_map>
#include <vector>

#include "codec.hpp"
#include "raised.hpp"
#include "soft_limit.hpp"
#include "worker/runner.hpp"

namespace holdfast::python {

class PythonRunner : public worker::Runner {
 public:
  /// `prepare`: holdfast._worker.prepare(), loads what describe() needs.
  /// `describe`: holdfast._describe.describe(exception, phase, result, reason) -> (object to pickle, type name, repr, traceback text);
  /// asked a second time with the `reason` when the first object could not be pickled.
  /// `is_from_handler`: holdfast._describe.is_from_handler(exception, interrupted) -> bool, or None: an exception for which it says so ends the
  /// worker, once it was told.
  /// `soft_limit` outlives it.
  PythonRunner(PyObject* prepare, PyObject* describe, PyObject* is_from_handler, SoftLimit& soft_limit)
      : prepare_(Py_NewRef(prepare)),
        describe_(Py_NewRef(describe)),
        is_from_handler_(is_from_handler == Py_None ? nullptr : Py_NewRef(is_from_handler)),
        soft_limit_(soft_limit) {}
  /// With the GIL.
  ~PythonRunner() override;

  void add_function(FunctionId function, ByteSpan bytes) override;
  void forget_function(FunctionId function) override;
  worker::RunAnswer run(worker::ItemCall& call) override;
  worker::RunAnswer failed(std::string_view why, int err_no, bool result_phase) override;
  void write_large(std::byte* to) override;
  void release_arguments() override;
  void release() override;
  worker::IdleAnswer check_signals() override;
  void prepare() override;
  void wait_begin() override { saved_ = PyEval_SaveThread(); }
  void wait_end() override { PyEval_RestoreThread(saved_); }
  void flush_in_forked_child() override;

 private:
  struct Function {
    std::vector<std::byte> pickled;  // until its first use
    PyObject* callable = nullptr;
    bool by_value = false;          // came through cloudpickle: its results may go back that way
    std::vector<std::byte> raised;  // the payload of every item, when it could not be unpickled
  };
  Function* find_function(FunctionId function);
  void load(Function& function);
  PyObject* call(PyObject* callable, std::uint16_t mode);
  bool call_item(const Function& function, const worker::ItemCall& item);
  worker::RunAnswer encode_result();
  /// The exception now set becomes the answer (clears it).
  worker::RunAnswer raised(RaisedPhase phase);
  PyObject* describe(PyObject* exception, RaisedPhase phase, PyObject* reason);
  void pickle_exception(PyObject* described, PyObject* exception, RaisedPhase phase, std::vector<std::byte>& into);
  void encode_exception(PyObject* exception, RaisedPhase phase, std::vector<std::byte>& into);
  bool ends_worker(PyObject* exception, bool interrupted);
  worker::RunAnswer raised_answer(const std::vector<std::byte>& payload);
  void yield_now_and_then();

  PyObject* prepare_;  // until it was called
  PyObject* describe_;
  PyObject* is_from_handler_;  // nullptr: nobody asks
  SoftLimit& soft_limit_;
  PyThreadState* saved_ = nullptr;
  std::unordered_map<FunctionId, Function> functions_;
  FunctionId last_id_ = 0;         // the function of the last item: chunks repeat it
  Function* last_ = nullptr;       // nodes of an unordered_map stay where they are
  PyObject* arguments_ = nullptr;  // of the item that runs, until release()
  PyObject* result_ = nullptr;
  std::vector<std::byte> raised_;                         // payload of the last raised answer
  const std::vector<std::byte>* large_raised_ = nullptr;  // what write_large() is to copy; nullptr: the encoder's
  std::uint32_t items_since_yield_ = 0;
  Encoder encoder_;
};

}  // namespace holdfast::python
