"""The control page and the orders: how workers, the runner and the killing agent of a fault run talk, whatever pool is under test.

The page is a small file, mapped by everybody (a name in the run's own temporary folder, not a memfd: leaks are counted in those).
Each slot is one 64-bit word with one writer at a time; readers poll or read after the fact, so plain stores are enough.
Orders go through a FIFO, one struct per write (atomic below PIPE_BUF), to the agent process that kills on them.
"""

# Files are opened by name, as the kernel gives them (/proc, descriptors):
# ruff: noqa: PTH110, PTH123, PTH202
from __future__ import annotations

import mmap
import os
import struct
import time

FOLDER_NAME = "HOLDFAST_FAULTS_FOLDER"  # environment: where page and orders are

# Slots of the page. Written by the worker that dies unless said.
DEATH_NS, VICTIM, FIRED, STARTS = 0, 1, 2, 3
KILLED_NS, EXIT_NS = 4, 5  # by the agent: right before its signal; when the pidfd of the victim fired
GATHER = 6  # by the runner: how many workers the agent waits for
GO = 7  # by the agent: all are gathered
FORGOTTEN = 8  # by the agent: it has carried out FORGET, and with it all orders before
DELAY_US = 9  # by the runner: for the orders that workers give
LOST = 16  # 16 + index: set for each item under which a worker was gathered
WATCHED, WATCHED_SLOTS = 32, 32  # by the agent: a pid whose exit it watches, in slot WATCHED + pid % WATCHED_SLOTS
SLOTS = 64

# Orders: (operation, pid, signal, delay in microseconds)
KILL, STOP_THEN_KILL, GATHER_IN, WATCH, FORGET = 1, 2, 3, 4, 5
ORDER = struct.Struct("=qqqq")

_page: memoryview | None = None


def folder() -> str:
    return os.environ[FOLDER_NAME]


def create() -> None:
    """Make page and FIFO in the folder (runner, once)."""
    with open(f"{folder()}/page", "wb") as file:
        file.truncate(SLOTS * 8)
    os.mkfifo(f"{folder()}/orders")


def page() -> memoryview:
    """The page as 64-bit words; mapped on first use in each process."""
    global _page
    if _page is None:
        descriptor = os.open(f"{folder()}/page", os.O_RDWR | os.O_CLOEXEC)
        try:
            _page = memoryview(mmap.mmap(descriptor, SLOTS * 8)).cast("q")
        finally:
            os.close(descriptor)
    return _page


def reset() -> None:
    """All slots to zero, and the agent's memory too (runner, before each case). The agent first: what it still had to say is of the last case."""
    words = page()
    words[FORGOTTEN] = 0
    order(FORGET)
    wait_slot(FORGOTTEN, 1)
    for slot in range(SLOTS):
        words[slot] = 0
    with open(f"{folder()}/armed", "wb"):
        pass


def order(operation: int, pid: int = 0, signal_number: int = 0, delay_us: int = 0) -> None:
    """Send one order to the agent. The descriptor is opened per order: a task may have closed or inherited anything."""
    descriptor = os.open(f"{folder()}/orders", os.O_WRONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        os.write(descriptor, ORDER.pack(operation, pid, signal_number, delay_us))
    finally:
        os.close(descriptor)


def armed() -> None:
    """One worker more is where the case wants it: a byte appended to a file, since two workers may say so at the same time."""
    descriptor = os.open(f"{folder()}/armed", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC)
    try:
        os.write(descriptor, b"x")
    finally:
        os.close(descriptor)


def wait_armed(count: int) -> None:
    """Until *count* calls of `armed`; whoever has started this process has the limit."""
    while not os.path.exists(f"{folder()}/armed") or os.path.getsize(f"{folder()}/armed") < count:
        time.sleep(0.002)


def wait_slot(slot: int, at_least: int) -> None:
    """Poll until the slot has reached the value; without a limit, as above."""
    words = page()
    while words[slot] < at_least:
        time.sleep(0.0002)


def be_watched() -> None:
    """Until the agent watches for this process's exit (a dead and reaped pid cannot be watched any more)."""
    words, pid = page(), os.getpid()
    polls = 0
    while words[WATCHED + pid % WATCHED_SLOTS] != pid:
        if polls % 200 == 0:  # again: another one that dies in the same moment may have the same slot
            order(WATCH, pid)
        polls += 1
        time.sleep(0.0001)
