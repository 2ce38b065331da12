// What: ResultBase, the fast half of AsyncResult and MapResult (holdfast/_results.py): waiting, collecting (unpickling) in the caller's
// thread, and delivery of callbacks in the dispatcher's.
//
// Invariants:
//   1. Outcomes are collected once, by one thread (`collector` and the Core's gate); all readers then see the same value object.
//   2. A result with callbacks becomes ready only when these have run (as in the standard pool); others when their last item settles.
//   3. Dropping a result never waits.
//   4. Once its outcome is collected, a result without callbacks has no job any more: there is nothing left in it.
#include <algorithm>
#include <cmath>
#include <new>
#include <utility>
#include <vector>

#include "async_exceptions.hpp"
#include "bindings.hpp"
#include "errors.hpp"
#include "objects.hpp"
#include "waits.hpp"

namespace holdfast::python {

PyTypeObject* result_base_type = nullptr;
PyTypeObject* call_site_type = nullptr;

namespace {

pool::Engine& engine_of(ResultObject* self) { return *as_core(self->core)->engine; }

bool is_ready(ResultObject* self) {
  if (self->has_callbacks) return self->delivered;
  return self->collected || engine_of(self).unsettled(*self->job) == 0;
}

/// Waits until ready. The waiting frame owns nothing but a reference to the job (the caller may drop the result meanwhile).
WaitEnd await(ResultObject* self, const Deadline& deadline) {
  if (is_ready(self)) return WaitEnd::ready;
  if (!self->job) return WaitEnd::ended;
  pool::Engine& engine = engine_of(self);
  const pool::JobRef job = self->job;
  return wait_loop(engine, deadline, Interrupt::workers_on(job), [&](Nanos slice) { return engine.wait_job(job, slice); });
}

/// Borrowed from the call site.
TaskInfo task_info(ResultObject* self) {
  const CallSiteObject* site = self->site == nullptr ? nullptr : as_site(self->site);
  if (site == nullptr || site->policy == nullptr) return {nullptr, nullptr, self->is_map, nullptr};  // cleared by the garbage collector
  const PolicyObject* policy = as_policy(site->policy);
  return {site->function, policy->skip_value, self->is_map, &policy->policies};
}

/// {index: value} of what is done, when something failed. Best effort: an error here must not hide the task's own.
PyObject* partial_of(PyObject* values, const std::vector<bool>& failed) {
  PyObject* partial = PyDict_New();
  for (std::size_t i = 0; partial != nullptr && i < failed.size(); ++i) {
    if (failed[i]) continue;
    PyObject* key = PyLong_FromSize_t(i);
    if (key == nullptr || PyDict_SetItem(partial, key, PyList_GET_ITEM(values, static_cast<Py_ssize_t>(i))) != 0) Py_CLEAR(partial);
    Py_XDECREF(key);
  }
  if (partial == nullptr) PyErr_Clear();
  return partial;
}

/// Puts `.partial` where the user finds it: on a HoldfastError itself, on the RemoteTraceback under a task's own exception.
void attach_partial(PyObject* error, PyObject* partial) {
  PyObject* holdfast_error = error_class("HoldfastError");
  PyObject* target = nullptr;
  if (holdfast_error != nullptr && PyObject_IsInstance(error, holdfast_error) == 1)
    target = Py_NewRef(error);
  else
    target = PyException_GetCause(error);
  if (target == nullptr || PyObject_SetAttrString(target, "partial", partial) != 0) PyErr_Clear();
  Py_XDECREF(target);
}

bool is_aborted_error(PyObject* error) {
  PyObject* type = error_class("PoolAbortedError");
  const int is = type == nullptr ? -1 : PyObject_IsInstance(error, type);
  if (is < 0) PyErr_Clear();
  return is == 1;
}

/// Builds the list of a map; `failure` gets the exception to raise when an item failed (new reference).
PyObject* map_values(ResultObject* self, pool::Harvest& items, std::optional<ItemIndex> first_failure, PyObject*& failure,
                     AsyncExceptions& async) {
  CoreObject* core = as_core(self->core);
  PyObject* values = PyList_New(static_cast<Py_ssize_t>(items.size()));
  if (values == nullptr) return nullptr;
  std::vector<bool> failed;
  bool others_aborted = false;
  for (std::size_t i = 0; items.next(); ++i) {
    PyObject* value = nullptr;
    bool success = true;
    const OutcomeKind kind = items.kind();
    if (kind == OutcomeKind::done && (value = async.run([&] { return decode_result(core, items.bytes(), items.payload()); })) != nullptr) {
      items.drop();
      PyList_SET_ITEM(values, static_cast<Py_ssize_t>(i), value);
      continue;
    }
    others_aborted = others_aborted || kind == OutcomeKind::aborted;
    // Of several failures only the first one is raised: the others need not be rebuilt (they may be large, and run code).
    const bool drop = failure != nullptr && kind != OutcomeKind::done && kind != OutcomeKind::skipped && first_failure != items.item();
    if (drop) {
      success = false;
      items.drop();
    } else if (kind == OutcomeKind::done) {
      value = decode_failure(task_info(self), items.item(), async);
      success = false;
    } else {
      value = outcome_object(core, task_info(self), items.take(), success, async);
    }
    if (!success) {
      failed.resize(items.size());
      failed[i] = true;
      const bool first = failure == nullptr || first_failure == items.item();
      if (first) std::swap(failure, value);
      Py_XDECREF(value);
      value = Py_NewRef(Py_None);
    }
    PyList_SET_ITEM(values, static_cast<Py_ssize_t>(i), value);
  }
  if (failure != nullptr) {
    if (others_aborted && core->engine->state() == pool::EngineState::aborted && !is_aborted_error(failure))
      failure = aborted_by(core, failure, async);
    self->extras->partial = partial_of(values, failed);
    if (self->extras->partial != nullptr) attach_partial(failure, self->extras->partial);
  }
  return values;
}

/// The outcome as value + success. Runs the unpickling: arbitrary code, other threads in between.
void read_outcome(ResultObject* self, PyObject*& value, bool& success, AsyncExceptions& async) {
  pool::Engine& engine = engine_of(self);
  if (self->is_map) {
    pool::Harvest items = engine.take_results(self->job);
    PyObject* failure = nullptr;
    PyObject* values = map_values(self, items, engine.first_failure(*self->job), failure, async);
    if (failure == nullptr && items.size() < self->extras->items)
      failure = ended_error(as_core(self->core), async);  // a slice came too late: terminated
    success = failure == nullptr && values != nullptr;
    value = success ? values : failure;
    if (!success) Py_XDECREF(values);
  } else if (pool::Settled settled; engine.take_item(self->job, 0, settled)) {
    value = outcome_object(as_core(self->core), task_info(self), settled, success, async);
  }
  if (value == nullptr) {  // no memory for a list, or a job without its item: say so and do not hang
    success = false;
    value = PyErr_Occurred() != nullptr ? take_exception() : ended_error(as_core(self->core), async);
  }
}

/// Waits until the other thread that collects is done. False = a Python error (a signal handler's).
bool wait_collected(ResultObject* self) {
  Gate& gate = as_core(self->core)->gate;
  if (self->collector == PyThread_get_thread_ident()) {  // a signal handler inside our own unpickling: waiting would be for ever
    PyErr_SetString(PyExc_RuntimeError, "this result is being unpickled by the code that the signal handler interrupted; ask for it later");
    return false;
  }
  while (self->collector != 0) {
    Py_BEGIN_ALLOW_THREADS {
      // A time-out, because `collector` is the GIL's to guard and not the gate's: a wake-up may slip through.
      std::unique_lock<std::mutex> lock(gate.mutex);
      gate.opened.wait_for(lock, std::chrono::milliseconds(20));
    }
    Py_END_ALLOW_THREADS if (PyErr_CheckSignals() != 0) return false;
  }
  return true;
}

/// Makes value and success known. Only when the job is finished. False = a Python error is set (not the task's).
bool collect(ResultObject* self) {
  if (self->collector != 0 && !wait_collected(self)) return false;
  if (self->collected) return true;
  self->collector = PyThread_get_thread_ident();
  AsyncExceptions async;
  PyObject* value = nullptr;
  bool success = false;
  read_outcome(self, value, success, async);
  self->value = value;
  self->success = success;
  self->collected = true;
  self->collector = 0;
  Gate& gate = as_core(self->core)->gate;
  gate.opened.notify_all();
  if (!self->has_callbacks) {
    // As the standard result does: once the answer is there, it keeps neither pool nor function alive.
    Py_CLEAR(self->site);
    self->job.reset();
  }
  return !async.raise();
}

/// The engine's end has cut the wait short: sets the error.
void raise_ended(ResultObject* self) {
  AsyncExceptions async;
  PyObject* error = ended_error(as_core(self->core), async);
  if (async.raise())
    Py_DECREF(error);
  else
    restore_exception(error);
}

/// ready -> collected; ended -> an error. False with a Python error set, else true (timed_out included, told by `end`).
bool await_and_collect(ResultObject* self, const Deadline& deadline, WaitEnd& end) {
  end = await(self, deadline);
  if (end == WaitEnd::error) return false;
  if (end == WaitEnd::ready) return collect(self);
  if (end == WaitEnd::ended) {
    raise_ended(self);
    return false;
  }
  return true;
}

/// get(timeout=None) and wait(timeout=None). False with a Python error set.
bool deadline_from_call(const char* name, PyObject* const* args, Py_ssize_t count, PyObject* keywords, Deadline& deadline) {
  const Py_ssize_t named = keywords == nullptr ? 0 : PyTuple_GET_SIZE(keywords);
  if (count + named > 1) {
    PyErr_Format(PyExc_TypeError, "%s() takes at most 1 argument (%zd given)", name, count + named);
    return false;
  }
  if (named == 1 && PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(keywords, 0), "timeout") != 0) {
    PyErr_Format(PyExc_TypeError, "%s() got an unexpected keyword argument %R", name, PyTuple_GET_ITEM(keywords, 0));
    return false;
  }
  return deadline_from(count + named == 0 ? Py_None : args[0], deadline);  // the values of keywords lie behind the others
}

PyObject* result_get(PyObject* object, PyObject* const* args, Py_ssize_t count, PyObject* keywords) {
  Deadline deadline;
  if (!deadline_from_call("get", args, count, keywords, deadline)) return nullptr;
  ResultObject* self = as_result(object);
  WaitEnd end = WaitEnd::ready;
  if (!await_and_collect(self, deadline, end)) return nullptr;
  if (end == WaitEnd::timed_out) {
    PyObject* type = error_class("MultiprocessingTimeoutError");
    if (type != nullptr) PyErr_SetNone(type);
    return nullptr;
  }
  if (self->success) return Py_NewRef(self->value);
  PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(self->value)), self->value);
  return nullptr;
}

