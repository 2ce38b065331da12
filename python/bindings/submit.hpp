// What: the methods of Core that submit work (bind_submit.cpp) or start the zygote (bind_launch.cpp); bind_pool.cpp puts them into the type.
#pragma once

#include "python.hpp"

namespace holdfast::python {

/// apply_async(pool, func, args, kwds, callback, error_callback, policy) -> AsyncResult
PyObject* core_apply_async(PyObject* self, PyObject* const* arguments, Py_ssize_t count);
/// map_async(pool, func, iterable, call_mode, chunksize, callback, error_callback, policy) -> MapResult
PyObject* core_map_async(PyObject* self, PyObject* const* arguments, Py_ssize_t count);
/// lazy(pool, func, iterator, call_mode, chunksize, unordered, policy) -> IMapIterator, whose _feed.run() must be called in a thread
PyObject* core_lazy(PyObject* self, PyObject* const* arguments, Py_ssize_t count);

/// launch_zygote(prepare) -> pid; 0 in the child. Blocks all signals, calls prepare((socket, bell, parent pidfd), message, (failure_read,
/// failure_write), mask), and what that returns; the child's pid is told to the engine at once. The mask is put back, but not in the child.
PyObject* core_launch_zygote(PyObject* self, PyObject* prepare);

}  // namespace holdfast::python
