// What: memory that something else owns (a mapped segment) as a Python buffer, so that unpickled objects (numpy arrays) lie in it without a
// copy. Needs the GIL. Caller: pickling.cpp.
#pragma once

#include "python.hpp"

#include <memory>

#include "base/types.hpp"

namespace holdfast::python {

/// Who owns the bytes that are decoded: buffers in them may become views that keep `memory`.
struct BufferOwner {
  std::shared_ptr<const void> memory;  // null: nobody does, everything is copied
  bool read_only = false;              // views may not be written to
};

/// A memoryview of `bytes`, which are `owner.memory`'s; that is kept for as long as the view or anything made of it lives. nullptr with an
/// error set.
PyObject* view_of_segment(const BufferOwner& owner, ByteSpan bytes, bool read_only);
/// A memoryview of a private copy of `bytes` (not empty), in huge pages. nullptr with an error set.
PyObject* view_of_private_copy(ByteSpan bytes, bool read_only);

}  // namespace holdfast::python
