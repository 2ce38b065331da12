// What: holdfast._core.Policy: policies that _options.py has checked, in the form the engine wants them; immutable.
#include <cmath>
#include <cstring>

#include "bindings.hpp"
#include "errors.hpp"
#include "objects.hpp"

namespace holdfast::python {

PyTypeObject* policy_type = nullptr;

namespace {

bool failure_from(const char* name, OnFailure& out) {
  for (const OnFailure policy : {OnFailure::raise, OnFailure::skip, OnFailure::retry, OnFailure::abort}) {
    if (std::string_view(name) == to_string(policy)) {
      out = policy;
      return true;
    }
  }
  PyErr_Format(PyExc_ValueError, "unknown policy '%s'", name);
  return false;
}

/// 0 stays 0, which means none; anything above it is at least a nanosecond.
Nanos seconds(double value) { return Nanos(static_cast<std::int64_t>(std::ceil(value * 1e9))); }

/// The bits of Retry::on for a tuple of words: to_string(Cause)'s, and "raised"; an empty one means all.
bool causes_from(PyObject* words, std::uint32_t& on) {
  if (PyTuple_GET_SIZE(words) == 0) return true;
  on = 0;
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(words); ++i) {
    const char* word = PyUnicode_AsUTF8(PyTuple_GET_ITEM(words, i));
    if (word == nullptr) return false;
    std::uint32_t found = std::strcmp(word, to_string(OutcomeKind::raised)) == 0 ? Retry::bit(Cause::none) : 0;
    for (auto cause = static_cast<unsigned>(Cause::exit_code); cause <= static_cast<unsigned>(Cause::unknown_status); ++cause) {
      if (std::strcmp(word, to_string(static_cast<Cause>(cause))) == 0) found = Retry::bit(static_cast<Cause>(cause));
    }
    if (found == 0) {
      PyErr_Format(PyExc_ValueError, "unknown cause '%s'", word);
      return false;
    }
    on |= found;
  }
  return true;
}

/// Policy(on_death, on_error, on_timeout, max_retries, backoff, backoff_factor, backoff_max, jitter, then, on, deadline, task_timeout, soft_timeout,
/// skip_value, window)
PyObject* policy_new(PyTypeObject* type, PyObject* args, PyObject*) {
  const char *on_death = nullptr, *on_error = nullptr, *on_timeout = nullptr, *then = nullptr;
  unsigned int max_retries = 0;
  double backoff = 0, factor = 1, backoff_max = 0, jitter = 0, deadline = 0, task_timeout = 0, soft_timeout = 0;
  PyObject *skip_value = nullptr, *on = nullptr;
  unsigned long long window = 0;
  if (!PyArg_ParseTuple(args, "sssIddddsO!dddOK:Policy", &on_death, &on_error, &on_timeout, &max_retries, &backoff, &factor, &backoff_max,
                        &jitter, &then, &PyTuple_Type, &on, &deadline, &task_timeout, &soft_timeout, &skip_value, &window)) {
    return nullptr;
  }
  Policies policies;
  if (!failure_from(on_death, policies.on_death) || !failure_from(on_error, policies.on_error) ||
      !failure_from(on_timeout, policies.on_timeout) || !failure_from(then, policies.retry.then) || !causes_from(on, policies.retry.on)) {
    return nullptr;
  }
  policies.retry.max_retries = max_retries;
  policies.retry.backoff_initial = seconds(backoff);
  policies.retry.backoff_factor = factor;
  policies.retry.backoff_max = seconds(backoff_max);
  policies.retry.jitter = jitter;
  policies.retry.deadline = seconds(deadline);
  policies.task_timeout = seconds(task_timeout);
  policies.soft_timeout = seconds(soft_timeout);
  PolicyObject* self = allocate<PolicyObject>(type);
  if (self == nullptr) return nullptr;
  self->policies = policies;
  self->skip_value = Py_NewRef(skip_value);
  self->window_chunks = window;
  return reinterpret_cast<PyObject*>(self);
}

int policy_traverse(PyObject* object, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(object));
  Py_VISIT(as_policy(object)->skip_value);
  return 0;
}

int policy_clear(PyObject* object) {
  Py_CLEAR(as_policy(object)->skip_value);
  return 0;
}

void policy_dealloc(PyObject* object) {
  PyTypeObject* type = Py_TYPE(object);
  PyObject_GC_UnTrack(object);
  policy_clear(object);
  type->tp_free(object);
  Py_DECREF(type);
}

PyType_Slot policy_slots[] = {
    {Py_tp_new, reinterpret_cast<void*>(policy_new)},
    {Py_tp_dealloc, reinterpret_cast<void*>(policy_dealloc)},
    {Py_tp_traverse, reinterpret_cast<void*>(policy_traverse)},
    {Py_tp_clear, reinterpret_cast<void*>(policy_clear)},
    {0, nullptr},
};
PyType_Spec policy_spec = {"holdfast._core.Policy", sizeof(PolicyObject), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC, policy_slots};

}  // namespace

bool add_policy(PyObject* module) {
  policy_type = reinterpret_cast<PyTypeObject*>(PyType_FromSpec(&policy_spec));
  return policy_type != nullptr && PyModule_AddObjectRef(module, "Policy", reinterpret_cast<PyObject*>(policy_type)) == 0;
}

}  // namespace holdfast::python
