// What: the codec as plain functions: encode(object, main_by_value=False) -> bytes, decode(bytes) -> object, for the tests and for what
// the zygote is given at opening (initializer and initargs).
#include <vector>

#include "async_exceptions.hpp"
#include "bindings.hpp"
#include "codec.hpp"
#include "errors.hpp"
#include "types.hpp"

namespace holdfast::python {
namespace {

PyObject* encode_function(PyObject*, PyObject* const* arguments, Py_ssize_t count) {
  if (count < 1 || count > 2) {
    PyErr_SetString(PyExc_TypeError, "encode(object, main_by_value=False)");
    return nullptr;
  }
  const int main_by_value = count == 2 ? PyObject_IsTrue(arguments[1]) : 0;
  if (main_by_value < 0) return nullptr;
  Encoder encoder(main_by_value == 1);
  PyObject* bytes = nullptr;
  if (encoder.encode(arguments[0])) {
    if (!encoder.is_large()) {
      bytes =
          PyBytes_FromStringAndSize(reinterpret_cast<const char*>(encoder.inline_bytes().data()), static_cast<Py_ssize_t>(encoder.size()));
    } else if ((bytes = PyBytes_FromStringAndSize(nullptr, static_cast<Py_ssize_t>(encoder.size()))) != nullptr) {
      encoder.write_to(reinterpret_cast<std::byte*>(PyBytes_AS_STRING(bytes)));
    }
  }
  encoder.clear();
  return bytes;
}

template <class Decoder>
PyObject* decode_with(PyObject* bytes, const Decoder& decoder) {
  Py_buffer view;
  if (PyObject_GetBuffer(bytes, &view, PyBUF_SIMPLE) != 0) return nullptr;
  PyObject* value = decoder(ByteSpan(static_cast<const std::byte*>(view.buf), static_cast<std::size_t>(view.len)));
  PyBuffer_Release(&view);
  return value;
}

PyObject* decode_function(PyObject*, PyObject* bytes) {
  return decode_with(bytes, [](ByteSpan span) { return decode(span); });
}
PyObject* decode_guarded_function(PyObject*, PyObject* bytes) {
  AsyncExceptions async;
  PyObject* value = decode_with(bytes, [&](ByteSpan span) { return decode_guarded(span, async); });
  if (!async.raise()) return value;
  Py_XDECREF(value);
  return nullptr;
}

PyMethodDef methods[] = {
    {"encode", method(encode_function), METH_FASTCALL,
     "encode(object, main_by_value=False, /)\n--\n\nThe payload bytes of one object, as they travel to a worker."},
    {"decode", decode_function, METH_O, "decode(payload, /)\n--\n\nThe object of one payload. Runs what its pickle says."},
    {"decode_guarded", decode_guarded_function, METH_O,
     "decode_guarded(payload, /)\n--\n\nLike decode; SystemExit and the like come out wrapped in ResultDecodeError."},
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace

bool add_codec(PyObject* module) { return PyModule_AddFunctions(module, methods) == 0; }

}  // namespace holdfast::python
