"""Worker-side tasks of test_orphans.py: they never end by themselves."""

# Files are opened by name, as the kernel gives them (/proc, descriptors):
from __future__ import annotations

import os
import signal
import time

from faults import control, worker_side


def sleeps() -> None:
    control.armed()
    time.sleep(1000)


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


def leaves_grandchildren_and_stops() -> None:
    for kind in ("group", "setsid"):
        worker_side.leave_grandchild(kind)
    _daemonise()
    stops_itself()
