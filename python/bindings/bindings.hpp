// What: how the parts of the extension module are put together. Each add_* puts its types and functions into `module`; false = a
// Python error is set. Called once, by module.cpp.
#pragma once

#include <Python.h>

namespace holdfast::python {

bool add_codec(PyObject* module);      // bind_codec.cpp: encode, decode (for tests and for the zygote's initargs)
bool add_pool(PyObject* module);       // bind_pool.cpp: Engine, Job
bool add_results(PyObject* module);    // bind_results.cpp: AsyncResult and the iterators
bool add_reports(PyObject* module);    // bind_reports.cpp: ExitReport, WorkerInfo, Stats
bool add_worker(PyObject* module);     // bind_worker.cpp: zygote_main, worker_main (the child's side)

}  // namespace holdfast::python
