// What: see async_exceptions.hpp.
#include "async_exceptions.hpp"

#include <frameobject.h>

namespace holdfast::python {
namespace {

PyTracebackObject* as_traceback(PyObject* object) { return reinterpret_cast<PyTracebackObject*>(object); }

bool same_place(PyTracebackObject* one, PyTracebackObject* other) {
  PyCodeObject* code = PyFrame_GetCode(one->tb_frame);
  PyCodeObject* other_code = PyFrame_GetCode(other->tb_frame);
  const bool same = code == other_code && one->tb_lasti == other->tb_lasti;
  Py_DECREF(code);
  Py_DECREF(other_code);
  return same;
}

/// A handler's frame is known by its arguments: a signal's number, and the very frame that called it, which no ordinary call passes on.
/// (As holdfast._worker.is_from_handler; here without Python code, which a signal would interrupt again.)
bool is_handler_frame(PyFrameObject* frame) {
  PyFrameObject* caller = PyFrame_GetBack(frame);
  PyObject* locals = caller == nullptr ? nullptr : PyFrame_GetLocals(frame);
  PyObject* values = locals == nullptr ? nullptr : PyMapping_Values(locals);
  bool has_caller = false, has_number = false;
  for (Py_ssize_t i = 0; values != nullptr && i < PyList_GET_SIZE(values); ++i) {
    PyObject* value = PyList_GET_ITEM(values, i);
    has_caller = has_caller || value == reinterpret_cast<PyObject*>(caller);
    has_number = has_number || PyLong_Check(value);
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

}  // namespace

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
