// What: see errors.hpp.
#include "errors.hpp"

#include <cerrno>
#include <string>

namespace holdfast::python {
namespace {

/// The cached module holdfast._errors, borrowed; kept for good, because errors are made until the very end.
PyObject* errors_module() {
  static PyObject* module = nullptr;
  if (module == nullptr) {
    PyObject* imported = PyImport_ImportModule("holdfast._errors");
    if (imported == nullptr) return nullptr;
    if (module == nullptr)
      module = imported;  // another thread may have been faster during the import
    else
      Py_DECREF(imported);
  }
  return module;
}

PyObject* set_os_error(const Error& error) {
  const std::string message = error.message();
  PyObject* arguments = Py_BuildValue("(is)", error.err_no != 0 ? error.err_no : EIO, message.c_str());
  if (arguments == nullptr) return nullptr;
  PyErr_SetObject(PyExc_OSError, arguments);  // becomes PermissionError and the like by its errno
  Py_DECREF(arguments);
  return nullptr;
}

PyObject* set_named(const char* class_name, const std::string& message) {
  PyObject* type = error_class(class_name);
  if (type != nullptr) PyErr_SetString(type, message.c_str());
  return nullptr;
}

}  // namespace

PyObject* error_class(const char* name) {
  PyObject* module = errors_module();
  if (module == nullptr) return nullptr;
  PyObject* value = PyObject_GetAttrString(module, name);
  Py_XDECREF(value);  // the module keeps it alive
  return value;
}

PyObject* set_error(const Error& error) {
  switch (error.code) {
    case ErrorCode::closed:
      // The standard pool's words: people match on them. The rest says why, where there is more to say.
      PyErr_SetString(PyExc_ValueError, error.detail.empty() ? "Pool not running" : ("Pool not running: " + error.detail).c_str());
      return nullptr;
    case ErrorCode::invalid_argument: PyErr_SetString(PyExc_ValueError, error.message().c_str()); return nullptr;
    case ErrorCode::timed_out: PyErr_SetString(PyExc_TimeoutError, error.message().c_str()); return nullptr;
    case ErrorCode::broken: return set_named("PoolBrokenError", error.detail.empty() ? error.message() : error.detail);
    case ErrorCode::protocol_error: return set_named("HoldfastError", error.message());
    case ErrorCode::exhausted:
    case ErrorCode::unsupported:
    case ErrorCode::os_error: break;
  }
  return error.err_no == ENOMEM ? PyErr_NoMemory() : set_os_error(error);
}

void wrap_base_exception() {
  if (PyErr_ExceptionMatches(PyExc_Exception)) return;
  PyObject* original = take_exception();
  PyObject* type = error_class("ResultDecodeError");
  PyObject* wrapped = type == nullptr ? nullptr : PyObject_CallOneArg(type, original);
  if (wrapped == nullptr) {
    PyErr_Clear();  // no memory for the better error: the plain one must do
    PyErr_SetString(PyExc_RuntimeError, "unpickling a result raised something that is no Exception");
    Py_XDECREF(original);
    return;
  }
  PyException_SetCause(wrapped, original);  // steals
  PyErr_SetObject(type, wrapped);
  Py_DECREF(wrapped);
}

PyObject* take_exception() {
  PyObject *type = nullptr, *value = nullptr, *traceback = nullptr;
  PyErr_Fetch(&type, &value, &traceback);
  if (type == nullptr) return nullptr;
  PyErr_NormalizeException(&type, &value, &traceback);
  if (traceback != nullptr) PyException_SetTraceback(value, traceback);
  Py_XDECREF(traceback);
  Py_DECREF(type);
  return value;
}

void restore_exception(PyObject* exception) {
  if (exception == nullptr) return;
  PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(exception)), exception);
  // SetObject keeps the traceback that the exception carries, but may chain a context: there is none, nothing was set.
  Py_DECREF(exception);
}

}  // namespace holdfast::python
