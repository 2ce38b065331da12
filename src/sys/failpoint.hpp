// What: failpoints, for tests only: named points in the worker, the rings, the zygote and the pool at which a test makes the process that
// reaches one die, stop, leave or dawdle. Without the CMake option HOLDFAST_FAILPOINTS (release builds, wheels) HF_FAILPOINT is nothing at all.
//
//   HF_FAILPOINT(worker_claimed);                                 // a point; its name is in failpoint_table.hpp, with the side that it is on
//   HOLDFAST_FAILPOINT=worker_claimed:kill:3 program              // whoever is the third to reach it kills itself
//   HOLDFAST_FAILPOINT=worker_claimed:delay:1:always,zygote_forks:stop:2
//
// Actions: kill (SIGKILL), stop (SIGSTOP), exit (_exit(77)), delay (100 ms). `:n` = the n-th time (1 if left out), once; with `:always` each time
// from then on. Counts are over all processes of the program: they are in a page that children inherit, so that a replaced worker does not
// meet its predecessor's fate unless that is asked for. HOLDFAST_FAILPOINT_PAGE names a file to be mapped instead of a page without a name (tests:
// /proc/<pid>/fd/<n> of a memfd): then execed children count there, too, and the test reads which points were reached (failpoint_table.hpp, Page).
//
// Invariants: 1. Nothing here allocates, locks, or touches errno: a point may stand between any two statements, also in a forked child of a
// threaded process. 2. The environment is read once, before main(). An entry that makes no sense ends the program with a word about it.
// Callers: src/sys, src/ring, src/worker, src/pool. Test: tests/failpoints.
#pragma once

#ifdef HOLDFAST_FAILPOINTS

#include "sys/failpoint_table.hpp"

namespace holdfast::sys::failpoint {

void reached(Point point) noexcept;

}  // namespace holdfast::sys::failpoint

// A macro because it has to vanish with its argument.
#define HF_FAILPOINT(point) ::holdfast::sys::failpoint::reached(::holdfast::sys::failpoint::Point::point)

#else

#define HF_FAILPOINT(point) static_cast<void>(0)

#endif
