"""What the programs of this folder have in common: a task to wait for, and every call of a pool that waits for one."""

from __future__ import annotations

import signal
import time
from typing import Any

from faults import control


def same(value: Any) -> Any:
    return value


def sleep(_: object = None) -> None:
    """Dies of the KeyboardInterrupt, like most tasks."""
    control.armed()
    time.sleep(1000)


def be_deaf() -> None:
    """For an initializer: the worker ignores what asks it to end."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


WAITS = {
    "map": lambda pool: pool.map(sleep, range(4), chunksize=1),
    "starmap": lambda pool: pool.starmap(sleep, [(0,)] * 4, chunksize=1),
    "apply": lambda pool: pool.apply(sleep),
    "get": lambda pool: pool.apply_async(sleep).get(),
    "get_limited": lambda pool: pool.apply_async(sleep).get(500),
    "wait": lambda pool: pool.apply_async(sleep).wait(),
    "next": lambda pool: next(pool.imap(sleep, range(4))),
    "next_limited": lambda pool: pool.imap(sleep, range(4)).next(500),
    "next_unordered": lambda pool: next(pool.imap_unordered(sleep, range(4))),
    "close_join": lambda pool: (pool.map_async(sleep, range(4), chunksize=1), pool.close(), pool.join()),
}
