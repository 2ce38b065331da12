"""Worker-side tasks of test_orphans.py: most never end by themselves."""

# Files are opened by name, as the kernel gives them (/proc, descriptors):
from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import time

from faults import control, worker_side


def sleeps() -> None:
    control.armed()
    time.sleep(1000)


def computes() -> None:
    control.armed()
    while True:
        pass


def holds_the_gil() -> None:
    """In C code that never gives the GIL up."""
    control.armed()
    ctypes.PyDLL(None).sleep(1000)


def is_done() -> None:
    """Its worker is idle from now on."""
    control.armed()


def stops_itself() -> None:
    control.armed()
    os.kill(os.getpid(), signal.SIGSTOP)


def _daemonise() -> None:
    """The double fork: no parent, no session, no group in common with the worker."""
    pid = os.fork()
    if pid == 0:
        os.setsid()
        if os.fork() == 0:
            while True:
                time.sleep(1000)
        os._exit(0)
    os.waitpid(pid, 0)


def leaves_grandchildren() -> None:
    for kind in ("group", "setsid"):
        worker_side.leave_grandchild(kind)
    _daemonise()
    sleeps()


def starts_programs() -> None:
    """What tasks really start: programs, one of them in a session of its own, one that ignores what can be ignored."""
    subprocess.Popen(["/bin/sleep", "1000"])
    subprocess.Popen(["/bin/sleep", "1000"], start_new_session=True)
    subprocess.Popen(["/bin/sh", "-c", "trap '' HUP INT TERM; /bin/sleep 1000; :"])
    sleeps()


def leaves_grandchildren_and_stops() -> None:
    for kind in ("group", "setsid"):
        worker_side.leave_grandchild(kind)
    _daemonise()
    stops_itself()
