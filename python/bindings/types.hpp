// What: what the heap types of this module share: allocation, the words of their method tables, and how to refuse to be made by a user.
// Used by the bind_<concept>.cpp files.
#pragma once

#include "python.hpp"

namespace holdfast::python {

/// tp_alloc for our heap types, checked.
template <class Object>
Object* allocate(PyTypeObject* type) {
  return reinterpret_cast<Object*>(type->tp_alloc(type, 0));
}

/// A function of any of CPython's signatures, for a PyMethodDef whose flags say which (through void (*)(): no -Wcast-function-type).
template <class Function>
PyCFunction method(Function* function) {
  return reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(function));
}

/// tp_new of a type that only a pool makes.
inline PyObject* refuse_new(PyTypeObject* type, PyObject*, PyObject*) {
  return PyErr_Format(PyExc_TypeError, "%s objects are made by a Pool", type->tp_name);
}

}  // namespace holdfast::python
