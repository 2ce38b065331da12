// What: the child's side in Python: forking the zygote, its loop, and a worker's birth, work and end, as functions of holdfast._core.
// Called by holdfast/_zygote.py and holdfast/_worker.py, by nobody else. All need the GIL; worker_run gives it away while it waits.
//
// A signal mask is a tuple of signal numbers in Python. A worker's Enrolment lives in a capsule without a destructor: it must work until
// _exit, and nothing of it may be taken down before (its watcher guards the worker to the last).
#include <Python.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <optional>
#include <string>
#include <utility>

#include "bindings.hpp"
#include "errors.hpp"
#include "python_runner.hpp"
#include "sys/process.hpp"
#include "sys/signals.hpp"
#include "worker/enrol.hpp"
#include "worker/stack_report.hpp"
#include "worker/task_loop.hpp"
#include "worker/zygote.hpp"

namespace holdfast::python {
namespace {

using worker::Enrolment;
using worker::WorkerSeed;

constexpr const char* kCapsule = "holdfast._core.Enrolment";
// A worker that leaves by sys.exit() or is told to stop may hang in its finalizers: this long, then its watcher ends it. One that
// is closed in the ordinary way has the pool's own, longer limit (EngineOptions::leave_limit).
constexpr Nanos kLeaveLimit = std::chrono::seconds(5);

bool tuple_to_mask(PyObject* tuple, sigset_t& mask) {
  sigemptyset(&mask);
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(tuple); ++i) {
    const long signal = PyLong_AsLong(PyTuple_GET_ITEM(tuple, i));
    if (signal == -1 && PyErr_Occurred() != nullptr) return false;
    (void)sigaddset(&mask, static_cast<int>(signal));  // a number out of range is no signal, so it cannot be blocked either
  }
  return true;
}

/// fork() with the interpreter's hooks, as os.fork() does it, without its warning about threads: what the child of a threaded
/// process must not do, the zygote does not do.
int fork_interpreter() {
  PyOS_BeforeFork();
  const int pid = worker::fork_bound();
  const int error = errno;
  if (pid == 0) {
    PyOS_AfterFork_Child();
  } else {
    PyOS_AfterFork_Parent();
  }
  errno = error;
  return pid;
}

/// The fork of a worker from a zygote that is itself a fork of the caller and runs no Python: to the interpreter these two are one. The hooks'
/// first half ran in the caller, their second half runs here, in the worker; nobody pays for it in between.
int fork_from_plain_zygote() {
  const int pid = worker::fork_bound();
  if (pid == 0) PyOS_AfterFork_Child();
  return pid;
}

PyObject* set_parent_death_kill(PyObject*, PyObject*) {
  if (auto done = sys::set_parent_death_signal(SIGKILL); !done.ok()) return set_error(done.error());
  Py_RETURN_NONE;
}

/// What a spare has done ahead, for the worker that is made of it. Lives in the frame of zygote_main.
using Ground = std::optional<worker::Groundwork>;
constexpr const char* kGroundCapsule = "holdfast._core.Groundwork";

/// Calls run(worker, identity, socket, ring, bell_fd, parent_pidfd, zygote_pid, tag, mask, ground); the descriptors are the callee's from here on.
int run_in_worker(PyObject* run, WorkerSeed&& seed, Ground& ground) {
  PyObject* mask = mask_to_tuple(seed.mask);
  PyObject* ahead = ground ? PyCapsule_New(&ground, kGroundCapsule, nullptr) : Py_NewRef(Py_None);
  const int socket = seed.socket.release();
  const int ring = seed.ring.release();
  PyObject* code =
      mask == nullptr || ahead == nullptr
          ? nullptr
          : PyObject_CallFunction(run, "((ILiiiiisNN))", static_cast<unsigned>(seed.worker), static_cast<long long>(seed.identity), socket,
                                  ring, seed.bell_fd, seed.parent_pidfd, seed.zygote_pid, seed.tag.c_str(), mask, ahead);
  int result = 1;
  if (code != nullptr) result = static_cast<int>(PyLong_AsLong(code));
  if (PyErr_Occurred() != nullptr) {
    result = 1;
    if (PyErr_ExceptionMatches(PyExc_SystemExit)) {
      PyErr_Clear();  // PyErr_Print() would leave by exit(), with what belongs to the zygote
    } else {
      PyErr_Print();
    }
  }
  return result;
}

/// In a spare. What fails here is done again by the worker, which can tell the pool.
void prepare_spare(const worker::ZygoteConfig& config, int zygote_pid, PyObject* warm_up, Ground& ground) {
  auto laid = worker::lay_ground(config.bell_fd, zygote_pid);
  if (laid.ok()) ground = std::move(laid).value();
  Py_XDECREF(PyObject_CallNoArgs(warm_up));
  PyErr_Clear();
}

/// What zygote_main() and fork_zygote() are given: socket_fd, bell_fd, parent_pidfd, mask, run, warm_up or None.
struct ZygoteArguments {
  worker::ZygoteConfig config;
  PyObject* run = nullptr;  // borrowed: the caller's frame holds it for as long as this process lives
  PyObject* warm_up = nullptr;
  Ground ground;
};

bool parse(PyObject* arguments, ZygoteArguments& into) {
  int socket = -1;
  PyObject* mask = nullptr;
  if (!PyArg_ParseTuple(arguments, "iiiO!OO", &socket, &into.config.bell_fd, &into.config.parent_pidfd, &PyTuple_Type, &mask, &into.run,
                        &into.warm_up) ||
      !tuple_to_mask(mask, into.config.worker_mask)) {
    return false;
  }
  into.config.pool_socket.reset(socket);
  return true;
}

int serve(ZygoteArguments& zygote, int (*fork)()) {
  zygote.config.fork = fork;
  zygote.config.run_worker = [&zygote](WorkerSeed&& seed) { return run_in_worker(zygote.run, std::move(seed), zygote.ground); };
  if (zygote.warm_up != Py_None) {
    const int pid = getpid();
    zygote.config.warm_up = [&zygote, pid] { prepare_spare(zygote.config, pid, zygote.warm_up, zygote.ground); };
  }
  return worker::zygote_main(zygote.config);
}

// zygote_main(socket_fd, bell_fd, parent_pidfd, mask, run, warm_up or None) -> exit code. All signals must be blocked; `run` is called in each
// worker, warm_up() in each that is forked ahead; None: none is.
PyObject* zygote_main(PyObject*, PyObject* arguments) {
  ZygoteArguments zygote;
  return parse(arguments, zygote) ? PyLong_FromLong(serve(zygote, fork_interpreter)) : nullptr;
}

// fork_zygote((as zygote_main), (descriptors that the zygote closes)) -> pid. The zygote never returns, and runs no Python. All signals are blocked,
// before and after, in both (Core.launch_zygote sees to it).
PyObject* fork_zygote(PyObject*, PyObject* arguments) {
  PyObject* given = nullptr;
  int foreign[3];
  if (!PyArg_ParseTuple(arguments, "O!(iii):fork_zygote", &PyTuple_Type, &given, &foreign[0], &foreign[1], &foreign[2])) return nullptr;
  ZygoteArguments zygote;
  if (!parse(given, zygote)) {
    (void)zygote.config.pool_socket.release();  // the launcher's
    return nullptr;
  }
  if (PySys_Audit("os.fork", nullptr) != 0) {
    (void)zygote.config.pool_socket.release();
    return nullptr;
  }
  PyOS_BeforeFork();
  const int pid = fork();
  const int error = errno;
  if (pid == 0) {
    for (const int fd : foreign) (void)close(fd);  // cannot fail: they are the launcher's, open
    int code = 1;
    try {
      code = serve(zygote, fork_from_plain_zygote);
    } catch (...) {}  // out of memory; the pool sees its end. No frame of the caller's may run on in this process
    sys::exit_now(code);
  }
  PyOS_AfterFork_Parent();
  (void)zygote.config.pool_socket.release();  // the launcher's
  errno = error;
  return pid < 0 ? PyErr_SetFromErrno(PyExc_OSError) : PyLong_FromLong(pid);
}

Enrolment* enrolment_of(PyObject* capsule) { return static_cast<Enrolment*>(PyCapsule_GetPointer(capsule, kCapsule)); }

// worker_enrol((worker, identity, socket, ring, bell_fd, parent_pidfd, zygote_pid, tag, mask, ground or None)) -> capsule
PyObject* worker_enrol(PyObject*, PyObject* argument) {
  WorkerSeed seed;
  unsigned worker = 0;
  long long identity = 0;
  int socket = -1;
  int ring = -1;
  const char* tag = nullptr;
  PyObject* mask = nullptr;
  PyObject* ahead = nullptr;
  if (!PyTuple_Check(argument)) return PyErr_Format(PyExc_TypeError, "worker_enrol() takes the tuple that the zygote passed");
  if (!PyArg_ParseTuple(argument, "ILiiiiisO!O", &worker, &identity, &socket, &ring, &seed.bell_fd, &seed.parent_pidfd, &seed.zygote_pid,
                        &tag, &PyTuple_Type, &mask, &ahead)) {
    return nullptr;
  }
  seed.worker = worker;
  seed.identity = identity;
  seed.socket.reset(socket);
  seed.ring.reset(ring);
  seed.tag = tag;
  if (!tuple_to_mask(mask, seed.mask)) return nullptr;
  Ground* ground = ahead == Py_None ? nullptr : static_cast<Ground*>(PyCapsule_GetPointer(ahead, kGroundCapsule));
  if (ground == nullptr && ahead != Py_None) return nullptr;
  auto enrolled = worker::enrol(std::move(seed), ground == nullptr ? std::nullopt : std::exchange(*ground, std::nullopt));
  if (!enrolled.ok()) return set_error(enrolled.error());
  return PyCapsule_New(std::move(enrolled).value().release(), kCapsule, nullptr);
}

// worker_unblock(capsule): the caller's signal mask is back from here on.
PyObject* worker_unblock(PyObject*, PyObject* capsule) {
  Enrolment* worker = enrolment_of(capsule);
  if (worker == nullptr) return nullptr;
  sys::restore_mask(worker->seed.mask);
  worker::StackReport::unblock();
  Py_RETURN_NONE;
}

// worker_report_stacks(capsule, faulthandler.register, faulthandler.is_enabled()): its crashes and the pool's requests are answered with its stacks from
// here on. All signals are blocked. A worker that cannot have this works without it.
PyObject* worker_report_stacks(PyObject*, PyObject* arguments) {
  PyObject* capsule = nullptr;
  PyObject* put_in_place = nullptr;
  int reports_crashes = 0;
  if (!PyArg_ParseTuple(arguments, "OOp:worker_report_stacks", &capsule, &put_in_place, &reports_crashes)) return nullptr;
  const Enrolment* worker = enrolment_of(capsule);
  if (worker == nullptr) return nullptr;
  const int signal = worker::StackReport::choose_signal(worker->seed.mask);
  if (signal == 0) Py_RETURN_NONE;
  PyObject* done = PyObject_CallFunction(put_in_place, "iiOO", signal, worker->seed.ring.get(), Py_True, Py_False);
  if (done == nullptr) {
    PyErr_Clear();
  } else {
    (void)worker::StackReport::install(*worker, signal, reports_crashes != 0);
  }
  Py_XDECREF(done);
  Py_RETURN_NONE;
}

// worker_init_failed(capsule, text)
PyObject* worker_init_failed(PyObject*, PyObject* arguments) {
  PyObject* capsule = nullptr;
  PyObject* text = nullptr;
  if (!PyArg_ParseTuple(arguments, "OU:worker_init_failed", &capsule, &text)) return nullptr;
  Enrolment* worker = enrolment_of(capsule);
  if (worker == nullptr) return nullptr;
  PyObject* bytes = PyUnicode_AsEncodedString(text, "utf-8", "backslashreplace");
  if (bytes == nullptr) return nullptr;
  worker::report_init_failed(worker->seed.socket.get(), {PyBytes_AS_STRING(bytes), static_cast<std::size_t>(PyBytes_GET_SIZE(bytes))});
  Py_DECREF(bytes);
  Py_RETURN_NONE;
}

/// Has Python's own crash reporter write the stacks of all threads into `fd`: it imports nothing and takes no lock but the GIL. In a thread of
/// its own; blocks for as long as somebody holds the GIL.
void write_stacks(PyObject* dump, int fd) {
  const PyGILState_STATE state = PyGILState_Ensure();
  PyObject* done = PyObject_CallFunction(dump, "iO", fd, Py_True);
  if (done == nullptr) PyErr_Clear();  // a report without stacks is still a report
  Py_XDECREF(done);
  PyGILState_Release(state);
}

/// `dump` must live as long as the process.
void watch_stalls(Enrolment& worker, double after_s, PyObject* dump) {
  worker::StallWatch::Charge charge;
  charge.after = Nanos(static_cast<std::int64_t>(after_s * 1e9));
  charge.channel = worker.channel.get();
  charge.socket = worker.seed.socket.get();
  charge.worker = worker.seed.worker;
  charge.write_stacks = [dump = Py_NewRef(dump)](int fd) { write_stacks(dump, fd); };
  worker.watcher->watch_stalls(std::move(charge));
}

// worker_run(capsule, prepare, describe, is_from_handler or None, stall_warning or 0.0, dump_traceback) -> exit code: says ready, works until
// the end.
PyObject* worker_run(PyObject*, PyObject* arguments) {
  PyObject* capsule = nullptr;
  PyObject* prepare = nullptr;
  PyObject* describe = nullptr;
  PyObject* is_from_handler = nullptr;
  double stall_warning = 0;
  PyObject* dump = nullptr;
  if (!PyArg_ParseTuple(arguments, "OOOOdO:worker_run", &capsule, &prepare, &describe, &is_from_handler, &stall_warning, &dump))
    return nullptr;
  Enrolment* worker = enrolment_of(capsule);
  if (worker == nullptr) return nullptr;
  auto mark = sys::ForkMark::create();
  if (!mark.ok()) return set_error(mark.error());
  SoftLimit* soft_limit = SoftLimit::make(*worker->channel);
  if (soft_limit == nullptr) return nullptr;
  if (auto ready = worker::report_ready(*worker); !ready.ok()) return set_error(ready.error());
  if (stall_warning > 0) watch_stalls(*worker, stall_warning, dump);
  PythonRunner runner(prepare, describe, is_from_handler, *soft_limit);
  const int code = worker::TaskLoop(*worker, runner, std::move(mark).value()).run();
  if (code != 0 || worker->channel->cancelled() || !worker->channel->closed()) worker->watcher->exit_at_latest(kLeaveLimit, code);
  return PyLong_FromLong(code);
}

PyMethodDef methods[] = {
    {"fork_zygote", fork_zygote, METH_VARARGS, "Fork a zygote that serves, without Python, until its end: the pid."},
    {"set_parent_death_kill", set_parent_death_kill, METH_NOARGS, "SIGKILL this process when the thread that forked it ends."},
    {"zygote_main", zygote_main, METH_VARARGS, "Serve as the zygote of a pool: the exit code."},
    {"worker_enrol", worker_enrol, METH_O, "A worker's first acts: own group, watcher, hello. The handle for the other functions."},
    {"worker_unblock", worker_unblock, METH_O, "Put the caller's signal mask back."},
    {"worker_report_stacks", worker_report_stacks, METH_VARARGS, "Have faulthandler write this worker's stacks for the pool."},
    {"worker_init_failed", worker_init_failed, METH_VARARGS, "Tell the pool why this worker cannot start."},
    {"worker_run", worker_run, METH_VARARGS, "Say ready and run tasks until the end: the exit code."},
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace

PyObject* mask_to_tuple(const sigset_t& mask) {
  PyObject* list = PyList_New(0);
  for (int signal = 1; list != nullptr && signal < NSIG; ++signal) {
    if (sigismember(&mask, signal) != 1) continue;
    PyObject* number = PyLong_FromLong(signal);
    if (number == nullptr || PyList_Append(list, number) != 0) Py_CLEAR(list);
    Py_XDECREF(number);
  }
  if (list == nullptr) return nullptr;
  PyObject* tuple = PyList_AsTuple(list);
  Py_DECREF(list);
  return tuple;
}

bool add_worker(PyObject* module) { return PyModule_AddFunctions(module, methods) == 0; }

}  // namespace holdfast::python
