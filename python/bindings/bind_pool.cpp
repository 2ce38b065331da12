// What: holdfast._core.Core: one engine as a Python object: birth, the service threads' waits, the end, questions. Submitting is in
// bind_submit.cpp. Raw CPython methods and no nb::def, whose frames are noexcept and catch(...): see waits.hpp.
//
// Thread safety: the GIL for the Python side; the engine has its own mutex. No method runs Python code while that is held.

#include <algorithm>
#include <cstdint>
#include <new>
#include <utility>

#include "async_exceptions.hpp"
#include "bindings.hpp"
#include "errors.hpp"
#include "objects.hpp"
#include "raised.hpp"
#include "reports.hpp"
#include "submit.hpp"
#include "sys/cgroup.hpp"
#include "waits.hpp"

namespace holdfast::python {
namespace {

/// Service threads are woken by what they wait for and by the engine's end; an idle pool must not wake.
constexpr Nanos kServiceSlice = std::chrono::hours(1);

PyObject* none_or_error(const Status& status) { return status ? Py_NewRef(Py_None) : set_error(status.error()); }
Nanos from_seconds(double seconds) { return Nanos(static_cast<std::int64_t>(seconds * 1e9)); }

PyObject* core_new(PyTypeObject* type, PyObject* args, PyObject* kwargs) {
  static const char* names[] = {"workers",        "max_chunks_per_worker", "max_restarts",  "max_deaths",     "grace",
                                "start_deadline", "kill_children",         "main_by_value", "shared_results", "shared_memory_limit",
                                "memory_limit",   "max_memory_per_child",  "types",         nullptr};
  unsigned int workers = 1, max_restarts = 10;
  unsigned long long max_chunks = 0, max_deaths = 0, shared_limit = 0, memory_limit = 0, max_memory = 0;
  double grace = 5, start_deadline = 60;
  int kill_children = 0, main_by_value = 0, shared_results = 0;
  PyObject *result = nullptr, *map_result = nullptr, *iterator = nullptr, *unordered = nullptr;
  if (!PyArg_ParseTupleAndKeywords(args, kwargs, "IKIKddpppKKK(OOOO):Core", const_cast<char**>(names), &workers, &max_chunks, &max_restarts,
                                   &max_deaths, &grace, &start_deadline, &kill_children, &main_by_value, &shared_results, &shared_limit,
                                   &memory_limit, &max_memory, &result, &map_result, &iterator, &unordered)) {
    return nullptr;
  }
  pool::EngineOptions options;
  options.workers = workers;
  options.max_chunks_per_worker = max_chunks;
  options.max_restarts = max_restarts;
  options.max_deaths = max_deaths;
  options.grace = from_seconds(grace);
  options.start_deadline = from_seconds(start_deadline);
  options.kill_children_on_recycle = kill_children != 0;
  options.memory_limit = static_cast<std::int64_t>(memory_limit);
  options.max_memory_per_worker = static_cast<std::int64_t>(max_memory);
  const std::size_t limit = shared_limit == 0 ? SIZE_MAX : static_cast<std::size_t>(shared_limit);
  options.keep_buffer_bytes = std::min(options.keep_buffer_bytes, limit);
  std::shared_ptr<pool::ViewBudget> views;
  if (shared_results != 0) views = std::make_shared<pool::ViewBudget>(limit);
  Result<std::shared_ptr<pool::Engine>> engine = pool::Engine::create(options);
  if (!engine) return set_error(engine.error());
  CoreObject* self = allocate<CoreObject>(type);
  if (self == nullptr) return nullptr;
  new (&self->engine) std::shared_ptr<pool::Engine>(*std::move(engine));
  new (&self->buffers) std::shared_ptr<ring::BufferPool>(self->engine->buffers());
  new (&self->views) std::shared_ptr<pool::ViewBudget>(std::move(views));
  new (&self->undelivered) std::unordered_map<JobId, PyObject*>();
  new (&self->functions) std::unordered_map<PyObject*, CachedFunction>();
  new (&self->scratch) pool::ItemBatch();
  new (&self->gate) Gate();
  self->result_type = Py_NewRef(result);
  self->map_result_type = Py_NewRef(map_result);
  self->iterator_type = Py_NewRef(iterator);
  self->unordered_type = Py_NewRef(unordered);
  self->workers = workers;
  self->main_by_value = main_by_value != 0;
  return reinterpret_cast<PyObject*>(self);
}

int core_traverse(PyObject* object, visitproc visit, void* arg) {
  CoreObject* self = as_core(object);
  Py_VISIT(Py_TYPE(object));
  for (const auto& entry : self->undelivered) Py_VISIT(entry.second);
  for (const auto& entry : self->functions) Py_VISIT(entry.second.object);
  Py_VISIT(self->deaths);
  Py_VISIT(self->result_type);
  Py_VISIT(self->map_result_type);
  Py_VISIT(self->iterator_type);
  Py_VISIT(self->unordered_type);
  return 0;
}

/// Clears what may be part of a cycle. The types stay until dealloc: a finalizer that runs after this may still submit.
int core_clear(PyObject* object) {
  CoreObject* self = as_core(object);
  std::unordered_map<JobId, PyObject*> undelivered;
  std::unordered_map<PyObject*, CachedFunction> functions;
  undelivered.swap(self->undelivered);
  functions.swap(self->functions);
  for (const auto& entry : undelivered) Py_DECREF(entry.second);
  for (const auto& entry : functions) Py_DECREF(entry.second.object);
  Py_CLEAR(self->deaths);
  return 0;
}

void core_dealloc(PyObject* object) {
  CoreObject* self = as_core(object);
  PyTypeObject* type = Py_TYPE(object);
  PyObject_GC_UnTrack(object);
  core_clear(object);
  if (self->site != nullptr) self->site->core = nullptr;
  Py_CLEAR(self->result_type);
  Py_CLEAR(self->map_result_type);
  Py_CLEAR(self->iterator_type);
  Py_CLEAR(self->unordered_type);
  self->buffers.~shared_ptr();
  self->views.~shared_ptr();
  {
    // The engine's destructor kills the workers and joins the supervisor: short, but other Python threads need not wait for it.
    std::shared_ptr<pool::Engine> engine = std::move(self->engine);
    Py_BEGIN_ALLOW_THREADS engine.reset();
    Py_END_ALLOW_THREADS
  }
  self->engine.~shared_ptr();
  self->undelivered.~unordered_map();
  self->functions.~unordered_map();
  std::destroy_at(&self->scratch);
  self->gate.~Gate();
  type->tp_free(object);
  Py_DECREF(type);
}

// --- birth --------------------------------------------------------------------------------------------------------------------

PyObject* core_start(PyObject* object, PyObject*) { return none_or_error(as_core(object)->engine->start()); }

/// True: a worker has a pid or has failed; False: the time is over or the engine has ended.
PyObject* core_wait_started(PyObject* object, PyObject* timeout) {
  Deadline deadline;
  if (!deadline_from(timeout, deadline)) return nullptr;
  pool::Engine& engine = *as_core(object)->engine;
  const WaitEnd end = wait_loop(engine, deadline, Interrupt::nobody(), [&](Nanos slice) { return engine.wait_started(slice); });
  return end == WaitEnd::error ? nullptr : PyBool_FromLong(end == WaitEnd::ready);
}

// --- service threads ----------------------------------------------------------------------------------------------------------

/// The restarter's wait. True: fork a new zygote; False: the engine has ended.
PyObject* core_wait_zygote_needed(PyObject* object, PyObject*) {
  pool::Engine& engine = *as_core(object)->engine;
  const WaitEnd end = wait_loop(
      engine, Deadline(), Interrupt::nobody(), [&](Nanos slice) { return engine.wait_zygote_needed(slice); }, kServiceSlice);
  return end == WaitEnd::error ? nullptr : PyBool_FromLong(end == WaitEnd::ready);
}

/// A note as (type name, repr, traceback) texts.
PyObject* note_tuple(const pool::Payload& note) {
  const std::optional<Raised> raised = decode_raised(note.bytes());
  if (!raised) return Py_BuildValue("(sss)", "", "a malformed note", "");
  const auto text = [](std::string_view view) {
    return PyUnicode_DecodeUTF8(view.data(), static_cast<Py_ssize_t>(view.size()), "replace");
  };
  return Py_BuildValue("(NNN)", text(raised->type_name), text(raised->repr), text(raised->traceback));
}

PyObject* stalled_tuple(const pool::DispatchEvent& event) {
  const double seconds = std::chrono::duration<double>(event.stalled_for).count();
  PyObject* stacks = PyUnicode_DecodeUTF8(event.stacks.data(), static_cast<Py_ssize_t>(event.stacks.size()), "replace");
  return stacks == nullptr ? nullptr : Py_BuildValue("(sidN)", "stalled", event.pid, seconds, stacks);
}

/// The dispatcher's wait: ("result", AsyncResult), ("note", texts, worker), ("stalled", pid, seconds, stacks), or None when nothing will come any more.
PyObject* core_wait_dispatch(PyObject* object, PyObject*) {
  CoreObject* self = as_core(object);
  for (;;) {
    pool::DispatchEvent event;
    const WaitEnd end = wait_loop(
        *self->engine, Deadline(), Interrupt::nobody(), [&](Nanos slice) { return self->engine->wait_dispatch(slice, event); },
        kServiceSlice);
    if (end == WaitEnd::error) return nullptr;
    if (end == WaitEnd::ended) Py_RETURN_NONE;
    if (event.kind == pool::DispatchEvent::Kind::note)
      return Py_BuildValue("(sNI)", "note", note_tuple(event.note), static_cast<unsigned int>(event.worker));
    if (event.kind == pool::DispatchEvent::Kind::stalled) return stalled_tuple(event);
    const auto found = self->undelivered.find(pool::Engine::job_id(*event.job));
    if (found == self->undelivered.end()) {  // cleared by the garbage collector with everything around it
      self->engine->dispatched(event.job);
      continue;
    }
    PyObject* result = found->second;
    self->undelivered.erase(found);
    return Py_BuildValue("(sN)", "result", result);
  }
}

// --- the end ------------------------------------------------------------------------------------------------------------------

PyObject* core_close(PyObject* object, PyObject*) {
  as_core(object)->engine->close();
  Py_RETURN_NONE;
}

PyObject* core_terminate(PyObject* object, PyObject* args) {
  double grace = 0;
  int interrupted = 0;
  if (!PyArg_ParseTuple(args, "d|p:terminate", &grace, &interrupted)) return nullptr;
  as_core(object)->engine->terminate(from_seconds(grace), interrupted != 0);
  Py_RETURN_NONE;
}

PyObject* core_kill(PyObject* object, PyObject*) {
  as_core(object)->engine->kill();
  Py_RETURN_NONE;
}

PyObject* core_interrupt_workers(PyObject* object, PyObject*) {
  as_core(object)->engine->interrupt_workers({});
  Py_RETURN_NONE;
}

/// wait_ended(timeout, interrupt): True when no worker and no zygote is left.
PyObject* core_wait_ended(PyObject* object, PyObject* args) {
  PyObject* timeout = Py_None;
  int interrupt = 0;
  Deadline deadline;
  if (!PyArg_ParseTuple(args, "O|p:wait_ended", &timeout, &interrupt) || !deadline_from(timeout, deadline)) return nullptr;
  pool::Engine& engine = *as_core(object)->engine;
  const WaitEnd end = wait_loop(engine, deadline, interrupt != 0 ? Interrupt::all_workers() : Interrupt::nobody(),
                                [&](Nanos slice) { return engine.wait_ended(slice); });
  if (end == WaitEnd::error) return nullptr;
  return PyBool_FromLong(end != WaitEnd::timed_out);
}

// --- questions ----------------------------------------------------------------------------------------------------------------

PyObject* core_state(PyObject* object, void*) { return PyUnicode_FromString(state_name(as_core(object)->engine->state())); }

/// (reason, report or None)
PyObject* core_broken(PyObject* object, PyObject*) {
  pool::Engine& engine = *as_core(object)->engine;
  const std::string reason = engine.broken_reason();
  const std::optional<ExitReport> report = engine.broken_report();
  PyObject* made = report ? report_object(*report) : Py_NewRef(Py_None);
  return made == nullptr ? nullptr : Py_BuildValue("(s#N)", reason.data(), static_cast<Py_ssize_t>(reason.size()), made);
}

/// A list of make(entry) for each entry; nullptr when one of them failed. Appended to, for `make` may run Python code, which must not find a
/// list with holes.
template <class Entry, class Make>
PyObject* list_of(const std::vector<Entry>& entries, const Make& make) {
  PyObject* list = PyList_New(0);
  for (std::size_t i = 0; list != nullptr && i < entries.size(); ++i) {
    PyObject* made = make(entries[i]);
    if (made == nullptr || PyList_Append(list, made) != 0) Py_CLEAR(list);
    Py_XDECREF(made);
  }
  return list;
}

PyObject* core_workers(PyObject* object, PyObject*) { return list_of(as_core(object)->engine->workers(), worker_tuple); }

PyObject* core_worker_info(PyObject* object, PyObject* number) {
  const unsigned long worker = PyLong_AsUnsignedLong(number);
  if (worker == static_cast<unsigned long>(-1) && PyErr_Occurred() != nullptr) return nullptr;
  const std::optional<pool::WorkerInfo> info = as_core(object)->engine->worker_info(static_cast<WorkerId>(worker));
  return info ? worker_tuple(*info) : Py_NewRef(Py_None);
}

/// dump_stacks(timeout) -> [(pid, text)]
PyObject* core_dump_stacks(PyObject* object, PyObject* timeout) {
  Deadline deadline;
  if (!deadline_from(timeout, deadline)) return nullptr;
  pool::Engine& engine = *as_core(object)->engine;
  pool::StacksRequest request = engine.ask_for_stacks();
  const WaitEnd end = wait_loop(engine, deadline, Interrupt::nobody(), [&](Nanos slice) { return engine.wait_stacks(request, slice); });
  if (end == WaitEnd::error) return nullptr;
  engine.end_stacks(request);
  return list_of(request.workers, [](const pool::StacksRequest::Asked& asked) {
    PyObject* text = PyUnicode_DecodeUTF8(asked.text.data(), static_cast<Py_ssize_t>(asked.text.size()), "replace");
    return text == nullptr ? nullptr : Py_BuildValue("(iN)", asked.pid, text);
  });
}

PyObject* core_stats(PyObject* object, PyObject*) { return stats_dict(as_core(object)->engine->stats()); }

/// A killed task as (function, call mode, argument payload), unpickled now; what cannot be is the exception that says why.
PyObject* killed_tuple(const pool::KilledItem& killed, AsyncExceptions& async) {
  PyObject* function = decode_guarded(pool::Engine::function_bytes(*killed.function), async);
  if (function == nullptr) function = take_exception();
  const ByteSpan bytes = killed.large_item == nullptr ? killed.item.bytes() : ByteSpan(killed.large_item->data(), killed.large_size);
  PyObject* payload = decode_guarded(bytes, async);
  if (payload == nullptr) payload = take_exception();
  PyObject* report = report_object(killed.report);
  if (report == nullptr) {
    Py_DECREF(function);
    Py_DECREF(payload);
    return nullptr;
  }
  return Py_BuildValue("(NINN)", function, static_cast<unsigned int>(killed.call_mode), payload, report);
}

PyObject* core_killed_items(PyObject* object, PyObject*) {
  AsyncExceptions async;
  PyObject* list =
      list_of(as_core(object)->engine->killed_items(), [&](const pool::KilledItem& killed) { return killed_tuple(killed, async); });
  if (!async.raise()) return list;
  Py_XDECREF(list);
  return nullptr;
}

/// The reports of the workers that died under items, retried or not, without those that the pool itself stopped. Once the pool is aborted the
/// list stays as it is, and all its errors share it.
PyObject* core_death_reports(PyObject* object, PyObject*) {
  CoreObject* self = as_core(object);
  if (self->deaths != nullptr) return Py_NewRef(self->deaths);
  const bool final = self->engine->state() == pool::EngineState::aborted;
  std::vector<ExitReport> deaths = self->engine->deaths();
  std::erase_if(deaths, [](const ExitReport& report) { return report.cause == Cause::stopped_by_pool; });
  PyObject* list = list_of(deaths, report_object);
  if (final && list != nullptr && self->deaths == nullptr) self->deaths = Py_NewRef(list);
  return list;
}

PyObject* allowed_cpus(PyObject*, PyObject*) { return PyLong_FromUnsignedLong(sys::allowed_cpus()); }

PyMethodDef functions[] = {
    {"allowed_cpus", allowed_cpus, METH_NOARGS, "The processors that affinity and cgroup quota leave to this process."},
    {nullptr, nullptr, 0, nullptr},
};
PyMethodDef core_methods[] = {
    {"launch_zygote", core_launch_zygote, METH_O, nullptr},
    {"start", core_start, METH_NOARGS, nullptr},
    {"wait_started", core_wait_started, METH_O, nullptr},
    {"wait_zygote_needed", core_wait_zygote_needed, METH_NOARGS, nullptr},
    {"wait_dispatch", core_wait_dispatch, METH_NOARGS, nullptr},
    {"apply_async", method(core_apply_async), METH_FASTCALL, nullptr},
    {"map_async", method(core_map_async), METH_FASTCALL, nullptr},
    {"lazy", method(core_lazy), METH_FASTCALL, nullptr},
    {"close", core_close, METH_NOARGS, nullptr},
    {"terminate", core_terminate, METH_VARARGS, nullptr},
    {"kill", core_kill, METH_NOARGS, nullptr},
    {"interrupt_workers", core_interrupt_workers, METH_NOARGS, nullptr},
    {"wait_ended", core_wait_ended, METH_VARARGS, nullptr},
    {"broken", core_broken, METH_NOARGS, nullptr},
    {"workers", core_workers, METH_NOARGS, nullptr},
    {"worker_info", core_worker_info, METH_O, nullptr},
    {"dump_stacks", core_dump_stacks, METH_O, nullptr},
    {"stats", core_stats, METH_NOARGS, nullptr},
    {"death_reports", core_death_reports, METH_NOARGS, nullptr},
    {"killed_items", core_killed_items, METH_NOARGS, nullptr},
    {nullptr, nullptr, 0, nullptr},
};
PyGetSetDef core_getset[] = {
    {"state", core_state, nullptr, "running, closed, terminated, aborted or broken", nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};
PyType_Slot core_slots[] = {
    {Py_tp_new, reinterpret_cast<void*>(core_new)},
    {Py_tp_dealloc, reinterpret_cast<void*>(core_dealloc)},
    {Py_tp_traverse, reinterpret_cast<void*>(core_traverse)},
    {Py_tp_clear, reinterpret_cast<void*>(core_clear)},
    {Py_tp_methods, core_methods},
    {Py_tp_getset, core_getset},
    {0, nullptr},
};
PyType_Spec core_spec = {"holdfast._core.Core", sizeof(CoreObject), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC, core_slots};

}  // namespace

bool add_pool(PyObject* module) {
  PyObject* core_type = PyType_FromSpec(&core_spec);
  return core_type != nullptr && PyModule_AddFunctions(module, functions) == 0 && PyModule_AddObjectRef(module, "Core", core_type) == 0;
}

}  // namespace holdfast::python
