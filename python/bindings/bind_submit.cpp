// What: from a Python call to a job of the engine (submit.hpp). Encodes straight into the job's ItemBatch, one C loop, no lock held.
//
// Call modes (python_runner.cpp has the other half): 0 = f(x), 1 = f(*x), 2 = f(*args, **kwds) with the payload (args, kwds).
#include "submit.hpp"

#include <algorithm>
#include <new>
#include <utility>

#include "errors.hpp"
#include "objects.hpp"

namespace holdfast::python {
namespace {

constexpr std::uint16_t kCallArguments = 1;
constexpr std::uint16_t kCallArgumentsAndKeywords = 2;
constexpr std::uint64_t kWindowChunksPerWorker = 4;
constexpr std::uint64_t kWidest = 32;       // times the default window: pool/window.hpp says when
constexpr Py_ssize_t kSliceItems = 16'384;  // some hundred microseconds of encoding

bool check_count(const char* name, Py_ssize_t count, Py_ssize_t wanted) {
  if (count == wanted) return true;
  PyErr_Format(PyExc_TypeError, "%s expects %zd arguments, not %zd", name, wanted, count);
  return false;
}

/// PoolBrokenError or PoolAbortedError, with the reason. Always false.
bool raise_stopped(CoreObject* core) {
  PyObject* maker = error_class("stopped");
  PyObject* error = maker == nullptr ? nullptr : PyObject_CallOneArg(maker, reinterpret_cast<PyObject*>(core));
  if (error != nullptr) restore_exception(error);
  return false;
}

/// Before any argument is looked at, as in the standard pool.
bool check_running(CoreObject* core) {
  if (core->engine->takes_work()) return true;
  if (core->engine->in_forked_child()) {
    (void)set_error({ErrorCode::closed, 0, "submit", pool::Engine::kForked});
    return false;
  }
  switch (core->engine->state()) {
    case pool::EngineState::running: return true;
    case pool::EngineState::broken:
    case pool::EngineState::aborted: return raise_stopped(core);
    default: (void)set_error({ErrorCode::closed, 0, "submit", ""}); return false;
  }
}

const PolicyObject* policy_of(PyObject* object) {
  if (Py_TYPE(object) == policy_type) return as_policy(object);
  PyErr_SetString(PyExc_TypeError, "policy must be a _core.Policy");
  return nullptr;
}

/// Submits and binds the job to its result; steals `result`, returns it or nullptr. Moves from `request`.
PyObject* submit(CoreObject* core, PyObject* result, pool::JobRequest& request) {
  ResultObject* self = as_result(result);
  request.dispatch = self->has_callbacks;
  Result<pool::JobRef> job = core->engine->submit(std::move(request));
  if (!job) {
    set_error(job.error());
    Py_DECREF(result);
    return nullptr;
  }
  self->job = *std::move(job);
  // The dispatcher cannot look for it before it is here: it needs the GIL, which this thread holds since before the submit.
  if (self->has_callbacks) core->undelivered.emplace(pool::Engine::job_id(*self->job), Py_NewRef(result));
  return result;
}

/// What a map can be cut into slices of: an exact list (which may change its size while its elements are pickled) or a range. Reading either runs
/// no code of the user's and cannot fail midway; anything else is read to its end before a single item is sent.
class Sliceable {
 public:
  /// False when it is neither, or a range of ints beyond 64 bits.
  bool open(PyObject* iterable) {
    if (PyList_CheckExact(iterable)) {
      list_ = iterable;
      return true;
    }
    if (!PyRange_Check(iterable) || !read_int(iterable, "start", value_) || !read_int(iterable, "step", step_)) return false;
    left_ = PyObject_Size(iterable);
    std::int64_t last = 0;  // only values within 64 bits are ever computed
    if (left_ < 0) PyErr_Clear();
    return left_ >= 0 && (left_ == 0 || (!__builtin_mul_overflow(step_, left_ - 1, &last) && !__builtin_add_overflow(last, value_, &last)));
  }
  Py_ssize_t size() const { return list_ != nullptr ? PyList_GET_SIZE(list_) : left_; }
  /// Adds the next item. False: at the end, or with a Python error set.
  bool add_next(CoreObject* core, Encoder& encoder, pool::ItemBatch& batch) {
    if (list_ == nullptr) return add_next_int(batch);
    if (at_ >= PyList_GET_SIZE(list_)) return false;
    PyObject* item = Py_NewRef(PyList_GET_ITEM(list_, at_++));
    const bool added = add_item(core, encoder, item, batch);
    Py_DECREF(item);
    return added;
  }

