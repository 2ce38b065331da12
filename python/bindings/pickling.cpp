// What: see pickling.hpp. The C pickler writes into a PickleSink: `write` keeps bytes objects as they are (a frame of 64 KiB is not
// copied again), `take_buffer` keeps PickleBuffers. A ForkingPickler and its sink are made once and reused (its __init__ is Python code).
#include "pickling.hpp"

#include <array>
#include <cstdint>
#include <cstring>
#include <new>
#include <vector>

#include "async_exceptions.hpp"
#include "errors.hpp"

namespace holdfast::python {
namespace {

struct PickleSink {
  PyObject_HEAD std::vector<PyObject*>* chunks;  // exact bytes objects
  std::vector<Py_buffer>* buffers;               // our own exports: the memory cannot be released or resized under us
  std::size_t pickle_size;
  PyObject* pickler;  // owned while the pair is out of the cache and may be reused
};

PickleSink* as_sink(PyObject* object) { return reinterpret_cast<PickleSink*>(object); }

void drop_pieces(PickleSink* sink) {
  // Move the lists out first: a decref may run code that comes back here.
  std::vector<PyObject*> chunks;
  std::vector<Py_buffer> buffers;
  chunks.swap(*sink->chunks);
  buffers.swap(*sink->buffers);
  sink->pickle_size = 0;
  for (PyObject* piece : chunks) Py_DECREF(piece);
  for (Py_buffer& view : buffers) PyBuffer_Release(&view);
  chunks.clear();
  if (sink->chunks->capacity() == 0) sink->chunks->swap(chunks);  // keeps the room for the next object
}

PyObject* sink_write_method(PyObject* self, PyObject* data) {
  PickleSink* sink = as_sink(self);
  PyObject* piece = nullptr;
  if (PyBytes_CheckExact(data)) {
    piece = Py_NewRef(data);
  } else {
    // A memoryview on memory that the pickler may free after this call: take a copy.
    piece = PyBytes_FromObject(data);
    if (piece == nullptr) return nullptr;
  }
  const Py_ssize_t size = PyBytes_GET_SIZE(piece);
  sink->chunks->push_back(piece);
  sink->pickle_size += static_cast<std::size_t>(size);
  return PyLong_FromSsize_t(size);
}

/// pickle's buffer_callback: a false answer means "out of band", a true one "put it into the pickle".
PyObject* sink_take_buffer(PyObject* self, PyObject* buffer) {
  if (!PyPickleBuffer_Check(buffer)) {
    PyErr_SetString(PyExc_TypeError, "buffer_callback expects a PickleBuffer");
    return nullptr;
  }
  const Py_buffer* view = PyPickleBuffer_GetBuffer(buffer);
  if (view == nullptr) return nullptr;
  if (view->len < kOutOfBandLimit || !PyBuffer_IsContiguous(view, 'A')) Py_RETURN_TRUE;
  Py_buffer own;
  if (PyObject_GetBuffer(buffer, &own, PyBUF_FULL_RO) != 0) return nullptr;
  as_sink(self)->buffers->push_back(own);
  Py_RETURN_FALSE;
}

void sink_dealloc(PyObject* self) {
  PickleSink* sink = as_sink(self);
  PyTypeObject* type = Py_TYPE(self);
  PyObject_GC_UnTrack(self);
  if (sink->chunks != nullptr && sink->buffers != nullptr) drop_pieces(sink);
  Py_CLEAR(sink->pickler);
  delete sink->chunks;
  delete sink->buffers;
  type->tp_free(self);
  Py_DECREF(type);
}

int sink_traverse(PyObject* self, visitproc visit, void* arg) {
  PickleSink* sink = as_sink(self);
  Py_VISIT(Py_TYPE(self));
  Py_VISIT(sink->pickler);
  if (sink->buffers != nullptr) {
    for (const Py_buffer& view : *sink->buffers) Py_VISIT(view.obj);
  }
  return 0;
}

int sink_clear(PyObject* self) {
  Py_CLEAR(as_sink(self)->pickler);
  return 0;
}

PyMethodDef sink_methods[] = {
    {"write", sink_write_method, METH_O, nullptr},
    {"take_buffer", sink_take_buffer, METH_O, nullptr},
    {nullptr, nullptr, 0, nullptr},
};
PyType_Slot sink_slots[] = {
    {Py_tp_dealloc, reinterpret_cast<void*>(sink_dealloc)},
    {Py_tp_traverse, reinterpret_cast<void*>(sink_traverse)},
    {Py_tp_clear, reinterpret_cast<void*>(sink_clear)},
    {Py_tp_methods, sink_methods},
    {0, nullptr},
};
PyType_Spec sink_spec = {"holdfast._core.PickleSink", sizeof(PickleSink), 0,
                         Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION, sink_slots};

/// What is looked up once per process. Leaked on purpose: it is used until the very end of the interpreter.
struct Imports {
  PyTypeObject* sink_type = nullptr;
  PyObject* forking_pickler = nullptr;  // class
  PyObject* loads = nullptr;
  PyObject* pickling_error = nullptr;
  PyObject* dump_name = nullptr;
  PyObject* clear_memo_name = nullptr;
  PyObject* protocol = nullptr;
  PyObject* buffers_names = nullptr;  // ("buffers",) for the vectorcall of loads
};

PyObject* import_name(const char* module_name, const char* name) {
  PyObject* module = PyImport_ImportModule(module_name);
  if (module == nullptr) return nullptr;
  PyObject* value = PyObject_GetAttrString(module, name);
  Py_DECREF(module);
  return value;
}

Imports* imports() {
  static Imports loaded;
  if (loaded.buffers_names != nullptr) return &loaded;
  if (loaded.sink_type == nullptr) loaded.sink_type = reinterpret_cast<PyTypeObject*>(PyType_FromSpec(&sink_spec));
  if (loaded.sink_type == nullptr) return nullptr;
  PyObject* forking_pickler = import_name("multiprocessing.reduction", "ForkingPickler");
  PyObject* loads = import_name("pickle", "loads");
  PyObject* pickling_error = import_name("pickle", "PicklingError");
  PyObject* names = Py_BuildValue("(s)", "buffers");
  if (forking_pickler == nullptr || loads == nullptr || pickling_error == nullptr || names == nullptr) {
    Py_XDECREF(forking_pickler);
    Py_XDECREF(loads);
    Py_XDECREF(pickling_error);
    Py_XDECREF(names);
    return nullptr;
  }
  // The imports above may have let another thread through here: whoever is last wins, the loser's references leak (once).
  loaded.forking_pickler = forking_pickler;
  loaded.loads = loads;
  loaded.pickling_error = pickling_error;
  loaded.dump_name = PyUnicode_InternFromString("dump");
  loaded.clear_memo_name = PyUnicode_InternFromString("clear_memo");
  loaded.protocol = PyLong_FromLong(5);
  loaded.buffers_names = names;
  return &loaded;
}

constexpr std::size_t kCachedSinks = 4;  // nested pickling (an object's __reduce__ that uses a pool) takes more than one
std::array<PyObject*, kCachedSinks> cached_sinks{};
std::size_t cached_sink_count = 0;

PyObject* new_sink(const Imports* known) {
  PyObject* self = known->sink_type->tp_alloc(known->sink_type, 0);
  if (self == nullptr) return nullptr;
  as_sink(self)->chunks = new (std::nothrow) std::vector<PyObject*>();
  as_sink(self)->buffers = new (std::nothrow) std::vector<Py_buffer>();
  if (as_sink(self)->chunks == nullptr || as_sink(self)->buffers == nullptr) {
    Py_DECREF(self);
    PyErr_NoMemory();
    return nullptr;
  }
  return self;
}

/// A pickler of class `maker` that writes into `sink`: maker(sink, 5, True, sink.take_buffer).
PyObject* new_pickler(const Imports* known, PyObject* maker, PyObject* sink) {
  PyObject* callback = PyObject_GetAttrString(sink, "take_buffer");
  if (callback == nullptr) return nullptr;
  PyObject* arguments[] = {sink, known->protocol, Py_True, callback};
  PyObject* pickler = PyObject_Vectorcall(maker, arguments, 4, nullptr);
  Py_DECREF(callback);
  return pickler;
}

PyObject* sink_with_forking_pickler(const Imports* known) {
  if (cached_sink_count > 0) return cached_sinks[--cached_sink_count];
  PyObject* sink = new_sink(known);
  if (sink == nullptr) return nullptr;
  PyObject* pickler = new_pickler(known, known->forking_pickler, sink);
  if (pickler == nullptr) {
    Py_DECREF(sink);
    return nullptr;
  }
  as_sink(sink)->pickler = pickler;
  return sink;
}

/// The pickle names __main__ somewhere: needed only when the workers cannot import it. A string that happens to contain it
/// costs one more pickling and nothing else.
bool mentions_main(const PickleSink* sink) {
  static constexpr char kName[] = "__main__";
  for (PyObject* chunk : *sink->chunks) {
    if (memmem(PyBytes_AS_STRING(chunk), static_cast<std::size_t>(PyBytes_GET_SIZE(chunk)), kName, sizeof kName - 1) != nullptr)
      return true;
  }
  return false;
}

/// Pickles with the ForkingPickler; a new reference to the filled sink, or nullptr with pickle's error.
PyObject* pickle_standard(const Imports* known, PyObject* object) {
  PyObject* sink = sink_with_forking_pickler(known);
  if (sink == nullptr) return nullptr;
  PyObject* pickler = as_sink(sink)->pickler;
  PyObject* arguments[] = {pickler, object};
  PyObject* done = PyObject_VectorcallMethod(known->dump_name, arguments, 2, nullptr);
  if (done != nullptr) {
    Py_DECREF(done);
    PyObject* cleared = PyObject_VectorcallMethod(known->clear_memo_name, arguments, 1, nullptr);
    if (cleared != nullptr) {
      Py_DECREF(cleared);
      return sink;
    }
  }
  // A pickler that failed half-way is not reused; breaking the pair's cycle (pickler -> sink.take_buffer -> sink) frees it.
  PyObject* error = take_exception();
  Py_CLEAR(as_sink(sink)->pickler);
  Py_DECREF(sink);
  restore_exception(error);
  return nullptr;
}

PyObject* pickle_by_value(const Imports* known, PyObject* object) {
  PyObject* maker = import_name("holdfast._codec", "CloudForkingPickler");
  if (maker == nullptr) return nullptr;
  PyObject* sink = new_sink(known);
  PyObject* pickler = sink == nullptr ? nullptr : new_pickler(known, maker, sink);
  Py_DECREF(maker);
  PyObject* done = nullptr;
  if (pickler != nullptr) {
    PyObject* arguments[] = {pickler, object};
    done = PyObject_VectorcallMethod(known->dump_name, arguments, 2, nullptr);
  }
  PyObject* error = done == nullptr ? take_exception() : nullptr;
  Py_XDECREF(pickler);
  if (done == nullptr) {
    Py_XDECREF(sink);
    restore_exception(error);
    return nullptr;
  }
  Py_DECREF(done);
  return sink;
}

/// Refusals that cloudpickle may cure. A RuntimeError ("should only be shared between processes through inheritance") is not one.
bool is_refusal(const Imports* known, PyObject* error) {
  return PyErr_GivenExceptionMatches(error, known->pickling_error) != 0 || PyErr_GivenExceptionMatches(error, PyExc_AttributeError) != 0 ||
         PyErr_GivenExceptionMatches(error, PyExc_TypeError) != 0;
}

/// The exception now set came from outside, in the middle of the pickling (Ctrl-C, a signal handler): it says nothing about the object, and comes
/// before whatever else is to be tried.
bool is_callers() { return !PyErr_ExceptionMatches(PyExc_Exception) || handler_has_raised(); }

std::size_t align_up(std::size_t value) { return (value + kBufferAlignment - 1) & ~(kBufferAlignment - 1); }

constexpr std::size_t kHeader = 16;
constexpr std::size_t kPerBuffer = 16;

std::uint64_t load_u64(const std::byte* from) {
  std::uint64_t value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

void write_chunks(const PickleSink* sink, std::byte* at) {
  for (PyObject* chunk : *sink->chunks) {
    const auto size = static_cast<std::size_t>(PyBytes_GET_SIZE(chunk));
    std::memcpy(at, PyBytes_AS_STRING(chunk), size);
    at += size;
  }
}

PyObject* malformed(const char* what) {
  PyErr_Format(PyExc_ValueError, "malformed payload: %s", what);
  return nullptr;
}

/// One out-of-band buffer as an object: a view of where it lies, if it is large and may be; else a copy.
PyObject* buffer_object(ByteSpan bytes, bool read_only, const BufferOwner& owner) {
  if (owner.memory != nullptr && bytes.size() >= kViewFrom) return view_of_segment(owner, bytes, read_only);
  if (bytes.size() >= kHugeFrom) return view_of_private_copy(bytes, read_only);
  const char* from = reinterpret_cast<const char*>(bytes.data());
  const auto size = static_cast<Py_ssize_t>(bytes.size());
  return read_only ? PyBytes_FromStringAndSize(from, size) : PyByteArray_FromStringAndSize(from, size);
}

/// The out-of-band buffers as a new list; checks every size against the payload.
PyObject* take_buffers(ByteSpan payload, std::size_t count, std::size_t at, const BufferOwner& owner) {
  PyObject* list = PyList_New(static_cast<Py_ssize_t>(count));
  if (list == nullptr) return nullptr;
  for (std::size_t i = 0; i < count; ++i) {
    const std::byte* entry = payload.data() + kHeader + i * kPerBuffer;
    const std::uint64_t size = load_u64(entry);
    at = align_up(at);
    if (at > payload.size() || size > payload.size() - at) {
      Py_DECREF(list);
      return malformed("a buffer reaches beyond the end");
    }
    PyObject* buffer = buffer_object(payload.subspan(at, size), load_u64(entry + 8) == 1, owner);
    if (buffer == nullptr) {
      Py_DECREF(list);
      return nullptr;
    }
    PyList_SET_ITEM(list, static_cast<Py_ssize_t>(i), buffer);
    at += size;
  }
  return list;
}

PyObject* memory_view(ByteSpan bytes) {
  // PyMemoryView_FromMemory takes a char* also for PyBUF_READ.
  return PyMemoryView_FromMemory(const_cast<char*>(reinterpret_cast<const char*>(bytes.data())), static_cast<Py_ssize_t>(bytes.size()),
                                 PyBUF_READ);
}

}  // namespace

Pickled pickle_object(PyObject* object, bool main_by_value, bool by_value_allowed) {
  const Imports* known = imports();
  if (known == nullptr) return {};
  PyObject* sink = pickle_standard(known, object);
  if (sink != nullptr && !(main_by_value && mentions_main(as_sink(sink)))) return {sink, false};
  if (sink != nullptr) {
    PyObject* second = pickle_by_value(known, object);
    if (second != nullptr) {
      sink_release(sink);
      return {second, true};
    }
    if (is_callers()) {
      PyObject* error = take_exception();
      sink_release(sink);
      restore_exception(error);
      return {};
    }
    PyErr_Clear();  // cloudpickle cannot: let it go by reference, the worker will say what it cannot find
    return {sink, false};
  }
  if (is_callers()) return {};
  PyObject* refusal = take_exception();
  if (by_value_allowed && is_refusal(known, refusal)) {
    sink = pickle_by_value(known, object);
    if (sink != nullptr) {
      Py_DECREF(refusal);
      return {sink, true};
    }
    if (is_callers()) {
      Py_DECREF(refusal);
      return {};
    }
    PyErr_Clear();
  }
  restore_exception(refusal);  // what pickle said is what people know and search for
  return {};
}

std::size_t sink_pickle_size(PyObject* sink) { return as_sink(sink)->pickle_size; }
std::size_t sink_buffer_count(PyObject* sink) { return as_sink(sink)->buffers->size(); }

std::size_t sink_payload_size(PyObject* self) {
  const PickleSink* sink = as_sink(self);
  if (sink->buffers->empty()) return 1 + sink->pickle_size;
  std::size_t at = kHeader + kPerBuffer * sink->buffers->size() + sink->pickle_size;
  for (const Py_buffer& view : *sink->buffers) at = align_up(at) + static_cast<std::size_t>(view.len);
  return at;
}

void sink_write(PyObject* self, std::byte* destination) {
  const PickleSink* sink = as_sink(self);
  if (sink->buffers->empty()) {
    write_chunks(sink, destination + 1);
    return;
  }
  const auto count = static_cast<std::uint32_t>(sink->buffers->size());
  const std::uint64_t pickle_size = sink->pickle_size;
  std::memset(destination, 0, kHeader);
  std::memcpy(destination + 4, &count, sizeof count);
  std::memcpy(destination + 8, &pickle_size, sizeof pickle_size);
  std::size_t at = kHeader + kPerBuffer * count;
  write_chunks(sink, destination + at);
  at += sink->pickle_size;
  for (std::size_t i = 0; i < count; ++i) {
    const Py_buffer& view = (*sink->buffers)[i];
    const std::uint64_t entry[2] = {static_cast<std::uint64_t>(view.len), view.readonly != 0 ? 1U : 0U};
    std::memcpy(destination + kHeader + i * kPerBuffer, entry, sizeof entry);
    const std::size_t aligned = align_up(at);
    std::memset(destination + at, 0, aligned - at);
    std::memcpy(destination + aligned, view.buf, static_cast<std::size_t>(view.len));
    at = aligned + static_cast<std::size_t>(view.len);
  }
}

void sink_release(PyObject* self) {
  drop_pieces(as_sink(self));
  if (as_sink(self)->pickler != nullptr && cached_sink_count < kCachedSinks) {
    cached_sinks[cached_sink_count++] = self;
    return;
  }
  Py_CLEAR(as_sink(self)->pickler);
  Py_DECREF(self);
}

PyObject* unpickle_plain(ByteSpan pickle) {
  const Imports* known = imports();
  if (known == nullptr) return nullptr;
  PyObject* view = memory_view(pickle);
  if (view == nullptr) return nullptr;
  PyObject* value = PyObject_CallOneArg(known->loads, view);
  Py_DECREF(view);
  return value;
}

PyObject* unpickle_with_buffers(ByteSpan payload, const BufferOwner& owner) {
  const Imports* known = imports();
  if (known == nullptr) return nullptr;
  if (payload.size() < kHeader) return malformed("cut short");
  std::uint32_t count = 0;
  std::memcpy(&count, payload.data() + 4, sizeof count);
  const std::uint64_t pickle_size = load_u64(payload.data() + 8);
  const std::size_t table = kHeader + kPerBuffer * static_cast<std::size_t>(count);
  if (table > payload.size() || pickle_size > payload.size() - table) return malformed("its pickle reaches beyond the end");
  PyObject* buffers = take_buffers(payload, count, table + pickle_size, owner);
  if (buffers == nullptr) return nullptr;
  PyObject* view = memory_view(payload.subspan(table, pickle_size));
  PyObject* value = nullptr;
  if (view != nullptr) {
    PyObject* arguments[] = {view, buffers};
    value = PyObject_Vectorcall(known->loads, arguments, 1, known->buffers_names);
    Py_DECREF(view);
  }
  Py_DECREF(buffers);
  return value;
}

void forget_cached_picklers() {
  while (cached_sink_count > 0) {
    PyObject* sink = cached_sinks[--cached_sink_count];
    Py_CLEAR(as_sink(sink)->pickler);
    Py_DECREF(sink);
  }
}

}  // namespace holdfast::python
