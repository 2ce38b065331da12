// What: the two ends of a lazy job: Feed (input: its run() is the work of one feeder thread) and IteratorBase (output: the fast half of
// IMapIterator, holdfast/_results.py).
//
// Invariants:
//   1. User input is read in the feeder's thread only, one item at a time, and a chunk is handed over as soon as it is full: a
//      generator that waits for an earlier result of its own job does not deadlock.
//   2. The feeder holds the Feed and not the iterator: an iterator that is dropped frees its results (the window is lifted, the items
//      still run, as in the standard pool).
//   3. What the input raised is the last thing the consumer sees, after the results of the chunks before it. The items of the chunk that was
//      being read are not run, as in the standard pool (tests/stdlib: test_imap_handle_iterable_exception): a chunk goes out whole or not at
//      all, so the window's room is used by whole chunks.
#include <memory>
#include <new>
#include <optional>
#include <utility>

#include "async_exceptions.hpp"
#include "bindings.hpp"
#include "errors.hpp"
#include "objects.hpp"
#include "waits.hpp"

namespace holdfast::python {

PyTypeObject* iterator_base_type = nullptr;
PyTypeObject* feed_type = nullptr;

namespace {

bool make_room(std::vector<pool::Settled>& batch) {
  try {
    batch.reserve(1);
    return true;
  } catch (const std::bad_alloc&) {  // no Python code and no wait in this frame: a catch is harmless here
    return false;
  }
}

pool::Engine& engine_of(PyObject* core) { return *as_core(core)->engine; }

// --- Feed ---------------------------------------------------------------------------------------------------------------------

enum class Fed : std::uint8_t { more, over, failed };  // failed: a Python error is set

/// Reads up to `count` items into the batch.
Fed read_items(FeedObject* self, Encoder& encoder, std::uint64_t count, pool::ItemBatch& batch) {
  for (std::uint64_t i = 0; i < count; ++i) {
    PyObject* item = PyIter_Next(self->iterator);
    if (item == nullptr) return PyErr_Occurred() != nullptr ? Fed::failed : Fed::over;
    const bool added = add_item(as_core(self->core), encoder, item, batch);
    Py_DECREF(item);
    if (!added) return Fed::failed;
  }
  return Fed::more;
}

/// The input is over, by its end or by an error; the latter is kept for the consumer.
void finish_feed(FeedObject* self) {
  self->input_error = take_exception();
  self->done = true;
  Py_CLEAR(self->iterator);
  (void)engine_of(self->core).close_input(self->job);  // an ended pool has settled the job already
}

/// One window's room: chunk by chunk. False = the input is over or the pool does not take more.
bool feed_room(FeedObject* self, Encoder& encoder, std::uint64_t room) {
  while (room >= self->chunk_size) {
    pool::ItemBatch batch;
    const Fed fed = read_items(self, encoder, self->chunk_size, batch);
    PyObject* error = fed == Fed::failed ? take_exception() : nullptr;
    const bool nothing = batch.empty() || fed == Fed::failed;
    const Status extended = nothing ? ok_status() : engine_of(self->core).extend(self->job, std::move(batch));
    if (error == nullptr && !extended && extended.error().code == ErrorCode::exhausted) {  // else the pool is over, and has settled the job
      (void)set_error(extended.error());
      error = take_exception();
    }
    const bool over = fed != Fed::more || error != nullptr;
    restore_exception(error);
    if (over) finish_feed(self);
    if (over || !extended) return false;
    room -= self->chunk_size;
  }
  return true;
}

/// The user's iterable becomes an iterator here and not in the caller, as in the standard pool: an error is the consumer's.
bool open_input(FeedObject* self) {
  PyObject* iterable = self->iterator;
  if (iterable == nullptr) return false;
  self->iterator = PyObject_GetIter(iterable);
  Py_DECREF(iterable);
  if (self->iterator != nullptr) return true;
  finish_feed(self);
  return false;
}

PyObject* feed_run(PyObject* object, PyObject*) {
  FeedObject* self = as_feed(object);
  Encoder encoder(as_core(self->core)->main_by_value);
  pool::Engine& engine = engine_of(self->core);
  for (bool more = open_input(self); more;) {
    std::uint64_t room = 0;
    const auto look = [&](Nanos slice) { return engine.wait_window(self->job, slice, room); };
    const WaitEnd end = ready_at_once(look) ? WaitEnd::ready : wait_loop(engine, Deadline(), Interrupt::nobody(), look);
    if (end == WaitEnd::error) return nullptr;
    if (end == WaitEnd::ended) break;
    more = feed_room(self, encoder, room);
  }
  Py_CLEAR(self->iterator);  // a generator is closed here, in the thread that ran it
  Py_RETURN_NONE;
}

int feed_traverse(PyObject* object, visitproc visit, void* arg) {
  FeedObject* self = as_feed(object);
  Py_VISIT(Py_TYPE(object));
  Py_VISIT(self->core);
  Py_VISIT(self->iterator);
  Py_VISIT(self->input_error);
  return 0;
}

int feed_clear(PyObject* object) {
  FeedObject* self = as_feed(object);
  Py_CLEAR(self->iterator);
  Py_CLEAR(self->input_error);
  return 0;
}

void feed_dealloc(PyObject* object) {
  FeedObject* self = as_feed(object);
  PyTypeObject* type = Py_TYPE(object);
  PyObject_GC_UnTrack(object);
  // A feeder that never ran to its end (its thread could not be started): the job must not wait for it.
  if (self->job && !self->done) (void)engine_of(self->core).close_input(self->job);
  std::destroy_at(&self->job);
  feed_clear(object);
  Py_CLEAR(self->core);
  type->tp_free(object);
  Py_DECREF(type);
}

PyMethodDef feed_methods[] = {
    {"run", feed_run, METH_NOARGS, "run()\n--\n\nReads the input as the window allows, until it or the pool is over."},
    {nullptr, nullptr, 0, nullptr},
};
PyType_Slot feed_slots[] = {
    {Py_tp_dealloc, reinterpret_cast<void*>(feed_dealloc)},
    {Py_tp_traverse, reinterpret_cast<void*>(feed_traverse)},
    {Py_tp_clear, reinterpret_cast<void*>(feed_clear)},
    {Py_tp_methods, feed_methods},
    {0, nullptr},
};
PyType_Spec feed_spec = {"holdfast._core.Feed", sizeof(FeedObject), 0,
                         Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION, feed_slots};

// --- IteratorBase -------------------------------------------------------------------------------------------------------------

/// The reader's place: one thread at a time, from begin() to end(). A signal handler that runs inside its own thread's next() may read,
/// too: waiting for that next() to end would be for ever.
class Reading {
 public:
  explicit Reading(IteratorObject* self) : self_(self), nested_(self->reader == PyThread_get_thread_ident()) {}
  Reading(const Reading&) = delete;
  Reading& operator=(const Reading&) = delete;

