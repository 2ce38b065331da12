#include "python_runner.hpp"

#include <cstdio>
#include <cstring>
#include <optional>

#include "errors.hpp"
#include "sys/signals.hpp"
#include "worker/stack_report.hpp"

namespace holdfast::python {
namespace {

using worker::IdleAnswer;
using worker::RunAnswer;

// Other threads of the worker get the GIL at least this often, also when the tasks are C functions that never give it up.
constexpr std::uint32_t kItemsPerYield = 256;
constexpr int kMaxHandlerRounds = 64;  // handlers that raise again and again must not keep the loop from its tasks
constexpr std::uint16_t kCallOne = 0, kCallStar = 1, kCallArgsKwds = 2;

/// Signals blocked while it lives, when `wanted`: but for those that only write down where the program is.
class Shield {
 public:
  explicit Shield(bool wanted) {
    if (wanted) blocked_.emplace(worker::StackReport::blockable());
  }

 private:
  std::optional<sys::BlockAllSignals> blocked_;
};

/// encode() of it runs no bytecode. Tuples count as code: looking at their elements costs more than it saves.
bool is_plain(PyObject* object) {
  PyTypeObject* type = Py_TYPE(object);
  return type == &PyLong_Type || type == &PyFloat_Type || object == Py_None || type == &PyUnicode_Type || type == &PyBytes_Type ||
         type == &PyBool_Type;
}

/// The exit code that SystemExit stands for, as the interpreter itself has it: None 0, an int itself, else printed and 1.
int exit_code_of(PyObject* exception) {
  PyObject* code = PyObject_GetAttrString(exception, "code");
  int result = 1;
  if (code == nullptr) {
    PyErr_Clear();
  } else if (code == Py_None) {
    result = 0;
  } else if (PyLong_Check(code)) {
    int overflow = 0;
    result = static_cast<int>(PyLong_AsLongAndOverflow(code, &overflow));
    if (overflow != 0) result = -1;
  } else {
    PyObject* stream = PySys_GetObject("stderr");  // borrowed
    if (stream == nullptr || stream == Py_None || PyFile_WriteObject(code, stream, Py_PRINT_RAW) != 0 ||
        PyFile_WriteString("\n", stream) != 0) {
      PyErr_Clear();  // a closed stderr takes no message
    }
  }
  Py_XDECREF(code);
  return result;
}

/// The answer to SystemExit (stolen): the worker's end.
RunAnswer leave(PyObject* exception) {
  RunAnswer answer;
  answer.next = RunAnswer::Next::leave;
  answer.exit_code = exit_code_of(exception);
  Py_DECREF(exception);
  return answer;
}

/// A UTF-8 view of a str that lives as long as it does; empty for what is none (lone surrogates, not a str).
std::string_view text_of(PyObject* object) {
  Py_ssize_t size = 0;
  const char* data = object != nullptr && PyUnicode_Check(object) ? PyUnicode_AsUTF8AndSize(object, &size) : nullptr;
  if (data != nullptr) return {data, static_cast<std::size_t>(size)};
  PyErr_Clear();
  return {};
}

void take_bytes(const Encoder& encoder, std::vector<std::byte>& into) {
  into.resize(encoder.size());
  if (encoder.is_large()) {
    encoder.write_to(into.data());
  } else {
    const ByteSpan bytes = encoder.inline_bytes();
    std::memcpy(into.data(), bytes.data(), bytes.size());
  }
}

void put_raised(const Raised& raised, std::vector<std::byte>& into) {
  into.resize(raised_size(raised));
  encode_raised(raised, into.data());
}

}  // namespace

PythonRunner::~PythonRunner() {
  release();
  for (auto& entry : functions_) Py_XDECREF(entry.second.callable);
  Py_XDECREF(prepare_);
  Py_DECREF(describe_);
  Py_XDECREF(is_from_handler_);
}

void PythonRunner::add_function(FunctionId function, ByteSpan bytes) { functions_[function].pickled.assign(bytes.begin(), bytes.end()); }

void PythonRunner::forget_function(FunctionId function) {
  const auto found = functions_.find(function);
  if (found == functions_.end()) return;
  PyObject* callable = found->second.callable;
  last_ = nullptr;
  last_id_ = 0;
  functions_.erase(found);
  Py_XDECREF(callable);  // last: it may run code, which finds the table in order
}

PythonRunner::Function* PythonRunner::find_function(FunctionId function) {
  if (last_ != nullptr && last_id_ == function) return last_;
  const auto found = functions_.find(function);
  if (found == functions_.end()) return nullptr;
  last_id_ = function;
  last_ = &found->second;
  if (last_->callable == nullptr && last_->raised.empty()) load(*last_);
  return last_;
}

void PythonRunner::load(Function& function) {
  const Shield shield(/*wanted=*/true);
  function.by_value = is_by_value(function.pickled);
  function.callable = decode(function.pickled);
  if (function.callable == nullptr) {
    PyObject* exception = take_exception();
    encode_exception(exception, RaisedPhase::function, function.raised);
    Py_XDECREF(exception);
  }
  std::vector<std::byte>().swap(function.pickled);
}

RunAnswer PythonRunner::run(worker::ItemCall& item) {
  yield_now_and_then();
  Function* function = find_function(item.function);
  if (function == nullptr) return failed("the task's function never arrived in this worker", 0, /*result_phase=*/false);
  if (function->callable == nullptr) return raised_answer(function->raised);
  {
    const Shield shield(is_pickled(item.payload));
    // Views that were made hold the memory by themselves; without any, a fork of the task's need not copy it.
    arguments_ = decode(item.payload, {.memory = std::exchange(item.memory, nullptr)});
    if (arguments_ == nullptr) return raised(RaisedPhase::arguments);
  }
  encoder_.allow_by_value(function->by_value || is_by_value(item.payload));
  if (call_item(*function, item)) return encode_result();
  return PyErr_ExceptionMatches(PyExc_SystemExit) ? leave(take_exception()) : raised(RaisedPhase::call);
}

/// The call, within its soft time limit if it has one. An item that has returned has its value: an interrupt that comes now is let pass.
bool PythonRunner::call_item(const Function& function, const worker::ItemCall& item) {
  const bool limited = (item.flags & ring::kSoftLimited) != 0;
  // Its own reference: the task may make the pool forget the function.
  PyObject* callable = Py_NewRef(function.callable);
  if (!limited) soft_limit_.begin_unlimited();
  if (!limited || soft_limit_.begin(item.chunk, item.item)) result_ = call(callable, item.call_mode);
  soft_limit_.end();
  Py_DECREF(callable);
  return result_ != nullptr;
}

PyObject* PythonRunner::call(PyObject* callable, std::uint16_t mode) {
  if (mode == kCallOne) return PyObject_CallOneArg(callable, arguments_);
  if (mode == kCallStar) {
    if (!PyTuple_CheckExact(arguments_)) {
      PyObject* tuple = PySequence_Tuple(arguments_);  // any iterable, as itertools.starmap has it
      if (tuple == nullptr) return nullptr;
      Py_SETREF(arguments_, tuple);
    }
    return PyObject_Call(callable, arguments_, nullptr);
  }
  const bool pair = mode == kCallArgsKwds && PyTuple_CheckExact(arguments_) && PyTuple_GET_SIZE(arguments_) == 2;
  PyObject* keywords = pair ? PyTuple_GET_ITEM(arguments_, 1) : nullptr;
  if (!pair || (keywords != Py_None && !PyDict_Check(keywords))) {
    PyErr_SetString(PyExc_RuntimeError, "holdfast: a task arrived in an unknown form");
    return nullptr;
  }
  PyObject* positional = PySequence_Tuple(PyTuple_GET_ITEM(arguments_, 0));
  if (positional == nullptr) return nullptr;
  PyObject* result = PyObject_Call(callable, positional, keywords == Py_None ? nullptr : keywords);
  Py_DECREF(positional);
  return result;
}

RunAnswer PythonRunner::encode_result() {
  const Shield shield(!is_plain(result_));
  // Blocked first, then the handlers that are due: from here to the end of pickling none can come.
  if (PyErr_CheckSignals() != 0) { return PyErr_ExceptionMatches(PyExc_SystemExit) ? leave(take_exception()) : raised(RaisedPhase::call); }
  if (!encoder_.encode(result_)) {
    encoder_.clear();
    return raised(RaisedPhase::result);
  }
  RunAnswer answer;
  if (encoder_.is_large()) {
    answer.large_size = encoder_.size();
    large_raised_ = nullptr;
  } else {
    answer.bytes = encoder_.inline_bytes();
  }
  return answer;
}

RunAnswer PythonRunner::raised(RaisedPhase phase) {
  const Shield shield(/*wanted=*/true);  // a second handler must not raise while the first one's exception is written down
  PyObject* exception = take_exception();
  // What became due before the block runs now, or it would run inside describe(). The newer exception wins, as in an except clause.
  if (PyErr_CheckSignals() != 0) {
    PyObject* newer = take_exception();
    PyException_SetContext(newer, exception);  // steals
    exception = newer;
    if (PyErr_GivenExceptionMatches(exception, PyExc_SystemExit) != 0) return leave(exception);
  }
  encode_exception(exception, phase, raised_);
  RunAnswer answer = raised_answer(raised_);
  answer.last = phase == RaisedPhase::call && ends_worker(exception, soft_limit_.told());
  Py_XDECREF(exception);
  return answer;
}

bool PythonRunner::ends_worker(PyObject* exception, bool interrupted) {
  if (is_from_handler_ == nullptr || exception == nullptr) return false;
  PyObject* said = PyObject_CallFunctionObjArgs(is_from_handler_, exception, interrupted ? Py_True : Py_False, nullptr);
  const bool yes = said == nullptr || PyObject_IsTrue(said) != 0;  // when in doubt: a new worker is cheap
  Py_XDECREF(said);
  PyErr_Clear();
  return yes;
}

RunAnswer PythonRunner::raised_answer(const std::vector<std::byte>& payload) {
  RunAnswer answer;
  answer.kind = ring::ResultKind::raised;
  if (payload.size() > ring::kInlineLimit) {
    answer.large_size = payload.size();
    large_raised_ = &payload;
  } else {
    answer.bytes = payload;
  }
  return answer;
}

PyObject* PythonRunner::describe(PyObject* exception, RaisedPhase phase, PyObject* reason) {
  const auto or_none = [](PyObject* object) { return object != nullptr ? object : Py_None; };
  PyObject* described =
      PyObject_CallFunction(describe_, "OiOO", or_none(exception), static_cast<int>(phase), or_none(result_), or_none(reason));
  if (described != nullptr && (!PyTuple_CheckExact(described) || PyTuple_GET_SIZE(described) != 4)) Py_CLEAR(described);
  return described;
}

/// The codec payload of what describe() wants pickled; empty when even its stand-in cannot be.
void PythonRunner::pickle_exception(PyObject* described, PyObject* exception, RaisedPhase phase, std::vector<std::byte>& into) {
  bool encoded = encoder_.encode(PyTuple_GET_ITEM(described, 0));
  if (!encoded) {
    encoder_.clear();
    PyObject* reason = take_exception();
    PyObject* again = describe(exception, phase, reason);
    Py_XDECREF(reason);
    encoded = again != nullptr && encoder_.encode(PyTuple_GET_ITEM(again, 0));
    if (encoded) take_bytes(encoder_, into);
    Py_XDECREF(again);
  } else {
    take_bytes(encoder_, into);
  }
  encoder_.clear();
  PyErr_Clear();
}

// Each step may fail (no memory, recursion, a hostile __repr__): then what the steps before it gave is sent. Notes travel in the ring and
// are only shown: describe() keeps their texts short, and nothing is pickled.
void PythonRunner::encode_exception(PyObject* exception, RaisedPhase phase, std::vector<std::byte>& into) {
  Raised raised;
  raised.phase = phase;
  std::vector<std::byte> pickled;
  PyObject* described = describe(exception, phase, nullptr);
  PyErr_Clear();
  if (described != nullptr) {
    if (phase != RaisedPhase::idle) pickle_exception(described, exception, phase, pickled);
    raised.type_name = text_of(PyTuple_GET_ITEM(described, 1));
    raised.repr = text_of(PyTuple_GET_ITEM(described, 2));
    raised.traceback = text_of(PyTuple_GET_ITEM(described, 3));
  } else if (exception != nullptr) {
    raised.type_name = Py_TYPE(exception)->tp_name;
  }
  raised.pickled = pickled;
  put_raised(raised, into);
  Py_XDECREF(described);
}

RunAnswer PythonRunner::failed(std::string_view why, int err_no, bool result_phase) {
  release();
  PyObject* text = PyUnicode_DecodeUTF8(why.data(), static_cast<Py_ssize_t>(why.size()), "replace");
  PyObject* arguments = text == nullptr ? nullptr : err_no != 0 ? Py_BuildValue("(iO)", err_no, text) : Py_BuildValue("(O)", text);
  if (arguments != nullptr) PyErr_SetObject(err_no != 0 ? PyExc_OSError : PyExc_RuntimeError, arguments);
  Py_XDECREF(arguments);
  Py_XDECREF(text);
  return raised(result_phase ? RaisedPhase::result : RaisedPhase::arguments);
}

void PythonRunner::write_large(std::byte* to) {
  if (large_raised_ != nullptr) {
    std::memcpy(to, large_raised_->data(), large_raised_->size());
  } else {
    encoder_.write_to(to);
  }
}

void PythonRunner::release_arguments() {
  encoder_.clear();
  large_raised_ = nullptr;
  Py_CLEAR(arguments_);
  Py_CLEAR(result_);
}

void PythonRunner::release() {
  release_arguments();
  if (raised_.capacity() > 2 * ring::kInlineLimit) std::vector<std::byte>().swap(raised_);
}

void PythonRunner::prepare() {
  if (prepare_ == nullptr) return;
  const Shield shield(/*wanted=*/true);  // it is an import: no handler is to raise in the middle of it
  Py_XDECREF(PyObject_CallNoArgs(prepare_));
  PyErr_Clear();  // whoever needs it will try again, and say why it cannot be had
  Py_CLEAR(prepare_);
}

IdleAnswer PythonRunner::check_signals() {
  IdleAnswer answer;
  for (int round = 0; round < kMaxHandlerRounds && PyErr_CheckSignals() != 0; ++round) {
    if (PyErr_ExceptionMatches(PyExc_KeyboardInterrupt)) {
      PyErr_Clear();  // a Ctrl-C for a task that has just ended: nobody is left to be interrupted
      continue;
    }
    PyObject* exception = take_exception();
    if (PyErr_GivenExceptionMatches(exception, PyExc_SystemExit) != 0) {
      answer.next = IdleAnswer::Next::leave;
      answer.exit_code = exit_code_of(exception);
    } else {
      const Shield shield(/*wanted=*/true);
      encode_exception(exception, RaisedPhase::idle, raised_);
      answer.next = IdleAnswer::Next::note;
      answer.note = raised_;
    }
    Py_DECREF(exception);
    return answer;
  }
  return answer;
}

void PythonRunner::yield_now_and_then() {
  if (++items_since_yield_ < kItemsPerYield) return;
  items_since_yield_ = 0;
  PyThreadState* state = PyEval_SaveThread();
  PyEval_RestoreThread(state);
}

void PythonRunner::flush_in_forked_child() {
  for (const char* name : {"stdout", "stderr"}) {
    PyObject* stream = PySys_GetObject(name);  // borrowed
    if (stream == nullptr || stream == Py_None) continue;
    PyObject* done = PyObject_CallMethod(stream, "flush", nullptr);
    if (done == nullptr) PyErr_Clear();  // closed, or not a stream: nothing to save
    Py_XDECREF(done);
  }
  (void)std::fflush(nullptr);  // C extensions' output; best effort
}

}  // namespace holdfast::python
