"""holdfast: a process pool that holds.

>>> from holdfast import Pool
>>> with Pool(4) as pool:
...     pool.map(abs, range(-3, 3))
[3, 2, 1, 0, 1, 2]

A drop-in for ``multiprocessing.Pool``. A worker may be killed, crash, exit, raise anywhere, ignore signals or run out of
memory; the pool goes on, says what happened to which task and why, and ends when it is told to.
"""

from __future__ import annotations

import sys as _sys

if not _sys.platform.startswith("linux"):
    raise ImportError(
        f"holdfast runs on Linux only (it is built on pidfd, memfd and futex); this is {_sys.platform}. "
        "Use multiprocessing.Pool here, or run under Linux."
    )

# What a name needs is loaded when it is first asked for: the processes that a pool starts import this package, too, and need little of it.
TYPE_CHECKING = False  # not typing's, for the same reason
if TYPE_CHECKING:
    from ._errors import (
        CancelledError,
        HoldfastError,
        OutOfMemoryError,
        PoolAbortedError,
        PoolBrokenError,
        PoolTerminatedError,
        ResultDecodeError,
        SoftTimeoutError,
        SubProcessKilledException,
        Task,
        TaskTimeoutError,
        WorkerDiedError,
    )
    from ._options import Retry
    from ._pool import Pool
    from ._report import ExitReport
    from ._results import AsyncResult, IMapIterator, IMapUnorderedIterator, MapResult, StallWarning
    from ._safepool import SafePool

__version__ = "0.1.0"

__all__ = [
    "AsyncResult",
    "CancelledError",
    "ExitReport",
    "HoldfastError",
    "IMapIterator",
    "IMapUnorderedIterator",
    "MapResult",
    "OutOfMemoryError",
    "Pool",
    "PoolAbortedError",
    "PoolBrokenError",
    "PoolTerminatedError",
    "ResultDecodeError",
    "Retry",
    "SafePool",
    "SoftTimeoutError",
    "StallWarning",
    "SubProcessKilledException",
    "Task",
    "TaskTimeoutError",
    "WorkerDiedError",
]

_MODULES = {
    "ExitReport": "_report",
    "Pool": "_pool",
    "Retry": "_options",
    "SafePool": "_safepool",
    **dict.fromkeys(("AsyncResult", "IMapIterator", "IMapUnorderedIterator", "MapResult", "StallWarning"), "_results"),
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value: object = getattr(import_module(f"{__name__}.{_MODULES.get(name, '_errors')}"), name)
    globals()[name] = value  # asked for once
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
