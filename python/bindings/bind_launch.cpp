// What: Core.launch_zygote: starts the pool's zygote as a child of this process, in one call into C. A signal handler's exception can come between
// any two lines of Python in the main thread, also while that blocks all signals (another thread takes the signal, the handler runs in main):
// a pid would be lost, and that child never reaped; a descriptor would be lost; the mask would stay blocked. So everything that must be
// undone or kept is held here, and the two callables that are given run no Python code of ours between the birth and its record.
//
// Tests: faults/test_interpreter_exit.py (interrupted_at_any_moment, interrupted_while_opening).
#include "python.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <utility>

#include "bindings.hpp"
#include "errors.hpp"
#include "objects.hpp"
#include "submit.hpp"
#include "sys/signals.hpp"

namespace holdfast::python {
namespace {

/// What a zygote is born with: its line, copies of the bell page and of this process's pidfd (the pool's own are closed in a forked child, one
/// about to exec included, by the pool's fork hooks), an empty file for what a fresh interpreter reads first, a pipe for the failure of its exec.
struct Birth {
  UniqueFd socket, bell, parent, message, failure_read, failure_write;
};

Status open_birth(pool::Engine& engine, Birth& birth) {
  auto seed = engine.prepare_zygote();
  if (!seed) return seed.error();
  birth.socket = std::move(seed->socket);
  auto bell = sys::duplicate(seed->bell_fd);
  if (!bell) return bell.error();
  birth.bell = *std::move(bell);
  auto parent = sys::duplicate(seed->parent_pidfd);
  if (!parent) return parent.error();
  birth.parent = *std::move(parent);
  birth.message.reset(memfd_create("holdfast-zygote", MFD_CLOEXEC));
  if (!birth.message) return Error{ErrorCode::os_error, errno, "memfd_create", "for the zygote's first message"};
  int ends[2] = {-1, -1};
  if (pipe2(ends, O_CLOEXEC) != 0) return Error{ErrorCode::os_error, errno, "pipe2", "for the zygote"};
  birth.failure_read.reset(ends[0]);
  birth.failure_write.reset(ends[1]);
  return ok_status();
}

/// prepare((socket, bell, parent pidfd), message, (failure_read, failure_write), mask) gives the callable that gives birth.
PyObject* prepared(PyObject* prepare, const Birth& birth, const sigset_t& mask) {
  PyObject* blocked = mask_to_tuple(mask);
  if (blocked == nullptr) return nullptr;
  return PyObject_CallFunction(prepare, "(iii)i(ii)N", birth.socket.get(), birth.bell.get(), birth.parent.get(), birth.message.get(),
                               birth.failure_read.get(), birth.failure_write.get(), blocked);
}

/// The pid; -1 with a Python error set. A forked child does not come back here.
long give_birth(pool::Engine& engine, PyObject* prepare, const sigset_t& mask) {
  Birth birth;
  if (const Status opened = open_birth(engine, birth); !opened) {
    (void)set_error(opened.error());
    return -1;
  }
  PyObject* fork = prepared(prepare, birth, mask);
  PyObject* started = fork == nullptr ? nullptr : PyObject_CallNoArgs(fork);
  Py_XDECREF(fork);
  if (started == nullptr) return -1;
  const long pid = PyLong_AsLong(started);
  Py_DECREF(started);
  if (pid > 0) {
    if (const Status told = engine.zygote_running(static_cast<int>(pid), /*is_our_child=*/true); !told) {
      (void)set_error(told.error());
      return -1;
    }
  }
  return pid;
}

}  // namespace

/// launch_zygote(prepare) -> pid
PyObject* core_launch_zygote(PyObject* object, PyObject* prepare) {
  const sigset_t mask = sys::block_all();
  const long pid = give_birth(*as_core(object)->engine, prepare, mask);
  sys::restore_mask(mask);
  return pid < 0 ? nullptr : PyLong_FromLong(pid);
}

}  // namespace holdfast::python
