// What: an outcome that is being made, and the exceptions that signal handlers raise meanwhile.
//
// A signal handler of the user's may raise into any Python code that runs in the main thread: also into an unpickling, or into our own
// making of an error. Its exception says nothing about the item: it belongs to the caller of get() or next(), and the outcome must still be
// there when he asks again. What a handler written in Python raised is known by its frame; a KeyboardInterrupt, whose handler has none, may be either
// kind. Both are put aside, and the work is done once more: then it succeeds. A KeyboardInterrupt that comes again on the same line each time is
// the work's own.
//
// Pickling is not done once more, for what fails now and then may do so by itself: there the handler's frame alone tells (is_from_handler).
//
// Callers: outcomes.cpp, bind_results.cpp, bind_iterators.cpp, bind_pool.cpp; encoding.cpp, pickling.cpp. Needs the GIL.
#pragma once

#include "python.hpp"

#include "errors.hpp"
#include "waits.hpp"

namespace holdfast::python {

/// Whether a signal handler raised `exception` (normalised, with its traceback), or one that it replaced, in the middle of other code. It has a
/// handler's frame, or is the SoftTimeoutError by which a pool of which this process is a worker interrupts it. A handler that is not written in
/// Python has no frame, and is not known.
bool is_from_handler(PyObject* exception);
/// The same for the exception now set; it stays set.
bool handler_has_raised();

/// Whether both exceptions are of one class, came by the same lines, and not by a signal handler's. Both normalised, with tracebacks.
bool fail_alike(PyObject* one, PyObject* other);

/// The handlers' exceptions during one get() or next(). Only the main thread ever keeps one, so that a daemon thread which Python unwinds at the
/// interpreter's end has nothing to release here (waits.hpp).
class AsyncExceptions {
 public:
  AsyncExceptions() = default;
  AsyncExceptions(const AsyncExceptions&) = delete;
  AsyncExceptions& operator=(const AsyncExceptions&) = delete;
  ~AsyncExceptions() { Py_XDECREF(first_); }

  /// What make() returns (a new reference); nullptr with the failure set that is make()'s own. make() is called again when what it raised may be a
  /// handler's, kTries times in all at most (a storm of signals).
  template <class Make>
  PyObject* run(Make&& make) {
    PyObject* made = make();
    PyObject* first = nullptr;
    bool alike = true;  // all failures were the first once more
    for (int tries = 1; made == nullptr && tries < kTries && may_be_a_handlers(); ++tries) {
      PyObject* error = take_exception();
      alike = alike && (first == nullptr || fail_alike(first, error));
      if (first == nullptr)
        first = error;
      else
        Py_DECREF(error);
      made = make();
    }
    if (first == nullptr) return made;
    if (made == nullptr && alike && repeats(first))
      Py_DECREF(first);
    else
      keep(first);
    return made;
  }

  bool any() const { return first_ != nullptr; }
  /// Sets the first one kept as the current exception. False: there is none.
  bool raise() {
    PyObject* error = std::exchange(first_, nullptr);
    restore_exception(error);
    return error != nullptr;
  }

 private:
  static constexpr int kTries = 8;

  static bool may_be_a_handlers() {
    return in_main_thread() && (PyErr_ExceptionMatches(PyExc_KeyboardInterrupt) != 0 || handler_has_raised());
  }

  /// Whether the exception now set is `before` once more; it stays set.
  static bool repeats(PyObject* before) {
    PyObject* now = take_exception();
    const bool alike = fail_alike(before, now);
    restore_exception(now);
    return alike;
  }

  void keep(PyObject* error) {
    if (first_ == nullptr)
      first_ = error;
    else
      Py_DECREF(error);
  }

  PyObject* first_ = nullptr;
};

}  // namespace holdfast::python
