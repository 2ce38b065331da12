// What: the child's side in Python: forking the zygote, its loop, and a worker's birth, work and end, as functions of holdfast._core.
// Called by holdfast/_zygote.py and holdfast/_worker.py, by nobody else. All need the GIL; worker_run gives it away while it waits.
//
// A signal mask is a tuple of signal numbers in Python. A worker's Enrolment lives in a capsule without a destructor: it must work until
// _exit, and nothing of it may be taken down before (its watcher guards the worker to the last).
#include <Python.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <string>
#include <utility>

#include "bindings.hpp"
#include "errors.hpp"
#include "python_runner.hpp"
#include "sys/process.hpp"
#include "sys/signals.hpp"
#include "worker/enrol.hpp"
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
  const int pid = fork();
  const int error = errno;
  if (pid == 0) {
    PyOS_AfterFork_Child();
  } else {
    PyOS_AfterFork_Parent();
  }
  errno = error;
  return pid;
}

// fork_zygote() -> (pid, mask). In the child pid is 0, all signals are blocked and stay so, and mask is what they were.
PyObject* fork_zygote(PyObject*, PyObject*) {
  if (PySys_Audit("os.fork", nullptr) != 0) return nullptr;
  const sigset_t mask = sys::block_all();
  const int pid = fork_interpreter();
  const int error = errno;
  if (pid != 0) sys::restore_mask(mask);
  if (pid < 0) {
    errno = error;
    return PyErr_SetFromErrno(PyExc_OSError);
  }
  PyObject* old = mask_to_tuple(mask);
  if (old == nullptr && pid == 0) _exit(1);  // no memory: the caller must not go on twice
  return old == nullptr ? nullptr : Py_BuildValue("(iN)", pid, old);
}

PyObject* block_signals(PyObject*, PyObject*) { return mask_to_tuple(sys::block_all()); }

PyObject* set_parent_death_kill(PyObject*, PyObject*) {
  if (auto done = sys::set_parent_death_signal(SIGKILL); !done.ok()) return set_error(done.error());
  Py_RETURN_NONE;
}

/// Calls run(worker, identity, socket, ring, bell_fd, parent_pidfd, zygote_pid, tag, mask); the descriptors are the callee's from here on.
int run_in_worker(PyObject* run, WorkerSeed&& seed) {
  PyObject* mask = mask_to_tuple(seed.mask);
  const int socket = seed.socket.release();
  const int ring = seed.ring.release();
  PyObject* code = mask == nullptr ? nullptr
                                   : PyObject_CallFunction(run, "((ILiiiiisN))", static_cast<unsigned>(seed.worker),
                                                           static_cast<long long>(seed.identity), socket, ring, seed.bell_fd,
                                                           seed.parent_pidfd, seed.zygote_pid, seed.tag.c_str(), mask);
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

// zygote_main(socket_fd, bell_fd, parent_pidfd, mask, run) -> exit code. All signals must be blocked; `run` is called in each worker.
PyObject* zygote_main(PyObject*, PyObject* arguments) {
  int socket = -1;
  worker::ZygoteConfig config;
  PyObject* mask = nullptr;
  PyObject* run = nullptr;
  if (!PyArg_ParseTuple(arguments, "iiiO!O:zygote_main", &socket, &config.bell_fd, &config.parent_pidfd, &PyTuple_Type, &mask, &run))
    return nullptr;
  if (!tuple_to_mask(mask, config.worker_mask)) return nullptr;
  config.pool_socket.reset(socket);
  config.fork = fork_interpreter;
  config.run_worker = [run](WorkerSeed&& seed) { return run_in_worker(run, std::move(seed)); };
  return PyLong_FromLong(worker::zygote_main(config));
}

Enrolment* enrolment_of(PyObject* capsule) { return static_cast<Enrolment*>(PyCapsule_GetPointer(capsule, kCapsule)); }

// worker_enrol((worker, identity, socket, ring, bell_fd, parent_pidfd, zygote_pid, tag, mask)) -> capsule
PyObject* worker_enrol(PyObject*, PyObject* argument) {
  WorkerSeed seed;
  unsigned worker = 0;
  long long identity = 0;
  int socket = -1;
  int ring = -1;
  const char* tag = nullptr;
  PyObject* mask = nullptr;
  if (!PyTuple_Check(argument)) return PyErr_Format(PyExc_TypeError, "worker_enrol() takes the tuple that the zygote passed");
  if (!PyArg_ParseTuple(argument, "ILiiiiisO!", &worker, &identity, &socket, &ring, &seed.bell_fd, &seed.parent_pidfd, &seed.zygote_pid,
                        &tag, &PyTuple_Type, &mask)) {
    return nullptr;
  }
  seed.worker = worker;
  seed.identity = identity;
  seed.socket.reset(socket);
  seed.ring.reset(ring);
  seed.tag = tag;
  if (!tuple_to_mask(mask, seed.mask)) return nullptr;
  auto enrolled = worker::enrol(std::move(seed));
  if (!enrolled.ok()) return set_error(enrolled.error());
  return PyCapsule_New(std::move(enrolled).value().release(), kCapsule, nullptr);
}

// worker_unblock(capsule): the caller's signal mask is back from here on.
PyObject* worker_unblock(PyObject*, PyObject* capsule) {
  Enrolment* worker = enrolment_of(capsule);
  if (worker == nullptr) return nullptr;
  sys::restore_mask(worker->seed.mask);
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

// worker_run(capsule, describe) -> exit code: says ready, works until the end.
PyObject* worker_run(PyObject*, PyObject* arguments) {
  PyObject* capsule = nullptr;
  PyObject* describe = nullptr;
  if (!PyArg_ParseTuple(arguments, "OO:worker_run", &capsule, &describe)) return nullptr;
  Enrolment* worker = enrolment_of(capsule);
  if (worker == nullptr) return nullptr;
  auto mark = sys::ForkMark::create();
  if (!mark.ok()) return set_error(mark.error());
  if (auto ready = worker::report_ready(*worker); !ready.ok()) return set_error(ready.error());
  PythonRunner runner(describe);
  const int code = worker::TaskLoop(*worker, runner, std::move(mark).value()).run();
  if (code != 0 || worker->channel->cancelled() || !worker->channel->closed()) worker->watcher->exit_at_latest(kLeaveLimit, code);
  return PyLong_FromLong(code);
}

PyMethodDef methods[] = {
    {"fork_zygote", fork_zygote, METH_NOARGS, "Fork with all signals blocked in the child: (pid, the mask that was)."},
    {"block_signals", block_signals, METH_NOARGS, "Block all signals in this thread: the mask that was."},
    {"set_parent_death_kill", set_parent_death_kill, METH_NOARGS, "SIGKILL this process when the thread that forked it ends."},
    {"zygote_main", zygote_main, METH_VARARGS, "Serve as the zygote of a pool: the exit code."},
    {"worker_enrol", worker_enrol, METH_O, "A worker's first acts: own group, watcher, hello. The handle for the other functions."},
    {"worker_unblock", worker_unblock, METH_O, "Put the caller's signal mask back."},
    {"worker_init_failed", worker_init_failed, METH_VARARGS, "Tell the pool why this worker cannot start."},
    {"worker_run", worker_run, METH_VARARGS, "Say ready and run tasks until the end: the exit code."},
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace

bool add_worker(PyObject* module) { return PyModule_AddFunctions(module, methods) == 0; }

}  // namespace holdfast::python
