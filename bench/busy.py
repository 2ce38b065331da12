"""How busy the machine is with other things, and making it so on purpose. Used by run.py (before each cell) and the loaded workloads."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

PR_SET_PDEATHSIG = 1


def _busy_ticks() -> int:
    """Clock ticks that all cores have spent on anything but idling, stolen time among it."""
    _user, *_rest = fields = [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return sum(fields) - fields[3] - fields[4]  # idle, iowait


def cores_used_by_others(seconds: float = 0.25) -> float:
    """Cores that were in use during the next *seconds*, in which this process only sleeps. 0.0 on a quiet machine."""
    ticks, began = _busy_ticks(), time.monotonic()
    time.sleep(seconds)
    used = (_busy_ticks() - ticks) / os.sysconf("SC_CLK_TCK")
    return used / (time.monotonic() - began)


def _spin(parent: int) -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it died before the line above
        os._exit(1)
    while True:
        pass


@contextlib.contextmanager
def busy_processes(count: int) -> Iterator[None]:
    """*count* processes that do nothing but compute, pinned nowhere, of normal priority; killed by pid afterwards, or with this process."""
    parent, pids = os.getpid(), []
    try:
        for _ in range(count):
            pid = os.fork()
            if pid == 0:
                _spin(parent)
            pids.append(pid)
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
