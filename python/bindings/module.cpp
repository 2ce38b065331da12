// What: the extension module holdfast._core: puts the parts together. Everything that waits or runs Python code is a raw CPython method
// (see bind_pool.cpp); nanobind makes the module and the plain value types (bind_reports.cpp).
#include <nanobind/nanobind.h>

#include "bindings.hpp"

// NOLINTNEXTLINE(performance-unnecessary-value-param): nanobind's macro declares the parameter
NB_MODULE(_core, module) {
  namespace hp = holdfast::python;
  PyObject* raw = module.ptr();
  if (!hp::add_codec(raw) || !hp::add_policy(raw) || !hp::add_segments(raw) || !hp::add_iterators(raw) || !hp::add_results(raw) ||
      !hp::add_pool(raw) || !hp::add_worker(raw)) {
    nanobind::raise_python_error();
  }
}
