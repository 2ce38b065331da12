// What: where the worker's program is, in words: the stacks of its threads, written by the language's own crash reporter (Python: faulthandler) into
// the last part of the worker's ring segment, which outlives it. When it crashes (SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT), and when the pool asks by a
// real-time signal: also in the middle of C code that gives nobody the interpreter's lock. Costs nothing while nobody crashes or asks.
//
// Invariants:
//   1. Everything that runs in a signal handler is async-signal-safe, as far as the language's writer is; nothing in it waits.
//   2. A forked child of the worker writes nothing: the area and the segment's file position are the worker's.
//   3. It writes into the segment and nothing else: a program that has closed the descriptor may have a file of its own under that number.
//   4. A crash ends as it would have ended: the disposition from before is put back first, then the signal is raised again. A fault in the writer
//      itself comes with its signal blocked: the kernel ends the process then.
//   5. Handlers of the program's are left alone: at a crash signal that has one, there is no report.
// One per process, for its main thread to install; made by python/bindings/bind_worker.cpp.
#pragma once

#include <csignal>

#include "base/result.hpp"
#include "worker/enrol.hpp"

namespace holdfast::worker {

class StackReport {
 public:
  /// The real-time signal to ask by: that of a worker this process was forked from, or a free one, if possible one that is not in `blocked`; 0 = none.
  static int choose_signal(const sigset_t& blocked);

  /// The language has put its writer in place as the handler of `signal`, to write into the segment's descriptor (enrolment.seed.ring); it is
  /// called from ours from here on. `reports_crashes`: what handles crash signals now is the language's own reporter, which runs after ours and writes to
  /// stderr itself; else ours writes there, too. `enrolment` lives as long as the process. All signals are blocked.
  static Status install(const Enrolment& enrolment, int signal, bool reports_crashes);

  /// What may be blocked while pickle runs: all but the signals above. Before install(): all.
  static const sigset_t& blockable();
  /// The signal to ask by can come from here on, whatever the caller's mask was.
  static void unblock();
};

}  // namespace holdfast::worker