 private:
  static bool read_int(PyObject* range, const char* name, std::int64_t& out) {
    PyObject* value = PyObject_GetAttrString(range, name);
    int overflow = 0;
    out = value == nullptr ? 0 : PyLong_AsLongLongAndOverflow(value, &overflow);
    Py_XDECREF(value);
    if (PyErr_Occurred() == nullptr) return overflow == 0;
    PyErr_Clear();
    return false;
  }
  /// The ints of a range go without ever being Python objects.
  bool add_next_int(pool::ItemBatch& batch) {
    if (left_ == 0) return false;
    try {
      const MutableByteSpan room = batch.spare();
      static_assert(kIntRoom <= pool::ItemBatch::kSpare - ring::pack::kPrefix);
      batch.keep(encode_int(value_, room.data()));
    } catch (const std::bad_alloc&) {  // no Python code and no wait in this frame: a catch is harmless here
      PyErr_NoMemory();
      return false;
    }
    if (--left_ != 0) value_ += step_;
    return true;
  }

  PyObject* list_ = nullptr;  // borrowed
  Py_ssize_t at_ = 0;
  std::int64_t value_ = 0;
  std::int64_t step_ = 0;
  Py_ssize_t left_ = 0;
};

/// Up to `most` items. False with a Python error set.
bool add_slice(CoreObject* core, Encoder& encoder, Sliceable& source, Py_ssize_t most, pool::ItemBatch& batch) {
  for (Py_ssize_t i = 0; i < most; ++i) {
    if (!source.add_next(core, encoder, batch)) return PyErr_Occurred() == nullptr;
    if ((i & 0xffff) == 0xffff && PyErr_CheckSignals() != 0) return false;
  }
  return true;
}

bool add_iterable(CoreObject* core, Encoder& encoder, PyObject* iterable, pool::ItemBatch& batch) {
  PyObject* iterator = PyObject_GetIter(iterable);
  if (iterator == nullptr) return false;
  std::uint64_t seen = 0;
  PyObject* item = nullptr;
  bool added = true;
  while (added && (item = PyIter_Next(iterator)) != nullptr) {
    added = add_item(core, encoder, item, batch);
    Py_DECREF(item);
    if ((++seen & 0xffff) == 0 && PyErr_CheckSignals() != 0) added = false;
  }
  Py_DECREF(iterator);
  return added && PyErr_Occurred() == nullptr;
}

/// ceil(items / (4 * workers)), as the standard pool has it, unless given.
bool chunk_size_from(PyObject* chunksize, std::uint64_t items, std::uint64_t workers, std::uint64_t& out) {
  if (chunksize == Py_None) {
    out = items == 0 ? 1 : (items + 4 * workers - 1) / (4 * workers);
    return true;
  }
  const long long value = PyLong_AsLongLong(chunksize);
  if (value == -1 && PyErr_Occurred() != nullptr) return false;
  if (value < 1) {
    PyErr_Format(PyExc_ValueError, "Chunksize must be 1+, not %lld", value);  // the standard pool's words
    return false;
  }
  out = static_cast<std::uint64_t>(value);
  return true;
}

/// map of nothing: ready at once, no callback is called (as in the standard pool).
PyObject* make_empty(PyObject* result) {
  ResultObject* self = as_result(result);
  self->value = PyList_New(0);
  if (self->value == nullptr) {
    Py_DECREF(result);
    return nullptr;
  }
  self->collected = self->success = self->delivered = true;
  return result;
}

/// The handle of a map that failed while it was being submitted: what has not begun is cancelled, the error stays.
PyObject* give_up(CoreObject* core, PyObject* result) {
  PyObject* error = take_exception();
  const pool::JobRef job = as_result(result)->job;
  (void)core->engine->close_input(job);  // fails only when it is closed already
  core->engine->cancel(job, 0, core->engine->job_size(*job), /*kill=*/false);
  if (const auto listed = core->undelivered.find(pool::Engine::job_id(*job)); listed != core->undelivered.end()) {
    PyObject* held = listed->second;
    core->undelivered.erase(listed);
    Py_DECREF(held);
  }
  Py_DECREF(result);
  restore_exception(error);
  return nullptr;
}

/// The map of `total` items. A long one is submitted in slices of whole chunks: the workers run while the rest is still being encoded. Steals
/// `result`.
PyObject* submit_slices(CoreObject* core, PyObject* result, pool::JobRequest&& request, Sliceable source, Py_ssize_t total,
                        PyObject* chunksize) {
  Encoder encoder(core->main_by_value);
  Py_ssize_t slice = 0;
  if (chunk_size_from(chunksize, static_cast<std::uint64_t>(total), core->workers, request.chunk_size)) {
    const auto chunk = static_cast<Py_ssize_t>(
        std::clamp<std::uint64_t>(request.chunk_size, 1, static_cast<std::uint64_t>(std::max<Py_ssize_t>(total, 1))));
    slice = (kSliceItems + chunk - 1) / chunk * chunk;
  }
  if (slice == 0 || !add_slice(core, encoder, source, slice, request.items)) {
    Py_DECREF(result);
    return nullptr;
  }
  if (request.items.empty()) return make_empty(result);
  as_result(result)->extras->items = request.items.count();
  request.open = total > slice;
  const bool more = request.open;
  result = submit(core, result, request);
  if (result == nullptr || !more) return result;
  const pool::JobRef job = as_result(result)->job;
  for (;;) {
    pool::ItemBatch batch;
    if (!add_slice(core, encoder, source, slice, batch)) return give_up(core, result);
    const std::uint64_t added = batch.count();
    as_result(result)->extras->items += added;  // also those that a terminated pool refuses: they have no outcome, and the result says so
    if (added == 0) break;
    if (const Status extended = core->engine->extend(job, std::move(batch)); !extended) {
      if (extended.error().code != ErrorCode::exhausted) break;
      (void)set_error(extended.error());
      return give_up(core, result);
    }
  }
  (void)core->engine->close_input(job);  // fails only when terminate() has closed it
  return result;
}

}  // namespace

PyObject* core_apply_async(PyObject* object, PyObject* const* arguments, Py_ssize_t count) {
  if (!check_count("apply_async", count, 7)) return nullptr;
  CoreObject* core = as_core(object);
  PyObject *pool = arguments[0], *function = arguments[1], *args = arguments[2], *kwds = arguments[3];
  const PolicyObject* policy = policy_of(arguments[6]);
  if (policy == nullptr || !check_running(core)) return nullptr;
  pool::JobRequest request;
  request.function = intern(core, function);
  if (!request.function) return nullptr;
  const bool has_keywords = !PyDict_CheckExact(kwds) || PyDict_GET_SIZE(kwds) > 0;
  request.call_mode = has_keywords ? kCallArgumentsAndKeywords : kCallArguments;
  PyObject* payload = has_keywords ? PyTuple_Pack(2, args, kwds) : Py_NewRef(args);
  if (payload == nullptr) return nullptr;
  Encoder encoder(core->main_by_value);
  // Out of the core meanwhile: pickling may run code that submits, too.
  request.items = std::exchange(core->scratch, pool::ItemBatch());
  const bool added = add_item(core, encoder, payload, request.items);
  Py_DECREF(payload);
  PyObject* result =
      added ? new_result(core->result_type, core, pool, function, arguments[4], arguments[5], arguments[6], /*is_map=*/false) : nullptr;
  if (result != nullptr) {
    request.policies = policy->policies;
    result = submit(core, result, request);
  }
  request.items.reuse();
  core->scratch = std::move(request.items);
  return result;
}

PyObject* core_map_async(PyObject* object, PyObject* const* arguments, Py_ssize_t count) {
  if (!check_count("map_async", count, 8)) return nullptr;
  CoreObject* core = as_core(object);
  PyObject *pool = arguments[0], *function = arguments[1], *iterable = arguments[2];
  const long call_mode = PyLong_AsLong(arguments[3]);
  const PolicyObject* policy = policy_of(arguments[7]);
  if (policy == nullptr || (call_mode == -1 && PyErr_Occurred() != nullptr) || !check_running(core)) return nullptr;
  pool::JobRequest request;
  request.function = intern(core, function);
  if (!request.function) return nullptr;
  request.call_mode = static_cast<std::uint16_t>(call_mode);
  request.whole = true;
  request.policies = policy->policies;
  PyObject* result = new_result(core->map_result_type, core, pool, function, arguments[5], arguments[6], arguments[7], /*is_map=*/true);
  if (result == nullptr) return nullptr;
  Sliceable source;
  if (source.open(iterable)) return submit_slices(core, result, std::move(request), source, source.size(), arguments[4]);
  if (PyRange_Check(iterable) && PyObject_Size(iterable) < 0) {  // too long to count: OverflowError
    Py_DECREF(result);
    return nullptr;
  }
  Encoder encoder(core->main_by_value);
  const bool good = add_iterable(core, encoder, iterable, request.items) &&
                    chunk_size_from(arguments[4], request.items.count(), core->workers, request.chunk_size);
  if (!good) {
    Py_DECREF(result);
    return nullptr;
  }
  as_result(result)->extras->items = request.items.count();
  return request.items.empty() ? make_empty(result) : submit(core, result, request);
}

PyObject* core_lazy(PyObject* object, PyObject* const* arguments, Py_ssize_t count) {
  if (!check_count("lazy", count, 7)) return nullptr;
  CoreObject* core = as_core(object);
  PyObject *pool = arguments[0], *function = arguments[1], *input = arguments[2];
  const long call_mode = PyLong_AsLong(arguments[3]);
  const int unordered = PyObject_IsTrue(arguments[5]);
  const PolicyObject* policy = policy_of(arguments[6]);
  if (policy == nullptr || unordered < 0 || (call_mode == -1 && PyErr_Occurred() != nullptr) || !check_running(core)) return nullptr;
  pool::JobRequest request;
  if (!chunk_size_from(arguments[4], /*items=*/0, core->workers, request.chunk_size)) return nullptr;
  request.function = intern(core, function);
  if (!request.function) return nullptr;
  request.call_mode = static_cast<std::uint16_t>(call_mode);
  request.open = true;
  request.unordered = unordered == 1;
  const std::uint64_t chunks = policy->window_chunks != 0 ? policy->window_chunks : kWindowChunksPerWorker * core->workers;
  if (__builtin_mul_overflow(chunks, request.chunk_size, &request.window)) request.window = UINT64_MAX;
  // Unless the user has said how wide: in chunks of short items it may grow.
  if (policy->window_chunks == 0 && __builtin_mul_overflow(request.window, kWidest, &request.widest)) request.widest = UINT64_MAX;
  request.policies = policy->policies;
  const std::uint64_t chunk_size = request.chunk_size;
  PyObject* iterator =
      new_iterator(request.unordered ? core->unordered_type : core->iterator_type, core, pool, function, policy, request.unordered);
  PyObject* feed = iterator == nullptr ? nullptr : new_feed(core, input, chunk_size);
  if (feed == nullptr) {
    Py_XDECREF(iterator);
    return nullptr;
  }
  as_iterator(iterator)->feed = feed;
  Result<pool::JobRef> job = core->engine->submit(std::move(request));
  if (!job) {
    set_error(job.error());
    Py_DECREF(iterator);
    return nullptr;
  }
  as_iterator(iterator)->job = *job;
  as_feed(feed)->job = *std::move(job);
  return iterator;
}

}  // namespace holdfast::python
