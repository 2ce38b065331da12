// What: Python.h, as every file here must include it: "#" formats take Py_ssize_t. Before any standard header.
#pragma once

#ifndef PY_SSIZE_T_CLEAN
#define PY_SSIZE_T_CLEAN
#endif
#include <Python.h>