PyObject* result_wait(PyObject* object, PyObject* const* args, Py_ssize_t count, PyObject* keywords) {
  Deadline deadline;
  if (!deadline_from_call("wait", args, count, keywords, deadline)) return nullptr;
  const WaitEnd end = await(as_result(object), deadline);
  if (end == WaitEnd::error) return nullptr;
  if (end == WaitEnd::ended) {
    raise_ended(as_result(object));
    return nullptr;
  }
  Py_RETURN_NONE;
}

PyObject* result_ready(PyObject* object, PyObject*) { return PyBool_FromLong(is_ready(as_result(object))); }

PyObject* result_successful(PyObject* object, PyObject*) {
  ResultObject* self = as_result(object);
  if (!is_ready(self)) return PyErr_Format(PyExc_ValueError, "%R not ready", object);
  if (!collect(self)) return nullptr;
  return PyBool_FromLong(self->success);
}

/// For the dispatcher: (success, value, callback or None). The callbacks are given out once.
PyObject* result_take_delivery(PyObject* object, PyObject*) {
  ResultObject* self = as_result(object);
  if (!collect(self)) return nullptr;
  ResultExtras& extras = *self->extras;  // there are callbacks
  PyObject* callback = std::exchange(self->success ? extras.callback : extras.error_callback, nullptr);
  PyObject* tuple = Py_BuildValue("(OOO)", self->success ? Py_True : Py_False, self->value, callback == nullptr ? Py_None : callback);
  Py_XDECREF(callback);
  return tuple;
}

