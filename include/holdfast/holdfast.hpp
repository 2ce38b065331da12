// What: the whole public C++ API in one include.
#pragma once

#include "holdfast/exit_report.hpp"
#include "holdfast/outcome.hpp"
#include "holdfast/policy.hpp"
#include "holdfast/pool.hpp"
#include "holdfast/result.hpp"
#include "holdfast/stats.hpp"
#include "holdfast/task.hpp"
#include "holdfast/worker.hpp"
