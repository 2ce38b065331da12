"""Tasks of test_worker_view.py: what a worker sees of its process, and what it may do in it."""

import ctypes
import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import holdfast


def same(value):
    return value


def square(number):
    return number * number


def view():
    """Everything that can be compared with a process of multiprocessing's own."""
    current, parent = multiprocessing.current_process(), multiprocessing.parent_process()
    return {
        "name": current.name,
        "daemon": current.daemon,
        "identity": current._identity,
        "authkey": bytes(current.authkey),
        "parent": (parent.pid, parent.name, parent.is_alive()),
        "stdin": os.fstat(0).st_rdev == Path("/dev/null").stat().st_rdev and sys.stdin.read() == "",
        "mask": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
        "sigchld": signal.getsignal(signal.SIGCHLD),
        "sigint": signal.getsignal(signal.SIGINT),
        "sigpipe": signal.getsignal(signal.SIGPIPE),
        "threads": [thread.name for thread in threading.enumerate()],
        "children": multiprocessing.active_children(),
        "main_thread": threading.current_thread() is threading.main_thread(),
        "argv": sys.argv,
        "path": sys.path,
        "cwd": str(Path.cwd()),
        "session": os.getsid(0),
        "leads_group": os.getpgrp() == os.getpid(),
    }


def own_session():
    """What some libraries' workers do: it must not fail."""
    os.setsid()
    return os.getsid(0) == os.getpid()


def run_program(text):
    """A subprocess, its output and its exit code."""
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=False)
    return done.stdout, done.returncode


def run_process():
    """A process of multiprocessing's, by the worker's own start method."""
    queue = multiprocessing.SimpleQueue()
    process = multiprocessing.Process(target=queue.put, args=(os.getpid(),))
    process.start()
    process.join()
    return queue.get() == os.getpid(), process.exitcode


def nested_maps(depth):
    """Pools within pools."""
    if depth == 0:
        return os.getpid()
    with holdfast.Pool(2) as pool:
        return pool.map(nested_maps, [depth - 1] * 2)


def fork_and_wait():
    """Forking in a worker gives no warning of ours (3.12 and later warn when there are threads)."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("error")
        pid = os.fork()
        if pid == 0:
            os._exit(3)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return code, [str(warning.message) for warning in caught]


# --- the zygote's end -----------------------------------------------------------------------------------------------------


def kill_zygote_then(how):
    """The zygote first, then this worker: nobody but the pool is left to say how."""
    os.kill(os.getppid(), signal.SIGKILL)
    while os.getppid() == ZYGOTE:
        time.sleep(0.001)
    if how == "exit":
        os._exit(7)
    if how == "signal":
        os.kill(os.getpid(), signal.SIGSEGV)
    return how


ZYGOTE = 0


def note_zygote():
    global ZYGOTE
    ZYGOTE = os.getppid()


# --- a lock that somebody held at the fork --------------------------------------------------------------------------------

LOCK = threading.Lock()


def take_lock():
    with LOCK:
        return "taken"


def log_something(number):
    logging.getLogger("holdfast-test").warning("line %d", number)
    return number


# --- waits ---------------------------------------------------------------------------------------------------------------


def wait_here(path):
    """Asleep in the kernel until somebody opens the FIFO."""
    with open(path):  # noqa: PTH123
        return "done"


def sleep_in_c_with_the_gil(seconds):
    ctypes.PyDLL(None).sleep(seconds)
    return "done"


def compute(seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass
    return "done"


def compute_without_a_processor(seconds):
    """Beside a busy process that has the processor nearly whole."""
    one = {min(os.sched_getaffinity(0))}
    os.sched_setaffinity(0, one)
    other = subprocess.Popen(
        [sys.executable, "-c", "while True: pass"]
    )  # inherits the processor, and the normal policy
    try:
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
        return compute(seconds)
    finally:
        other.kill()
        other.wait()


def waits_in_a_thread(path):
    thread = threading.Thread(target=wait_here, args=(path,), name="the other")
    thread.start()
    thread.join()
    return "done"


# --- initializers ---------------------------------------------------------------------------------------------------------


def fail_after(path, good, how):
    """The first *good* starts work; every later one fails."""
    with Path(path).open("ab", buffering=0) as file:
        file.write(b"x")
        number = file.tell()  # where its own byte ended: two that start at once have two numbers
    if number <= good:
        return
    if how == "raises":
        raise RuntimeError("the database is away")
    if how == "exits":
        sys.exit(9)
    if how == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    os._exit(4)


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def pid_and_name():
    return os.getpid(), multiprocessing.current_process().name


def write_pid(folder):
    (Path(folder) / str(os.getpid())).touch()
