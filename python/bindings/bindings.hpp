// What: how the parts of the extension module are put together. Each add_* puts its types and functions into `module`; false = a
// Python error is set. Called once, by module.cpp.
#pragma once

#include "python.hpp"

#include <csignal>

namespace holdfast::python {

bool add_codec(PyObject* module);      // bind_codec.cpp: encode, decode (for tests and for the zygote's initargs)
bool add_pool(PyObject* module);       // bind_pool.cpp: Core
bool add_policy(PyObject* module);     // bind_policy.cpp: Policy
bool add_segments(PyObject* module);   // segment_view.cpp: Segment (the type under a view)
bool add_results(PyObject* module);    // bind_results.cpp: ResultBase
bool add_iterators(PyObject* module);  // bind_iterators.cpp: IteratorBase, Feed
bool add_worker(PyObject* module);     // bind_worker.cpp: zygote_main, worker_main (the child's side)

/// The numbers of the signals in a mask, as a new tuple (bind_worker.cpp).
PyObject* mask_to_tuple(const sigset_t& mask);

}  // namespace holdfast::python
