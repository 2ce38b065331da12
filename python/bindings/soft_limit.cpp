// What: see soft_limit.hpp.
#include "soft_limit.hpp"

#include <memory>

#include "errors.hpp"
#include "sys/signals.hpp"

namespace holdfast::python {
namespace {

constexpr const char* kCapsule = "holdfast._core.SoftLimit";

}  // namespace

SoftLimit* SoftLimit::make(ring::WorkerChannel& channel) {
  static PyMethodDef method = {"soft_timeout_handler", on_signal, METH_VARARGS,
                               "Raise SoftTimeoutError in the task that is over its limit."};
  auto made = std::unique_ptr<SoftLimit>(new SoftLimit(channel));
  // No destructor: it must work until _exit (see bind_worker.cpp).
  PyObject* capsule = PyCapsule_New(made.get(), kCapsule, nullptr);
  made->handler_ = capsule == nullptr ? nullptr : PyCFunction_New(&method, capsule);
  Py_XDECREF(capsule);
  return made->handler_ == nullptr || !made->find_functions() ? nullptr : made.release();
}

bool SoftLimit::find_functions() {
  PyObject* module = PyImport_ImportModule("_signal");
  if (module == nullptr) return false;
  get_signal_ = PyObject_GetAttrString(module, "getsignal");
  set_signal_ = PyObject_GetAttrString(module, "signal");
  Py_DECREF(module);
  return get_signal_ != nullptr && set_signal_ != nullptr;
}

bool SoftLimit::in_place() const {
  if (signal_ == 0) return false;
  PyObject* there = PyObject_CallOneArg(get_signal_, number_);
  const bool ours = there == handler_;
  Py_XDECREF(there);
  PyErr_Clear();
  return ours;
}

bool SoftLimit::install() {
  // Here, and not in the handler: an import in the middle of another one, the task's, can find a module half made.
  if (make_error_ == nullptr) make_error_ = Py_XNewRef(error_class("soft_timeout_error"));
  if (make_error_ == nullptr) return false;
  const int free_signal = sys::free_realtime_signal();
  if (free_signal == 0) {
    PyErr_SetString(PyExc_RuntimeError, "soft_timeout: this program uses every real-time signal, and one is needed");
    return false;
  }
  Py_XSETREF(number_, PyLong_FromLong(free_signal));
  PyObject* before = number_ == nullptr ? nullptr : PyObject_CallFunctionObjArgs(set_signal_, number_, handler_, nullptr);
  if (before == nullptr) return false;
  Py_DECREF(before);
  signal_ = free_signal;
  sys::unblock(signal_);  // the caller's mask may have it; prefers one that is not blocked
  channel_.set_soft_signal(signal_);
  return true;
}

bool SoftLimit::begin(ChunkId chunk, std::uint32_t item) {
  chunk_ = chunk;
  item_ = item;
  told_ = false;
  if (!in_place() && !install()) return false;
  running_ = true;
  // Over its limit before it came so far (a large argument, a slow unpickling): its signal was not sent, or has been and gone.
  if (channel_.overdue(chunk_, item_)) PyErr_SetInterruptEx(signal_);
  return true;
}

PyObject* SoftLimit::on_signal(PyObject* self, PyObject*) {
  auto* me = static_cast<SoftLimit*>(PyCapsule_GetPointer(self, kCapsule));
  if (me == nullptr) return nullptr;
  if (!me->running_ || me->told_) Py_RETURN_NONE;
  const auto limit = me->channel_.overdue(me->chunk_, me->item_);
  if (!limit) Py_RETURN_NONE;
  me->told_ = true;
  PyObject* error = PyObject_CallFunction(me->make_error_, "d", std::chrono::duration<double>(*limit).count());
  if (error != nullptr) PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(error)), error);
  Py_XDECREF(error);
  return nullptr;
}

}  // namespace holdfast::python
