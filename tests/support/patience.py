"""How long tests wait, and how they measure the times that promises name. Imported by tests and by the programs that they start.

A wait for something that will be true has no limit of its own: the test's outer limit (outer_limit.py) ends it, and `seconds_left` lets the
wait end shortly before that, so that it can say what it waited for. A time that a promise names (100 ms for a Ctrl-C, one second for orphans,
the grace period and a second) is stated for a machine that has nothing else to do: `Stopwatch` allows for what others took of it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

RESERVE_SECONDS = 5.0  # of the outer limit, for the words and the stacks that tell of a wait in vain

_limit_at = float("inf")


def set_limit(at: float) -> None:
    """The outer limit of the running test, on the monotonic clock (by outer_limit.py)."""
    global _limit_at
    _limit_at = at


def seconds_left() -> float:
    """Until shortly before the test's outer limit; for ever in a program, whose starter has the limit."""
    return max(0.0, _limit_at - RESERVE_SECONDS - time.monotonic())


def until(done: Callable[[], object], limit_s: float | None = None) -> bool:
    """Waits until done(), for what has no event to wait for; False when the test's time is over (or the caller's *limit_s*, if it has one)."""
    ends_at = time.monotonic() + (seconds_left() if limit_s is None else limit_s)
    while not done():
        if time.monotonic() > ends_at:
            return False
        time.sleep(0.002)
    return True


class Stopwatch:
    """Runs from where it is made. Only for times that a promise names; everything else is waited for without a limit.

    Allowed beyond the promise: what tasks of this machine waited for a processor meanwhile (/proc/pressure/cpu, a mean of all processors:
    hence times their number, as one of them may have had all of it), and the share of the others by the load average, for machines
    that do not tell the first, or not all of it (a quota, a busy host).
    """

    def __init__(self) -> None:
        self._delayed = _delayed()
        self.began = time.monotonic()

    def late(self, promised_s: float, at: float | None = None) -> str:
        """ "" when not more than *promised_s* has passed until now (or *at*, on the monotonic clock); else how long it was, in words."""
        took = (time.monotonic() if at is None else at) - self.began
        delayed = (os.cpu_count() or 1) * (_delayed() - self._delayed)
        allowed = promised_s * (1 + os.getloadavg()[0]) + delayed
        return "" if took < allowed else f"took {took:.3f} s, promised {promised_s:g} s, allowed now {allowed:.3f} s"

    def check(self, promised_s: float, at: float | None = None) -> None:
        """Fails the test when late."""
        late = self.late(promised_s, at)
        assert not late, late


def _delayed() -> float:
    """Seconds, since the machine's start, in which some task was ready to run and had no processor; 0 where the kernel does not count them."""
    try:
        words = Path("/proc/pressure/cpu").read_text().split()
    except OSError:
        return 0.0
    return int(words[4].removeprefix("total=")) / 1e6 if len(words) > 4 else 0.0