  /// Waits while another thread reads. timed_out: no time left; error: a Python error is set (a signal handler's).
  WaitEnd begin(const Deadline& deadline) const {
    if (nested_) return WaitEnd::ready;
    Gate& gate = as_core(self_->core)->gate;
    while (self_->reader != 0) {
      const Nanos slice = std::min(deadline.left(), Nanos(std::chrono::milliseconds(20)));
      Py_BEGIN_ALLOW_THREADS {
        std::unique_lock<std::mutex> lock(gate.mutex);
        gate.opened.wait_for(lock, slice);
      }
      Py_END_ALLOW_THREADS if (PyErr_CheckSignals() != 0) return WaitEnd::error;
      if (self_->reader != 0 && deadline.limited() && deadline.left() == Nanos{0}) return WaitEnd::timed_out;
    }
    self_->reader = PyThread_get_thread_ident();
    return WaitEnd::ready;
  }
  bool nested() const { return nested_; }
  void end() const {
    if (nested_) return;
    self_->reader = 0;
    as_core(self_->core)->gate.opened.notify_all();
  }

 private:
  IteratorObject* self_;
  bool nested_;
};

/// The job has no further item: what the input raised, an early end of the pool, a fork, or the plain end. Always nullptr.
PyObject* end_of_items(IteratorObject* self) {
  FeedObject* feed = as_feed(self->feed);
  if (!self->over && (!feed->done || engine_of(self->core).in_forked_child())) {
    AsyncExceptions async;
    PyObject* error = ended_error(as_core(self->core), async);
    if (async.raise()) {  // a signal handler's comes first; the end is told by the next call
      Py_DECREF(error);
      return nullptr;
    }
    self->over = true;
    restore_exception(error);
    return nullptr;
  }
  self->over = true;
  Py_CLEAR(self->pool);
  if (PyObject* error = std::exchange(feed->input_error, nullptr); error != nullptr) {
    restore_exception(error);
    return nullptr;
  }
  PyErr_SetNone(PyExc_StopIteration);
  return nullptr;
}

/// An outcome to the caller. A StopIteration out of a task would end the consumer's loop in silence.
PyObject* give_outcome(PyObject* value, bool success) {
  if (success) return value;
  if (PyObject_TypeCheck(value, reinterpret_cast<PyTypeObject*>(PyExc_StopIteration))) {
    PyObject* error = PyObject_CallFunction(PyExc_RuntimeError, "s", "a task raised StopIteration");
    if (error == nullptr) {
      Py_DECREF(value);
      return nullptr;
    }
    PyException_SetCause(error, value);  // steals
    value = error;
  }
  restore_exception(value);
  return nullptr;
}

/// Puts an outcome (stolen) back, for the next call. False = no memory: the error is set.
bool keep(IteratorObject* self, PyObject* value, bool success) {
  PyObject* pair = Py_BuildValue("(NO)", value, success ? Py_True : Py_False);
  if (pair != nullptr && self->kept == nullptr) self->kept = PyList_New(0);
  const bool done = pair != nullptr && self->kept != nullptr && PyList_Append(self->kept, pair) == 0;
  Py_XDECREF(pair);
  return done;
}

/// The first outcome that was put back.
PyObject* give_kept(IteratorObject* self) {
  PyObject* pair = Py_NewRef(PyList_GET_ITEM(self->kept, 0));
  PyObject* value = Py_NewRef(PyTuple_GET_ITEM(pair, 0));
  const bool success = PyTuple_GET_ITEM(pair, 1) == Py_True;
  Py_DECREF(pair);
  if (PyList_GET_SIZE(self->kept) == 1)
    Py_CLEAR(self->kept);
  else if (PyList_SetSlice(self->kept, 0, 1, nullptr) != 0)
    Py_CLEAR(value);
  return value == nullptr ? nullptr : give_outcome(value, success);
}

/// Value or exception of one item to the caller; kept for the next call where a signal handler has raised meanwhile.
PyObject* give_item(IteratorObject* self, const pool::Settled& settled) {
  const TaskInfo info{self->function, self->skip_value, /*is_map=*/true, &self->policies};
  AsyncExceptions async;
  bool success = false;
  PyObject* value = outcome_object(as_core(self->core), info, settled, success, async);
  if (!async.any()) return give_outcome(value, success);
  if (!keep(self, value, success)) return nullptr;
  (void)async.raise();
  return nullptr;
}

void open_piece(IteratorObject* self, std::size_t at) {
  self->batch_at = at;
  if (at < self->batch.size() && self->batch[at].is_run()) self->records = ring::pack::Reader(self->batch[at].run());
}

/// What was read begins a new batch; the last one has been given. Others behind it may be there: they are taken along, at the price of one.
void take_batch(IteratorObject* self, pool::Settled&& settled) {
  self->batch.clear();
  self->batch.push_back(std::move(settled));  // there is room for one
  engine_of(self->core).take_more(self->job, self->next, self->batch);
  for (std::size_t i = 1; i < self->batch.size(); ++i) self->next += self->batch[i].count;
  open_piece(self, 0);
}

/// The batch's next item. What decoding one runs may read this iterator, too, and free the batch with all its runs: so a record is copied out of
/// its run first, unless it is one whose decoding runs nothing.
PyObject* give_next_of_batch(IteratorObject* self) {
  pool::Settled& piece = self->batch[self->batch_at];
  if (!piece.is_run()) {
    const pool::Settled settled = std::move(piece);
    open_piece(self, self->batch_at + 1);
    return give_item(self, settled);
  }
  ByteSpan record;
  (void)self->records.next(record);  // there are `count` of them
  PyObject* value = is_scalar(record) ? decode(record) : nullptr;
  pool::Settled settled;
  if (value == nullptr) {
    PyErr_Clear();  // a scalar: no memory, or nonsense. Once more, for the error that says so
    settled.item = piece.item;
    settled.payload = pool::Payload::copy(record);
    settled.kind = settled.payload.is_lost() ? OutcomeKind::raised : OutcomeKind::done;
  }
  ++piece.item;
  if (--piece.count == 0) open_piece(self, self->batch_at + 1);
  return value != nullptr ? value : give_item(self, settled);
}

/// Something that was read earlier and has not been given.
bool has_rest(IteratorObject* self) {
  return self->kept != nullptr || (self->batch_at < self->batch.size() && !engine_of(self->core).in_forked_child());
}
PyObject* give_rest(IteratorObject* self) { return self->kept != nullptr ? give_kept(self) : give_next_of_batch(self); }

PyObject* step(IteratorObject* self, const Deadline& deadline) {
  if (has_rest(self)) return give_rest(self);
  if (self->over) return end_of_items(self);
  pool::Settled settled;
  std::optional<pool::Settled> single;
  const Reading reading(self);
  WaitEnd end = reading.begin(deadline);
  if (end == WaitEnd::ready && has_rest(self)) {  // the reader that was waited for has taken some along
    reading.end();
    return give_rest(self);
  }
  if (end == WaitEnd::ready) {
    pool::Engine& engine = engine_of(self->core);
    // A reader inside another one's wait (a signal handler's next()) takes one item: the other would not see what it takes along.
    const pool::Take what = reading.nested() ? pool::Take::item : pool::Take::run;
    const auto read = [&](Nanos slice) {
      return self->unordered ? engine.wait_any(self->job, slice, settled, what)
                             : engine.wait_item(self->job, self->next, slice, settled, what);
    };
    end = ready_at_once(read) ? WaitEnd::ready : wait_loop(engine, deadline, Interrupt::workers_on(self->job), read);
    if (end == WaitEnd::ready) {
      self->next += settled.count;
      if (reading.nested())
        single = std::move(settled);
      else
        take_batch(self, std::move(settled));
    }
    reading.end();
  }
  switch (end) {
    case WaitEnd::ready: return single ? give_item(self, *single) : give_next_of_batch(self);
    case WaitEnd::ended: return end_of_items(self);
    case WaitEnd::error: return nullptr;
    case WaitEnd::timed_out: break;
  }
  if (PyObject* type = error_class("MultiprocessingTimeoutError"); type != nullptr) PyErr_SetNone(type);
  return nullptr;
}

PyObject* iterator_iternext(PyObject* object) { return step(as_iterator(object), Deadline()); }

PyObject* iterator_next(PyObject* object, PyObject* args, PyObject* kwargs) {
  static const char* names[] = {"timeout", nullptr};
  PyObject* timeout = Py_None;
  Deadline deadline;
  if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O:next", const_cast<char**>(names), &timeout) || !deadline_from(timeout, deadline))
    return nullptr;
  return step(as_iterator(object), deadline);
}

PyObject* iterator_feed(PyObject* object, void*) {
  PyObject* feed = as_iterator(object)->feed;
  return Py_NewRef(feed == nullptr ? Py_None : feed);
}

int iterator_traverse(PyObject* object, visitproc visit, void* arg) {
  IteratorObject* self = as_iterator(object);
  Py_VISIT(Py_TYPE(object));
  Py_VISIT(self->core);
  Py_VISIT(self->pool);
  Py_VISIT(self->function);
  Py_VISIT(self->skip_value);
  Py_VISIT(self->feed);
  Py_VISIT(self->kept);
  return 0;
}

int iterator_clear(PyObject* object) {
  IteratorObject* self = as_iterator(object);
  Py_CLEAR(self->pool);
  Py_CLEAR(self->function);
  Py_CLEAR(self->skip_value);
  Py_CLEAR(self->kept);
  return 0;
}

void iterator_dealloc(PyObject* object) {
  IteratorObject* self = as_iterator(object);
  PyTypeObject* type = Py_TYPE(object);
  PyObject_GC_UnTrack(object);
  if (self->job) engine_of(self->core).forget(self->job);
  std::destroy_at(&self->job);
  std::destroy_at(&self->batch);
  iterator_clear(object);
  Py_CLEAR(self->feed);
  Py_CLEAR(self->core);
  type->tp_free(object);
  Py_DECREF(type);
}

PyMethodDef iterator_methods[] = {
    {"next", method(iterator_next), METH_VARARGS | METH_KEYWORDS,
     "next(timeout=None)\n--\n\nThe next result; multiprocessing.TimeoutError when it is not there after *timeout* seconds."},
    {nullptr, nullptr, 0, nullptr},
};
PyGetSetDef iterator_getset[] = {
    {"_feed", iterator_feed, nullptr, "The input side; its run() is for the feeder thread.", nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};
PyType_Slot iterator_slots[] = {
    {Py_tp_new, reinterpret_cast<void*>(refuse_new)},
    {Py_tp_dealloc, reinterpret_cast<void*>(iterator_dealloc)},
    {Py_tp_traverse, reinterpret_cast<void*>(iterator_traverse)},
    {Py_tp_clear, reinterpret_cast<void*>(iterator_clear)},
    {Py_tp_iter, reinterpret_cast<void*>(PyObject_SelfIter)},
    {Py_tp_iternext, reinterpret_cast<void*>(iterator_iternext)},
    {Py_tp_methods, iterator_methods},
    {Py_tp_getset, iterator_getset},
    {0, nullptr},
};
PyType_Spec iterator_spec = {"holdfast._core.IteratorBase", sizeof(IteratorObject), 0,
                             Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE, iterator_slots};

}  // namespace

PyObject* new_feed(CoreObject* core, PyObject* iterator, std::uint64_t chunk_size) {
  FeedObject* self = allocate<FeedObject>(feed_type);
  if (self == nullptr) return nullptr;
  new (&self->job) pool::JobRef();
  self->core = Py_NewRef(reinterpret_cast<PyObject*>(core));
  self->iterator = Py_NewRef(iterator);
  self->chunk_size = chunk_size;
  return reinterpret_cast<PyObject*>(self);
}

PyObject* new_iterator(PyObject* type, CoreObject* core, PyObject* pool, PyObject* function, const PolicyObject* policy, bool unordered) {
  IteratorObject* self = allocate<IteratorObject>(reinterpret_cast<PyTypeObject*>(type));
  if (self == nullptr) return nullptr;
  new (&self->job) pool::JobRef();
  new (&self->batch) std::vector<pool::Settled>();
  new (&self->records) ring::pack::Reader();
  self->core = Py_NewRef(reinterpret_cast<PyObject*>(core));
  self->pool = Py_NewRef(pool);
  self->function = Py_NewRef(function);
  self->skip_value = Py_NewRef(policy->skip_value);
  self->policies = policy->policies;
  self->unordered = unordered;
  if (!make_room(self->batch)) {
    Py_DECREF(self);
    return PyErr_NoMemory();
  }
  return reinterpret_cast<PyObject*>(self);
}

bool add_iterators(PyObject* module) {
  feed_type = reinterpret_cast<PyTypeObject*>(PyType_FromSpec(&feed_spec));
  iterator_base_type = reinterpret_cast<PyTypeObject*>(PyType_FromSpec(&iterator_spec));
  return feed_type != nullptr && iterator_base_type != nullptr &&
         PyModule_AddObjectRef(module, "Feed", reinterpret_cast<PyObject*>(feed_type)) == 0 &&
         PyModule_AddObjectRef(module, "IteratorBase", reinterpret_cast<PyObject*>(iterator_base_type)) == 0;
}

}  // namespace holdfast::python
