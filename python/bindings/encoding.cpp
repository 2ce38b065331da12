// What: objects into a job's ItemBatch, and functions into interned ones (objects.hpp). With the GIL, never while the engine's mutex is held.
#include <new>
#include <vector>

#include "async_exceptions.hpp"
#include "errors.hpp"
#include "objects.hpp"

namespace holdfast::python {
namespace {

constexpr std::size_t kCachedFunctions = 256;

/// Replaces the error now set by an object that raises that error where it is unpickled. nullptr = the error stays (or a worse one is) set:
/// Ctrl-C, lack of memory and what a signal handler raised belong to the caller, not to a task.
PyObject* poison_from_error() {
  if (!PyErr_ExceptionMatches(PyExc_Exception) || PyErr_ExceptionMatches(PyExc_MemoryError) || handler_has_raised()) return nullptr;
  PyObject* error = take_exception();
  PyObject* module = PyImport_ImportModule("holdfast._codec");
  PyObject* poison = module == nullptr ? nullptr : PyObject_CallMethod(module, "poison", "O", error);
  Py_XDECREF(module);
  Py_DECREF(error);
  return poison;
}

/// encode(), or the encoded poison in its place.
bool encode_or_poison(Encoder& encoder, PyObject* object) {
  if (encoder.encode(object)) return true;
  encoder.clear();
  PyObject* poison = poison_from_error();
  if (poison == nullptr) return false;
  const bool encoded = encoder.encode(poison);
  Py_DECREF(poison);
  return encoded;
}

bool add_large_item(CoreObject* core, const Encoder& encoder, pool::ItemBatch& batch) {
  if (encoder.size() <= pool::ItemBatch::kStagedLimit) {
    std::byte* room = nullptr;
    try {
      room = batch.add_room(encoder.size());
    } catch (const std::bad_alloc&) {
      PyErr_NoMemory();
      return false;
    }
    encoder.write_to(room);
    return true;
  }
  Result<std::shared_ptr<ring::SharedBuffer>> buffer = core->buffers->get(encoder.size());
  if (!buffer) return set_error(buffer.error()) != nullptr;
  encoder.write_to((*buffer)->data());
  if (Status sealed = (*buffer)->seal_future_write(); !sealed) return set_error(sealed.error()) != nullptr;
  batch.add_large(*std::move(buffer), encoder.size());
  return true;
}

/// Functions and classes that pickle as "module.name": their bytes never change, so the object's identity is a good key.
bool pickles_by_reference(PyObject* function) {
  if (PyFunction_Check(function) || Py_TYPE(function) == &PyType_Type) return true;
  if (!PyCFunction_CheckExact(function)) return false;
  PyObject* self = PyCFunction_GET_SELF(function);
  return self == nullptr || PyModule_Check(self);
}

void remember(CoreObject* core, PyObject* function, const pool::FunctionRef& interned) {
  if (core->functions.size() >= kCachedFunctions) {
    std::unordered_map<PyObject*, CachedFunction> old;
    old.swap(core->functions);
    for (auto& entry : old) Py_DECREF(entry.second.object);
  }
  core->functions.emplace(function, CachedFunction{interned, Py_NewRef(function)});
}

}  // namespace

// The catches for lack of memory are harmless here: there is no Python code and no wait in their frames.
bool add_item(CoreObject* core, Encoder& encoder, PyObject* object, pool::ItemBatch& batch) {
  try {
    if (const std::size_t size = encode_compact(object, batch.spare()); size != 0) {
      batch.keep(size);
      return true;
    }
  } catch (const std::bad_alloc&) {
    PyErr_NoMemory();
    return false;
  }
  if (!encode_or_poison(encoder, object)) {
    encoder.clear();
    return false;
  }
  if (!encoder.is_large()) {
    try {
      batch.add(encoder.inline_bytes());
      return true;
    } catch (const std::bad_alloc&) {
      PyErr_NoMemory();
      return false;
    }
  }
  const bool added = add_large_item(core, encoder, batch);
  encoder.clear();
  return added;
}

pool::FunctionRef intern(CoreObject* core, PyObject* function) {
  if (const auto known = core->functions.find(function); known != core->functions.end()) return known->second.function;
  Encoder encoder(core->main_by_value);
  if (!encode_or_poison(encoder, function)) {
    encoder.clear();
    return {};
  }
  std::vector<std::byte> large;
  ByteSpan bytes;
  if (encoder.is_large()) {
    large.resize(encoder.size());
    encoder.write_to(large.data());
    bytes = large;
  } else {
    bytes = encoder.inline_bytes();
  }
  Result<pool::FunctionRef> interned = core->engine->intern_function(bytes);
  encoder.clear();
  if (!interned) {
    set_error(interned.error());
    return {};
  }
  if (!encoder.by_value() && pickles_by_reference(function)) remember(core, function, *interned);
  return *std::move(interned);
}

}  // namespace holdfast::python
