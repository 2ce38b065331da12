// What: exit reports, workers and statistics of the engine as Python objects (plain tuples, dicts and holdfast.ExitReport). Need the GIL.
#pragma once

#include "python.hpp"

#include "pool/engine.hpp"

namespace holdfast::python {

/// A holdfast.ExitReport (holdfast/_report.py); new reference or nullptr with an error.
PyObject* report_object(const ExitReport& report);
/// (worker, identity, pid, alive, ready, report or None, own memory in bytes or None)
PyObject* worker_tuple(const pool::WorkerInfo& info);
PyObject* stats_dict(const Stats& stats);
/// "running", "closed", "terminated", "aborted", "broken"
const char* state_name(pool::EngineState state);

}  // namespace holdfast::python
