// What: see reports.hpp.
#include "reports.hpp"

#include <string>

namespace holdfast::python {
namespace {

PyObject* report_class() {
  static PyObject* known = nullptr;  // kept for good
  if (known == nullptr) {
    PyObject* module = PyImport_ImportModule("holdfast._report");
    if (module == nullptr) return nullptr;
    known = PyObject_GetAttrString(module, "ExitReport");
    Py_DECREF(module);
  }
  return known;
}

/// A number that is not known is None in Python.
PyObject* known_seconds(double value) { return value < 0 ? Py_NewRef(Py_None) : PyFloat_FromDouble(value); }
PyObject* known_count(std::int64_t value) { return value < 0 ? Py_NewRef(Py_None) : PyLong_FromLongLong(value); }
PyObject* text(const std::string& value) { return PyUnicode_DecodeUTF8(value.data(), static_cast<Py_ssize_t>(value.size()), "replace"); }

}  // namespace

PyObject* report_object(const ExitReport& report) {
  PyObject* maker = report_class();
  if (maker == nullptr) return nullptr;
  PyObject* fields = Py_BuildValue(
      "{s:s,s:i,s:N,s:N,s:N,s:d,s:N,s:N,s:N,s:N,s:K,s:I,s:N,s:N,s:N,s:N,s:N}", "cause", to_string(report.cause), "pid", report.pid,
      "exit_code", report.has_exit_code ? PyLong_FromLong(report.exit_code) : Py_NewRef(Py_None), "signal",
      report.signal != 0 ? PyLong_FromLong(report.signal) : Py_NewRef(Py_None), "core_dumped", PyBool_FromLong(report.core_dumped),
      "runtime_s", report.runtime_s, "cpu_user_s", known_seconds(report.cpu_user_s), "cpu_system_s", known_seconds(report.cpu_system_s),
      "peak_rss_bytes", known_count(report.peak_rss_bytes), "peak_memory_bytes", known_count(report.peak_memory_bytes), "items_run",
      static_cast<unsigned long long>(report.items_run), "attempts", static_cast<unsigned int>(report.attempts), "job",
      report.lost_item ? PyLong_FromUnsignedLongLong(report.job) : Py_NewRef(Py_None), "item",
      report.lost_item ? PyLong_FromUnsignedLongLong(report.item) : Py_NewRef(Py_None), "news_ns", known_count(report.news_ns), "traceback",
      text(report.traceback), "detail", text(report.detail));
  PyObject* empty = PyTuple_New(0);
  PyObject* made = fields == nullptr || empty == nullptr ? nullptr : PyObject_Call(maker, empty, fields);
  Py_XDECREF(fields);
  Py_XDECREF(empty);
  return made;
}

PyObject* worker_tuple(const pool::WorkerInfo& info) {
  PyObject* report = info.alive || info.report.cause == Cause::none ? Py_NewRef(Py_None) : report_object(info.report);
  if (report == nullptr) return nullptr;
  return Py_BuildValue("(ILiNNNN)", static_cast<unsigned int>(info.worker), static_cast<long long>(info.identity), info.pid,
                       PyBool_FromLong(info.alive), PyBool_FromLong(info.ready), report, known_count(info.memory_bytes));
}

PyObject* stats_dict(const Stats& stats) {
  using Wide = unsigned long long;
  return Py_BuildValue("{s:K,s:K,s:K,s:K,s:K,s:K,s:K,s:K,s:K,s:K,s:K,s:K,s:L}", "items_submitted", Wide{stats.items_submitted},
                       "items_settled", Wide{stats.items_settled}, "items_done", Wide{stats.items_done}, "items_raised",
                       Wide{stats.items_raised}, "items_died", Wide{stats.items_died}, "deaths", Wide{stats.deaths}, "retries",
                       Wide{stats.retries}, "workers_started", Wide{stats.workers_started}, "failed_starts", Wide{stats.failed_starts},
                       "items_taken_back", Wide{stats.items_taken_back}, "bytes_sent", Wide{stats.bytes_sent}, "bytes_received",
                       Wide{stats.bytes_received}, "last_news_ns", static_cast<long long>(stats.last_news.count()));
}

const char* state_name(pool::EngineState state) {
  switch (state) {
    case pool::EngineState::running: return "running";
    case pool::EngineState::closed: return "closed";
    case pool::EngineState::terminated: return "terminated";
    case pool::EngineState::aborted: return "aborted";
    case pool::EngineState::broken: return "broken";
  }
  return "unknown";
}

}  // namespace holdfast::python
