// What: see async_exceptions.hpp.
#include "async_exceptions.hpp"

#include <frameobject.h>

#include <array>

namespace holdfast::python {
namespace {

PyTracebackObject* as_traceback(PyObject* object) { return reinterpret_cast<PyTracebackObject*>(object); }

/// The same line. Not the same instruction: one that has been specialised meanwhile calls from another (PRECALL and CALL of 3.11).
bool same_place(PyTracebackObject* one, PyTracebackObject* other) {
  PyCodeObject* code = PyFrame_GetCode(one->tb_frame);
  PyCodeObject* other_code = PyFrame_GetCode(other->tb_frame);
  const bool same = code == other_code && PyCode_Addr2Line(code, one->tb_lasti) == PyCode_Addr2Line(other_code, other->tb_lasti);
  Py_DECREF(code);
  Py_DECREF(other_code);
  return same;
}

/// One with a number, and one that is the calling frame, also when both are in one tuple: def handler(*arguments).
void look_for(PyObject* values, PyObject* caller, bool& has_caller, bool& has_number) {
  for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(values); ++i) {
    PyObject* value = PySequence_Fast_GET_ITEM(values, i);
    has_caller = has_caller || value == caller;
    has_number = has_number || PyLong_Check(value);
  }
}

/// A handler's frame is known by its arguments: a signal's number, and the very frame that called it, which no ordinary call passes on.
/// (As holdfast._worker.is_from_handler; here without Python code, which a signal would interrupt again.)
bool is_handler_frame(PyFrameObject* frame) {
  PyFrameObject* caller = PyFrame_GetBack(frame);
  PyObject* locals = caller == nullptr ? nullptr : PyFrame_GetLocals(frame);
  PyObject* values = locals == nullptr ? nullptr : PyMapping_Values(locals);
  bool has_caller = false, has_number = false;
  PyObject* wanted = reinterpret_cast<PyObject*>(caller);
  if (values != nullptr) look_for(values, wanted, has_caller, has_number);
  for (Py_ssize_t i = 0; values != nullptr && i < PyList_GET_SIZE(values); ++i) {
    if (PyTuple_CheckExact(PyList_GET_ITEM(values, i))) look_for(PyList_GET_ITEM(values, i), wanted, has_caller, has_number);
  }
  PyErr_Clear();
  Py_XDECREF(values);
  Py_XDECREF(locals);
  Py_XDECREF(caller);
  return has_caller && has_number;
}

bool went_through_handler(PyTracebackObject* trace) {
  while (trace != nullptr && !is_handler_frame(trace->tb_frame)) trace = trace->tb_next;
  return trace != nullptr;
}

/// This one, whatever it replaced.
bool was_raised_by_handler(PyObject* exception) {
  PyObject* interrupt = error_class("SoftTimeoutError");
  if (interrupt == nullptr) PyErr_Clear();  // in a package that is being taken down
  if (interrupt != nullptr && PyErr_GivenExceptionMatches(exception, interrupt) != 0) return true;
  PyObject* trace = PyException_GetTraceback(exception);
  const bool yes = went_through_handler(as_traceback(trace));
  Py_XDECREF(trace);
  return yes;
}

}  // namespace

bool is_from_handler(PyObject* exception) {
  // Through __cause__ and __context__: what was raised in an `except` or a `finally` has the handler's exception there. All are kept alive by the
  // first; a ring of them ends at the limit.
  std::array<PyObject*, 64> queue{exception};
  std::size_t size = 1;
  for (std::size_t i = 0; i < size; ++i) {
    if (was_raised_by_handler(queue[i])) return true;
    for (PyObject* before : {PyException_GetCause(queue[i]), PyException_GetContext(queue[i])}) {
      if (before != nullptr && size < queue.size()) queue[size++] = before;
      Py_XDECREF(before);
    }
  }
  return false;
}

bool handler_has_raised() {
  if (!in_main_thread()) return false;  // they run nowhere else
  PyObject* error = take_exception();
  const bool yes = error != nullptr && is_from_handler(error);
  restore_exception(error);
  return yes;
}

bool fail_alike(PyObject* one, PyObject* other) {
  if (Py_TYPE(one) != Py_TYPE(other)) return false;
  PyObject* first = PyException_GetTraceback(one);
  PyObject* second = PyException_GetTraceback(other);
  PyTracebackObject* a = as_traceback(first);
  PyTracebackObject* b = as_traceback(second);
  while (a != nullptr && b != nullptr && same_place(a, b)) {
    a = a->tb_next;
    b = b->tb_next;
  }
  const bool alike = a == nullptr && b == nullptr && !went_through_handler(as_traceback(first));
  Py_XDECREF(first);
  Py_XDECREF(second);
  return alike;
}

}  // namespace holdfast::python
