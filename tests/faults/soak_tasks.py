"""Tasks of soak.py. Each marks its run in a page that all workers map, so that what ran can be compared with what was told."""

# Files are opened by name, as the kernel gives them (/proc, descriptors):
# ruff: noqa: PTH123
from __future__ import annotations

import mmap
import os
import signal
import subprocess
import sys
import time
from typing import Any

PAGE: mmap.mmap | None = None
SLOTS = 1 << 16
KINDS = ("quick", "short", "large", "raises", "exits", "dies", "forks", "starts_program", "leaves_child")
WEIGHTS = (60, 15, 6, 8, 2, 3, 2, 2, 2)


class Planned(Exception):
    """What a task raises on purpose."""


def open_page(path: str) -> None:
    """The initializer."""
    global PAGE
    with open(path, "r+b") as file:
        PAGE = mmap.mmap(file.fileno(), SLOTS)


def run(item: tuple[int, str]) -> Any:
    """One task: marks its slot, then does what its kind says."""
    slot, kind = item
    assert PAGE is not None
    PAGE[slot] = min(255, PAGE[slot] + 1)
    return ACTS[kind](slot)


def expected(slot: int, kind: str) -> Any:
    """What a task that was left alone returns; None for those that never do."""
    if kind in ("raises", "exits", "dies"):
        return None
    return bytes([slot % 251]) * (300_000 + slot) if kind == "large" else slot


def quick(slot: int) -> int:
    return slot


def short(slot: int) -> int:
    time.sleep(0.002)
    return slot


def large(slot: int) -> bytes:
    return bytes([slot % 251]) * (300_000 + slot)


def raises(slot: int) -> None:
    raise Planned(slot)


def exits(_slot: int) -> None:
    sys.exit(3)


def dies(_slot: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def forks(slot: int) -> int:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return slot


def starts_program(slot: int) -> int:
    subprocess.run(["/bin/true"], check=False)
    return slot


def leaves_child(slot: int) -> int:
    subprocess.Popen(["/bin/sleep", "0.05"])
    return slot


ACTS = {
    "quick": quick,
    "short": short,
    "large": large,
    "raises": raises,
    "exits": exits,
    "dies": dies,
    "forks": forks,
    "starts_program": starts_program,
    "leaves_child": leaves_child,
}