/// For the dispatcher: the callbacks have run: ready.
PyObject* result_delivered(PyObject* object, PyObject*) {
  ResultObject* self = as_result(object);
  self->delivered = true;
  engine_of(self).dispatched(self->job);
  Py_CLEAR(self->extras->callback);
  Py_CLEAR(self->extras->error_callback);
  Py_CLEAR(self->site);
  Py_RETURN_NONE;
}

PyObject* result_value(PyObject* object, void*) {
  ResultObject* self = as_result(object);
  if (is_ready(self)) return collect(self) ? Py_NewRef(self->value) : nullptr;
  if (!self->is_map) return PyErr_Format(PyExc_AttributeError, "'%.100s' object has no attribute '_value'", Py_TYPE(object)->tp_name);
  const auto size = static_cast<Py_ssize_t>(engine_of(self).job_size(*self->job));
  PyObject* list = PyList_New(size);
  for (Py_ssize_t i = 0; list != nullptr && i < size; ++i) PyList_SET_ITEM(list, i, Py_NewRef(Py_None));
  return list;
}

PyObject* result_success(PyObject* object, void*) {
  ResultObject* self = as_result(object);
  if (is_ready(self)) return collect(self) ? PyBool_FromLong(self->success) : nullptr;
  if (self->is_map) Py_RETURN_TRUE;
  return PyErr_Format(PyExc_AttributeError, "'%.100s' object has no attribute '_success'", Py_TYPE(object)->tp_name);
}

