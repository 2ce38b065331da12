"""What the workers run."""

from __future__ import annotations

import mmap
import os
import signal
import time
from typing import Any

_page = mmap.mmap(-1, mmap.PAGESIZE)
last_act = memoryview(_page).cast("q")  # [0]: nanoseconds of a victim's last act; shared with forked workers


def same(value: Any) -> Any:
    return value


def whoami() -> int:
    return os.getpid()


def filled(count: int, value: float) -> Any:
    """An array of *count* float64s."""
    import numpy

    return numpy.full(count, value)


_kept: dict[int, Any] = {}


def kept(count: int, last: float) -> Any:
    """An array of 0.0, 1.0, ... but for its last element; the same memory each time."""
    import numpy

    if count not in _kept:
        _kept[count] = numpy.arange(count, dtype=float)
    _kept[count][-1] = last
    return _kept[count]


def total(array: Any) -> float:
    """The sum of the whole array; then it is written to, which no other task and not the caller may see."""
    answer = float(array.sum())
    if array.flags.writeable:
        array[0] = -1.0
    return answer


def die(by_signal: bool) -> None:
    """End this worker; the last thing it does is look at the clock."""
    time.sleep(0.02)  # the caller is asleep in its wait by now
    last_act[0] = time.monotonic_ns()
    if by_signal:
        os.kill(os.getpid(), signal.SIGKILL)
    os._exit(0)


def now(_: int) -> int:
    """When a task begins to run."""
    return time.monotonic_ns()


def rest(item: tuple[int, float]) -> tuple[int, float]:
    """Sleep for the item's seconds; its number, and how long that really took."""
    number, seconds = item
    began = time.perf_counter()
    time.sleep(seconds)
    return number, time.perf_counter() - began


def wait_for_byte(descriptor: int) -> bytes:
    """Block until the caller writes a byte (or closes the pipe)."""
    return os.read(descriptor, 1)
