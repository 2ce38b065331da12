// What: see segment_view.hpp: the object under the memoryview, which has nothing but the buffer protocol.
#include "segment_view.hpp"

#include <cstring>
#include <new>
#include <utility>

#include "bindings.hpp"
#include "sys/memfd.hpp"

namespace holdfast::python {
namespace {

struct SegmentObject {
  PyObject_HEAD std::shared_ptr<const void> memory;
  ByteSpan bytes;
  bool read_only;
};

SegmentObject* as_segment(PyObject* object) { return reinterpret_cast<SegmentObject*>(object); }

int segment_get_buffer(PyObject* self, Py_buffer* view, int flags) {
  const SegmentObject* segment = as_segment(self);
  // The span is const for those who decode; memory that is not read-only was lent to be written to.
  void* data = const_cast<std::byte*>(segment->bytes.data());
  return PyBuffer_FillInfo(view, self, data, static_cast<Py_ssize_t>(segment->bytes.size()), segment->read_only ? 1 : 0, flags);
}

void segment_dealloc(PyObject* self) {
  PyTypeObject* type = Py_TYPE(self);
  const std::shared_ptr<const void> memory = std::move(as_segment(self)->memory);
  as_segment(self)->memory.~shared_ptr();
  type->tp_free(self);
  Py_DECREF(type);
}

PyType_Slot segment_slots[] = {
    {Py_tp_dealloc, reinterpret_cast<void*>(segment_dealloc)},
    {Py_bf_getbuffer, reinterpret_cast<void*>(segment_get_buffer)},
    {0, nullptr},
};
PyType_Spec segment_spec = {"holdfast._core.Segment", sizeof(SegmentObject), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
                            segment_slots};
PyTypeObject* segment_type = nullptr;

}  // namespace

bool add_segments(PyObject* module) {
  segment_type = reinterpret_cast<PyTypeObject*>(PyType_FromSpec(&segment_spec));
  return segment_type != nullptr && PyModule_AddObjectRef(module, "Segment", reinterpret_cast<PyObject*>(segment_type)) == 0;
}

PyObject* view_of_segment(const BufferOwner& owner, ByteSpan bytes, bool read_only) {
  PyObject* segment = segment_type->tp_alloc(segment_type, 0);
  if (segment == nullptr) return nullptr;
  new (&as_segment(segment)->memory) std::shared_ptr<const void>(owner.memory);
  as_segment(segment)->bytes = bytes;
  as_segment(segment)->read_only = read_only || owner.read_only;
  PyObject* view = PyMemoryView_FromObject(segment);
  Py_DECREF(segment);  // the view's now
  return view;
}

PyObject* view_of_private_copy(ByteSpan bytes, bool read_only) {
  Result<sys::Mapping> block = sys::Mapping::anonymous(bytes.size());
  if (!block) return PyErr_NoMemory();
  std::memcpy(block->data(), bytes.data(), bytes.size());
  const ByteSpan copy(block->data(), bytes.size());
  try {
    return view_of_segment({.memory = std::make_shared<sys::Mapping>(*std::move(block))}, copy, read_only);
  } catch (const std::bad_alloc&) { return PyErr_NoMemory(); }
}

}  // namespace holdfast::python