PyObject* result_partial(PyObject* object, void*) {
  ResultObject* self = as_result(object);
  if (is_ready(self) && !collect(self)) return nullptr;
  return Py_NewRef(self->extras == nullptr || self->extras->partial == nullptr ? Py_None : self->extras->partial);
}

int result_traverse(PyObject* object, visitproc visit, void* arg) {
  ResultObject* self = as_result(object);
  Py_VISIT(Py_TYPE(object));
  Py_VISIT(self->core);
  Py_VISIT(self->site);
  Py_VISIT(self->value);
  if (self->extras == nullptr) return 0;
  Py_VISIT(self->extras->callback);
  Py_VISIT(self->extras->error_callback);
  Py_VISIT(self->extras->partial);
  return 0;
}

/// Clears what may be part of a cycle. The core stays until dealloc, which needs it.
int result_clear(PyObject* object) {
  ResultObject* self = as_result(object);
  Py_CLEAR(self->site);
  Py_CLEAR(self->value);
  if (self->extras == nullptr) return 0;
  Py_CLEAR(self->extras->callback);
  Py_CLEAR(self->extras->error_callback);
  Py_CLEAR(self->extras->partial);
  return 0;
}

void result_dealloc(PyObject* object) {
  ResultObject* self = as_result(object);
  PyTypeObject* type = Py_TYPE(object);
  PyObject_GC_UnTrack(object);
  if (self->job && self->core != nullptr) engine_of(self).forget(self->job);
  std::destroy_at(&self->job);
  result_clear(object);
  delete self->extras;
  Py_CLEAR(self->core);
  type->tp_free(object);
  Py_DECREF(type);
}

PyMethodDef result_methods[] = {
    {"get", method(result_get), METH_FASTCALL | METH_KEYWORDS,
     "get(timeout=None)\n--\n\nThe result, waiting for it; raises what the task raised, or how it was lost."},
    {"wait", method(result_wait), METH_FASTCALL | METH_KEYWORDS,
     "wait(timeout=None)\n--\n\nWaits until the result is there or *timeout* seconds are over."},
    {"ready", result_ready, METH_NOARGS, "ready()\n--\n\nWhether the call has completed."},
    {"successful", result_successful, METH_NOARGS, "successful()\n--\n\nWhether it completed without an error; ValueError when not ready."},
    {"_take_delivery", result_take_delivery, METH_NOARGS, nullptr},
    {"_delivered", result_delivered, METH_NOARGS, nullptr},
    {nullptr, nullptr, 0, nullptr},
};
PyGetSetDef result_getset[] = {
    {"_value", result_value, nullptr, "The result or the exception (None for each item of a map that is not ready).", nullptr},
    {"_success", result_success, nullptr, "Whether the call succeeded.", nullptr},
    {"partial", result_partial, nullptr, "Of a map that failed: {index: result} of the items that are done. Else None.", nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};
PyType_Slot result_slots[] = {
    {Py_tp_new, reinterpret_cast<void*>(refuse_new)},
    {Py_tp_dealloc, reinterpret_cast<void*>(result_dealloc)},
    {Py_tp_traverse, reinterpret_cast<void*>(result_traverse)},
    {Py_tp_clear, reinterpret_cast<void*>(result_clear)},
    {Py_tp_methods, result_methods},
    {Py_tp_getset, result_getset},
    {0, nullptr},
};
PyType_Spec result_spec = {"holdfast._core.ResultBase", sizeof(ResultObject), 0,
                           Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE, result_slots};

// --- CallSite -----------------------------------------------------------------------------------------------------------------

int site_traverse(PyObject* object, visitproc visit, void* arg) {
  CallSiteObject* self = as_site(object);
  Py_VISIT(Py_TYPE(object));
  Py_VISIT(self->pool);
  Py_VISIT(self->function);
  Py_VISIT(self->policy);
  return 0;
}

int site_clear(PyObject* object) {
  CallSiteObject* self = as_site(object);
  Py_CLEAR(self->pool);
  Py_CLEAR(self->function);
  Py_CLEAR(self->policy);
  return 0;
}

void site_dealloc(PyObject* object) {
  PyTypeObject* type = Py_TYPE(object);
  PyObject_GC_UnTrack(object);
  if (CoreObject* core = as_site(object)->core; core != nullptr) core->site = nullptr;  // before any code of the user's runs
  site_clear(object);
  type->tp_free(object);
  Py_DECREF(type);
}

PyType_Slot site_slots[] = {
    {Py_tp_dealloc, reinterpret_cast<void*>(site_dealloc)},
    {Py_tp_traverse, reinterpret_cast<void*>(site_traverse)},
    {Py_tp_clear, reinterpret_cast<void*>(site_clear)},
    {0, nullptr},
};
PyType_Spec site_spec = {"holdfast._core.CallSite", sizeof(CallSiteObject), 0,
                         Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION, site_slots};

/// The call site of a result: a new reference. The one made last serves as long as some result holds it: the core keeps no pool alive.
PyObject* site_for(CoreObject* core, PyObject* pool, PyObject* function, PyObject* policy) {
  CallSiteObject* site = core->site;
  if (site != nullptr && site->pool == pool && site->function == function && site->policy == policy)
    return Py_NewRef(reinterpret_cast<PyObject*>(site));
  CallSiteObject* made = allocate<CallSiteObject>(call_site_type);
  if (made == nullptr) return nullptr;
  made->pool = Py_NewRef(pool);
  made->function = Py_NewRef(function);
  made->policy = Py_NewRef(policy);
  if (core->site != nullptr) core->site->core = nullptr;  // read again: the allocation may have collected garbage
  made->core = core;
  core->site = made;
  return reinterpret_cast<PyObject*>(made);
}

}  // namespace

