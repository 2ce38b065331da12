// What: Result<T>, the way an operation that can fail says so. It is part of the public API (holdfast::Pool::open returns one), so it lives
// with the public headers; the layers of src/ name it by this file.
#pragma once

#include "base/check.hpp"       // IWYU pragma: export
#include "holdfast/result.hpp"  // IWYU pragma: export
