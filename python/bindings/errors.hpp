// What: the only C++ -> Python error mapping: engine errors, exit reports and raised payloads become the exceptions of holdfast/_errors.py.
// All functions need the GIL and set or return Python exceptions; none throws a C++ exception. Callers: the other files here.
#pragma once

#include "python.hpp"

#include "base/result.hpp"

namespace holdfast::python {

/// A class of holdfast._errors, or one of the functions that make errors, by name, borrowed; nullptr with an error set when it cannot be imported.
PyObject* error_class(const char* name);

/// Sets the exception that an engine Error stands for: closed -> ValueError("Pool not running"), broken -> PoolBrokenError,
/// invalid_argument -> ValueError, exhausted -> OSError(errno) or MemoryError, os_error -> OSError(errno). Always returns nullptr.
PyObject* set_error(const Error& error);

/// Wraps the exception now set, when it is no Exception (SystemExit, KeyboardInterrupt, ...), in ResultDecodeError (P8).
void wrap_base_exception();

/// The exception now set, normalised, as one new reference; clears it. nullptr when none is set.
PyObject* take_exception();
/// Sets `exception` (stolen) as the current one.
void restore_exception(PyObject* exception);

}  // namespace holdfast::python
