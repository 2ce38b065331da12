// What: see codec.hpp: the tags, the compact code and the choice between it and pickle (pickling.cpp).
//
// Bodies (little-endian as the machine is: both ends are the same machine):
//   int8: 1 byte | int64, float64: 8 bytes | text8 (Latin-1), text (UTF-8), bytes: u32 length, data | tuple: u8 count, values
//   large_text8, large_bytes: 7 zero bytes, u64 length, data | pickle: the pickle | pickle_buffers: see pickling.hpp
#include "codec.hpp"

#include <cstring>
#include <utility>

#include "async_exceptions.hpp"
#include "errors.hpp"
#include "pickling.hpp"

namespace holdfast::python {
namespace {

enum class Tag : std::uint8_t {
  none = 1,
  false_value,
  true_value,
  int8,
  int64,
  float64,
  text8,
  text,
  bytes,
  tuple,
  large_text8,
  large_bytes,
  pickle,
  pickle_buffers,
  value_pickle,
  value_pickle_buffers,  // the same, by cloudpickle
};

constexpr int kMaxDepth = 4;          // tuples in tuples; deeper ones are pickled
constexpr Py_ssize_t kMaxTuple = 64;  // longer ones are pickled
constexpr std::size_t kLargeHeader = 16;

std::byte* put_tag(std::byte* at, Tag tag) {
  *at = static_cast<std::byte>(tag);
  return at + 1;
}

template <class Value>
std::byte* put_value(std::byte* at, Value value) {
  std::memcpy(at, &value, sizeof value);
  return at + sizeof value;
}

std::byte* put_run(std::byte* at, const std::byte* end, Tag tag, const void* data, Py_ssize_t size) {
  if (end - at < static_cast<std::ptrdiff_t>(size + 5)) return nullptr;
  at = put_value(put_tag(at, tag), static_cast<std::uint32_t>(size));
  std::memcpy(at, data, static_cast<std::size_t>(size));
  return at + size;
}

std::byte* put_int64(std::byte* at, std::int64_t value) {
  if (value >= -128 && value <= 127) return put_value(put_tag(at, Tag::int8), static_cast<std::int8_t>(value));
  return put_value(put_tag(at, Tag::int64), value);
}

std::byte* put_int(std::byte* at, PyObject* object) {
  int overflow = 0;
  const long long value = PyLong_AsLongLongAndOverflow(object, &overflow);
  return overflow != 0 ? nullptr : put_int64(at, value);
}

std::byte* put_text(std::byte* at, const std::byte* end, PyObject* object) {
  if (PyUnicode_READY(object) != 0) {
    PyErr_Clear();
    return nullptr;
  }
  if (PyUnicode_KIND(object) == PyUnicode_1BYTE_KIND) {
    return put_run(at, end, Tag::text8, PyUnicode_1BYTE_DATA(object), PyUnicode_GET_LENGTH(object));
  }
  if (PyUnicode_GET_LENGTH(object) > 1024) return nullptr;  // AsUTF8 keeps its copy in the object: not for long texts
  Py_ssize_t size = 0;
  const char* data = PyUnicode_AsUTF8AndSize(object, &size);
  if (data == nullptr) {  // lone surrogates
    PyErr_Clear();
    return nullptr;
  }
  return put_run(at, end, Tag::text, data, size);
}

/// The compact code of `object` at `at`, or nullptr (no Python error) when it has none or does not fit before `end`.
std::byte* put_compact(std::byte* at, const std::byte* end, PyObject* object, int depth) {
  if (end - at < 16) return nullptr;  // room for any scalar
  PyTypeObject* type = Py_TYPE(object);
  if (type == &PyLong_Type) return put_int(at, object);
  if (type == &PyFloat_Type) return put_value(put_tag(at, Tag::float64), PyFloat_AS_DOUBLE(object));
  if (object == Py_None) return put_tag(at, Tag::none);
  if (type == &PyUnicode_Type) return put_text(at, end, object);
  if (type == &PyTuple_Type) {
    const Py_ssize_t count = PyTuple_GET_SIZE(object);
    if (count > kMaxTuple || depth >= kMaxDepth) return nullptr;
    at = put_value(put_tag(at, Tag::tuple), static_cast<std::uint8_t>(count));
    for (Py_ssize_t i = 0; i < count && at != nullptr; ++i) at = put_compact(at, end, PyTuple_GET_ITEM(object, i), depth + 1);
    return at;
  }
  if (type == &PyBytes_Type) return put_run(at, end, Tag::bytes, PyBytes_AS_STRING(object), PyBytes_GET_SIZE(object));
  if (object == Py_True) return put_tag(at, Tag::true_value);
  if (object == Py_False) return put_tag(at, Tag::false_value);
  return nullptr;
}

/// An exact bytes or Latin-1 str too large for the ring: its memory can be copied as it is.
bool is_large_run(PyObject* object) {
  if (PyBytes_CheckExact(object)) return PyBytes_GET_SIZE(object) > static_cast<Py_ssize_t>(ring::kInlineLimit);
  return PyUnicode_CheckExact(object) && PyUnicode_GET_LENGTH(object) > static_cast<Py_ssize_t>(ring::kInlineLimit) &&
         PyUnicode_READY(object) == 0 && PyUnicode_KIND(object) == PyUnicode_1BYTE_KIND;
}

PyObject* malformed(const char* what) {
  PyErr_Format(PyExc_ValueError, "malformed payload: %s", what);
  return nullptr;
}

template <class Value>
bool take_value(ByteSpan& rest, Value& value) {
  if (rest.size() < sizeof value) return false;
  std::memcpy(&value, rest.data(), sizeof value);
  rest = rest.subspan(sizeof value);
  return true;
}

/// The run's bytes, taken off `rest`; an empty optional-like false when it reaches beyond the end.
bool take_run(ByteSpan& rest, const char*& data, Py_ssize_t& size) {
  std::uint32_t length = 0;
  if (!take_value(rest, length) || length > rest.size()) return false;
  data = reinterpret_cast<const char*>(rest.data());
  size = static_cast<Py_ssize_t>(length);
  rest = rest.subspan(length);
  return true;
}

PyObject* take_compact(ByteSpan& rest, int depth);

PyObject* take_tuple(ByteSpan& rest, int depth) {
  std::uint8_t count = 0;
  if (!take_value(rest, count)) return malformed("cut short");
  if (depth >= kMaxDepth || count > kMaxTuple) return malformed("a tuple deeper or longer than the code allows");
  PyObject* tuple = PyTuple_New(count);
  if (tuple == nullptr) return nullptr;
  for (Py_ssize_t i = 0; i < count; ++i) {
    PyObject* value = take_compact(rest, depth + 1);
    if (value == nullptr) {
      Py_DECREF(tuple);
      return nullptr;
    }
    PyTuple_SET_ITEM(tuple, i, value);
  }
  return tuple;
}

PyObject* take_text(ByteSpan& rest, Tag tag) {
  const char* data = nullptr;
  Py_ssize_t size = 0;
  if (!take_run(rest, data, size)) return malformed("cut short");
  if (tag == Tag::bytes) return PyBytes_FromStringAndSize(data, size);
  if (tag == Tag::text8) return PyUnicode_FromKindAndData(PyUnicode_1BYTE_KIND, data, size);
  return PyUnicode_DecodeUTF8(data, size, nullptr);
}

PyObject* take_compact(ByteSpan& rest, int depth) {
  std::uint8_t tag = 0;
  if (!take_value(rest, tag)) return malformed("cut short");
  switch (static_cast<Tag>(tag)) {
    case Tag::none: Py_RETURN_NONE;
    case Tag::false_value: Py_RETURN_FALSE;
    case Tag::true_value: Py_RETURN_TRUE;
    case Tag::int8: {
      std::int8_t value = 0;
      return take_value(rest, value) ? PyLong_FromLong(value) : malformed("cut short");
    }
    case Tag::int64: {
      std::int64_t value = 0;
      return take_value(rest, value) ? PyLong_FromLongLong(value) : malformed("cut short");
    }
    case Tag::float64: {
      double value = 0;
      return take_value(rest, value) ? PyFloat_FromDouble(value) : malformed("cut short");
    }
    case Tag::text8:
    case Tag::text:
    case Tag::bytes: return take_text(rest, static_cast<Tag>(tag));
    case Tag::tuple: return take_tuple(rest, depth);
    default: return malformed("unknown tag");
  }
}

PyObject* decode_large_run(ByteSpan bytes, Tag tag) {
  std::uint64_t length = 0;
  if (bytes.size() < kLargeHeader) return malformed("cut short");
  std::memcpy(&length, bytes.data() + 8, sizeof length);
  if (length != bytes.size() - kLargeHeader) return malformed("a wrong length");
  const char* data = reinterpret_cast<const char*>(bytes.data() + kLargeHeader);
  const auto size = static_cast<Py_ssize_t>(length);
  return tag == Tag::large_bytes ? PyBytes_FromStringAndSize(data, size) : PyUnicode_FromKindAndData(PyUnicode_1BYTE_KIND, data, size);
}

}  // namespace

std::size_t encode_compact(PyObject* object, MutableByteSpan room) {
  const std::byte* const end = put_compact(room.data(), room.data() + room.size(), object, /*depth=*/0);
  return end == nullptr ? 0 : static_cast<std::size_t>(end - room.data());
}

std::size_t encode_int(std::int64_t value, std::byte* room) { return static_cast<std::size_t>(put_int64(room, value) - room); }

bool Encoder::encode(PyObject* object) {
  by_value_ = false;
  const std::byte* const end = put_compact(scratch_, scratch_ + sizeof scratch_, object, /*depth=*/0);
  if (end != nullptr) {
    size_ = static_cast<std::size_t>(end - scratch_);
    return true;
  }
  if (is_large_run(object)) {
    whole_ = Py_NewRef(object);
    size_ = kLargeHeader + static_cast<std::size_t>(PyBytes_CheckExact(object) ? PyBytes_GET_SIZE(object) : PyUnicode_GET_LENGTH(object));
    return true;
  }
  return encode_pickle(object);
}

bool Encoder::encode_pickle(PyObject* object) {
  const Pickled pickled = pickle_object(object, main_by_value_, by_value_allowed_);
  if (pickled.sink == nullptr) return false;
  by_value_ = pickled.by_value;
  size_ = sink_payload_size(pickled.sink);
  sink_ = pickled.sink;
  if (is_large()) return true;
  write_pickle(scratch_);
  clear();
  return true;
}

void Encoder::write_pickle(std::byte* destination) const {
  sink_write(sink_, destination);
  const bool plain = sink_buffer_count(sink_) == 0;
  const Tag tag = by_value_ ? (plain ? Tag::value_pickle : Tag::value_pickle_buffers) : (plain ? Tag::pickle : Tag::pickle_buffers);
  *destination = static_cast<std::byte>(tag);
}

void Encoder::write_to(std::byte* destination) const {
  if (sink_ != nullptr) return write_pickle(destination);
  const bool is_bytes = PyBytes_CheckExact(whole_);
  const std::uint64_t length = size_ - kLargeHeader;
  std::memset(destination, 0, kLargeHeader);
  *destination = static_cast<std::byte>(is_bytes ? Tag::large_bytes : Tag::large_text8);
  std::memcpy(destination + 8, &length, sizeof length);
  const void* data =
      is_bytes ? static_cast<const void*>(PyBytes_AS_STRING(whole_)) : static_cast<const void*>(PyUnicode_1BYTE_DATA(whole_));
  std::memcpy(destination + kLargeHeader, data, length);
}

void Encoder::clear() {
  if (whole_ == nullptr && sink_ == nullptr) return;
  Py_CLEAR(whole_);
  if (PyObject* sink = std::exchange(sink_, nullptr); sink != nullptr) sink_release(sink);
}

bool is_pickled(ByteSpan bytes) {
  if (bytes.empty()) return false;
  const Tag tag = static_cast<Tag>(bytes[0]);
  return tag >= Tag::pickle && tag <= Tag::value_pickle_buffers;
}

bool is_scalar(ByteSpan bytes) { return !is_pickled(bytes) && !bytes.empty() && static_cast<Tag>(bytes[0]) != Tag::tuple; }

bool is_by_value(ByteSpan bytes) {
  return !bytes.empty() && (static_cast<Tag>(bytes[0]) == Tag::value_pickle || static_cast<Tag>(bytes[0]) == Tag::value_pickle_buffers);
}

PyObject* decode(ByteSpan bytes, const BufferOwner& owner) {
  if (bytes.empty()) return malformed("empty");
  const Tag tag = static_cast<Tag>(bytes[0]);
  switch (tag) {
    case Tag::value_pickle:
    case Tag::pickle: return unpickle_plain(bytes.subspan(1));
    case Tag::value_pickle_buffers:
    case Tag::pickle_buffers: return unpickle_with_buffers(bytes, owner);
    case Tag::large_bytes:
    case Tag::large_text8: return decode_large_run(bytes, tag);
    default: break;
  }
  PyObject* value = take_compact(bytes, /*depth=*/0);
  if (value != nullptr && !bytes.empty()) {
    Py_DECREF(value);
    return malformed("bytes left over");
  }
  return value;
}

PyObject* decode_guarded(ByteSpan bytes, AsyncExceptions& async) {
  PyObject* value = async.run([&] { return decode(bytes); });
  if (value == nullptr) wrap_base_exception();
  return value;
}

void forget_picklers() { forget_cached_picklers(); }

}  // namespace holdfast::python