bool deadline_from(PyObject* timeout, Deadline& deadline) {
  if (timeout == Py_None) return true;
  if (PyNumber_Check(timeout) == 0) {
    PyErr_Format(PyExc_TypeError, "timeout must be a number of seconds or None, not %s", Py_TYPE(timeout)->tp_name);
    return false;
  }
  const double seconds = PyFloat_AsDouble(timeout);
  if (seconds == -1.0 && PyErr_Occurred() != nullptr) return false;
  if (std::isnan(seconds)) {
    PyErr_SetString(PyExc_ValueError, "timeout must be a number of seconds or None, not nan");
    return false;
  }
  constexpr double kLong = 1e9;  // 31 years: more is for ever, and would overflow
  if (seconds >= kLong) return true;
  deadline = Deadline(Nanos(seconds > 0 ? static_cast<std::int64_t>(seconds * 1e9) : 0));
  return true;
}

PyObject* new_result(PyObject* type, CoreObject* core, PyObject* pool, PyObject* function, PyObject* callback, PyObject* error_callback,
                     PyObject* policy, bool is_map) {
  ResultObject* self = allocate<ResultObject>(reinterpret_cast<PyTypeObject*>(type));
  if (self == nullptr) return nullptr;
  new (&self->job) pool::JobRef();
  self->core = Py_NewRef(reinterpret_cast<PyObject*>(core));
  self->is_map = is_map;
  self->has_callbacks = callback != Py_None || error_callback != Py_None;
  self->site = site_for(core, pool, function, policy);
  if (is_map || self->has_callbacks) self->extras = new (std::nothrow) ResultExtras;
  if (self->site == nullptr || (self->extras == nullptr && (is_map || self->has_callbacks))) {
    if (PyErr_Occurred() == nullptr) PyErr_NoMemory();
    Py_DECREF(self);
    return nullptr;
  }
  if (self->has_callbacks && self->extras != nullptr) {
    if (callback != Py_None) self->extras->callback = Py_NewRef(callback);
    if (error_callback != Py_None) self->extras->error_callback = Py_NewRef(error_callback);
  }
  return reinterpret_cast<PyObject*>(self);
}

bool add_results(PyObject* module) {
  result_base_type = reinterpret_cast<PyTypeObject*>(PyType_FromSpec(&result_spec));
  call_site_type = reinterpret_cast<PyTypeObject*>(PyType_FromSpec(&site_spec));
  return call_site_type != nullptr && result_base_type != nullptr &&
         PyModule_AddObjectRef(module, "ResultBase", reinterpret_cast<PyObject*>(result_base_type)) == 0;
}

}  // namespace holdfast::python
