// What: settled items into Python values and exceptions, exit reports into holdfast.ExitReport (objects.hpp). Runs unpickling, that is
// arbitrary code; the bytes it reads belong to the caller and stay where they are.
#include "async_exceptions.hpp"
#include "errors.hpp"
#include "objects.hpp"
#include "raised.hpp"
#include "reports.hpp"

namespace holdfast::python {
namespace {

PyObject* text_object(std::string_view text) { return PyUnicode_DecodeUTF8(text.data(), static_cast<Py_ssize_t>(text.size()), "replace"); }

/// Calls holdfast._errors.<name>(*arguments); steals `arguments`.
PyObject* call_errors(const char* name, PyObject* arguments) {
  PyObject* function = arguments == nullptr ? nullptr : error_class(name);
  PyObject* made = function == nullptr ? nullptr : PyObject_CallObject(function, arguments);
  Py_XDECREF(arguments);
  return made;
}

/// Whatever happens, an exception object comes out: the one made, or the error of making it.
PyObject* or_error(PyObject* exception) {
  if (exception != nullptr && PyExceptionInstance_Check(exception)) return exception;
  Py_XDECREF(exception);
  if (PyErr_Occurred() == nullptr) PyErr_SetString(PyExc_SystemError, "holdfast could not describe a failure");
  return take_exception();
}

/// The worker's traceback as __cause__ where the exception came without one (a MaybeEncodingError): people look for it there, and a map's
/// `.partial` hangs on it.
PyObject* with_traceback(PyObject* exception, std::string_view traceback, AsyncExceptions& async) {
  PyObject* known = PyException_GetCause(exception);
  Py_XDECREF(known);
  if (known != nullptr || traceback.empty()) return exception;
  PyObject* cause = async.run([&] {
    PyObject* text = text_object(traceback);
    return call_errors("remote_traceback", text == nullptr ? nullptr : Py_BuildValue("(N)", text));
  });
  if (cause == nullptr)
    PyErr_Clear();
  else
    PyException_SetCause(exception, cause);  // steals
  return exception;
}

/// "(OOOO)" of exception_decode_error's arguments; nullptr with an error set.
PyObject* describe_raised(const Raised& raised, PyObject* cause) {
  PyObject* type_name = text_object(raised.type_name);
  PyObject* repr = text_object(raised.repr);
  PyObject* traceback = text_object(raised.traceback);
  PyObject* arguments = type_name == nullptr || repr == nullptr || traceback == nullptr
                            ? nullptr
                            : Py_BuildValue("(OOOO)", type_name, repr, traceback, cause == nullptr ? Py_None : cause);
  Py_XDECREF(type_name);
  Py_XDECREF(repr);
  Py_XDECREF(traceback);
  return arguments;
}

PyObject* raised_object(const TaskInfo& info, const pool::Settled& settled, AsyncExceptions& async) {
  if (settled.payload.is_lost()) {
    PyErr_SetString(PyExc_MemoryError, "the task's result has come, but this process had no memory for it");
    return take_exception();
  }
  const std::optional<Raised> raised = decode_raised(settled.payload.bytes());
  if (!raised) {
    PyErr_SetString(PyExc_ValueError, "malformed payload: not the description of an exception");
    return decode_failure(info, settled.item, async);
  }
  PyObject* cause = nullptr;
  if (!raised->pickled.empty()) {
    PyObject* exception = decode_guarded(raised->pickled, async);
    if (exception != nullptr && PyExceptionInstance_Check(exception)) return with_traceback(exception, raised->traceback, async);
    if (exception == nullptr) cause = take_exception();
    Py_XDECREF(exception);
  }
  PyObject* made = async.run([&] { return call_errors("exception_decode_error", describe_raised(*raised, cause)); });
  Py_XDECREF(cause);
  return or_error(made);
}

/// died, timed_out, cancelled, aborted, terminated: holdfast._errors.failure(kind, report, attempts, function, item, core).
PyObject* make_failure(CoreObject* core, const TaskInfo& info, const pool::Settled& settled) {
  PyObject* report = settled.report == nullptr ? Py_NewRef(Py_None) : report_object(*settled.report);
  if (report == nullptr) return nullptr;
  PyObject* item = info.is_map ? PyLong_FromUnsignedLongLong(settled.item) : Py_NewRef(Py_None);
  PyObject* arguments = Py_BuildValue("(sNIONO)", to_string(settled.kind), report, static_cast<unsigned int>(settled.attempts),
                                      info.function == nullptr ? Py_None : info.function, item, reinterpret_cast<PyObject*>(core));
  return call_errors("failure", arguments);
}

PyObject* failure_object(CoreObject* core, const TaskInfo& info, const pool::Settled& settled, AsyncExceptions& async) {
  return or_error(async.run([&] { return make_failure(core, info, settled); }));
}

}  // namespace

PyObject* aborted_by(CoreObject* core, PyObject* error, AsyncExceptions& async) {
  PyObject* made = async.run([&] { return call_errors("aborted_by", Py_BuildValue("(OO)", error, reinterpret_cast<PyObject*>(core))); });
  Py_DECREF(error);
  return or_error(made);
}

bool makes_abort(const Policies& policies, OutcomeKind kind) {
  const auto aborts = [&policies](OnFailure policy) {
    return policy == OnFailure::abort || (policy == OnFailure::retry && policies.retry.then == OnFailure::abort);
  };
  switch (kind) {
    case OutcomeKind::died: return aborts(policies.on_death);
    case OutcomeKind::timed_out: return aborts(policies.on_timeout);
    case OutcomeKind::raised: return aborts(policies.on_error);
    default: return false;
  }
}

PyObject* decode_result(const CoreObject* core, ByteSpan bytes, const pool::Payload* payload) {
  if (core->views == nullptr || payload == nullptr) return decode(bytes);
  return decode(bytes, {.memory = pool::ViewBudget::lend(core->views, *payload), .read_only = true});
}

/// A payload that could not be unpickled; the error is set and becomes the __cause__.
PyObject* decode_failure(const TaskInfo& info, ItemIndex item, AsyncExceptions& async) {
  PyObject* cause = take_exception();
  if (PyErr_GivenExceptionMatches(cause, PyExc_MemoryError) != 0) return cause;  // its own message: there may be no room for a longer one
  PyObject* error = async.run([&] {
    return call_errors("result_decode_error", Py_BuildValue("(OOK)", cause, info.function == nullptr ? Py_None : info.function,
                                                            static_cast<unsigned long long>(item)));
  });
  Py_DECREF(cause);
  return or_error(error);
}

PyObject* outcome_object(CoreObject* core, const TaskInfo& info, const pool::Settled& settled, bool& success, AsyncExceptions& async) {
  success = false;
  switch (settled.kind) {
    case OutcomeKind::done: {
      PyObject* value = async.run([&] { return decode_result(core, settled.payload.bytes(), &settled.payload); });
      success = value != nullptr;
      return success ? value : decode_failure(info, settled.item, async);
    }
    case OutcomeKind::skipped: success = true; return Py_NewRef(info.skip_value == nullptr ? Py_None : info.skip_value);
    default: break;
  }
  PyObject* error = settled.kind == OutcomeKind::raised ? raised_object(info, settled, async) : failure_object(core, info, settled, async);
  const bool aborted =
      info.policies != nullptr && makes_abort(*info.policies, settled.kind) && core->engine->state() == pool::EngineState::aborted;
  return aborted ? aborted_by(core, error, async) : error;
}

PyObject* ended_error(CoreObject* core, AsyncExceptions& async) {
  if (core->engine->in_forked_child()) return or_error(async.run([] { return call_errors("in_forked_child", PyTuple_New(0)); }));
  pool::Settled settled;
  settled.kind = core->engine->state() == pool::EngineState::aborted ? OutcomeKind::aborted : OutcomeKind::terminated;
  return failure_object(core, TaskInfo{}, settled, async);
}

}  // namespace holdfast::python
