// What: the one outcome that every task gets (promise P1). Public API; plain values.
#pragma once

#include <cstdint>

namespace holdfast {

enum class OutcomeKind : std::uint8_t {
  pending,     // not settled yet
  done,        // the handler returned a value
  raised,      // the handler raised (the payload describes the error)
  died,        // the worker ended under it
  timed_out,   // it ran longer than its task_timeout; its worker was killed
  cancelled,   // cancelled before it began (or killed on request)
  skipped,     // a failure under policy skip: the skip value stands in its place (what happened is in the report list)
  aborted,     // the pool was aborted by policy before it was settled
  terminated,  // terminate() came first
};

const char* to_string(OutcomeKind kind);

}  // namespace holdfast
