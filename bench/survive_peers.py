"""The peers of the survey (survive.py), each behind three verbs: open, begin a call over items, end.

begin() uses the documented call of the peer that gives one outcome per item, so that the peer can show the best it has: imap, pebble's
map iterator, submit or apply_async; joblib's generator stops at the first error. Chunks are single items everywhere, everything else is
as the peer has it by default (start method, time-outs); end() is the peer's own most forceful documented way to stop.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from typing import Any

WORKERS = 2
Takes = list[Callable[[], Any]]  # one per item, in order: its result, or raises


def each(call: Callable[[int], Callable[[], Any]], items: Iterable[int]) -> Takes:
    """One submission per item; a refused submission is that item's outcome."""

    def failed(error: BaseException) -> Any:
        raise error

    takes: Takes = []
    for item in items:
        try:
            takes.append(call(item))
        except Exception as error:
            takes.append(lambda error=error: failed(error))
    return takes


class ImapPool:
    """holdfast.Pool and multiprocessing.Pool: imap."""

    def __init__(self, make: Callable[..., Any], initializer: Callable[[], None] | None) -> None:
        self.pool = make(WORKERS, initializer)

    def begin(self, function: Callable[[int], Any], items: range) -> Takes:
        return [self.pool.imap(function, items).__next__] * len(items)

    def end(self) -> None:
        self.pool.terminate()
        self.pool.join()


class BilliardPool(ImapPool):
    """apply_async: the call that billiard's documentation and Celery use, and the one that knows which worker has the task."""

    def begin(self, function: Callable[[int], Any], items: range) -> Takes:
        return each(lambda item: self.pool.apply_async(function, (item,)).get, items)


class Executor:
    """concurrent.futures and deadpool: submit."""

    def __init__(self, make: Callable[..., Any], initializer: Callable[[], None] | None) -> None:
        self.executor = make(max_workers=WORKERS, initializer=initializer)

    def begin(self, function: Callable[[int], Any], items: range) -> Takes:
        return each(lambda item: self.executor.submit(function, item).result, items)

    def end(self) -> None:
        self.executor.shutdown(wait=True, cancel_futures=True)


class Loky:
    """get_reusable_executor() before each call, as loky documents: it replaces an executor that broke."""

    def __init__(self, make: Callable[..., Any], initializer: Callable[[], None] | None) -> None:
        self.make = make
        self.initializer = initializer

    def begin(self, function: Callable[[int], Any], items: range) -> Takes:
        executor = self.make(max_workers=WORKERS, initializer=self.initializer)
        return each(lambda item: executor.submit(function, item).result, items)

    def end(self) -> None:
        self.make(max_workers=WORKERS, initializer=self.initializer).shutdown(wait=True, kill_workers=True)


class Pebble:
    """ProcessPool.map: its future's iterator raises per item and goes on."""

    def __init__(self, make: Callable[..., Any], initializer: Callable[[], None] | None) -> None:
        self.pool = make(max_workers=WORKERS, initializer=initializer)

    def begin(self, function: Callable[[int], Any], items: range) -> Takes:
        future = self.pool.map(function, items)
        results: list[Any] = []

        def take() -> Any:
            if not results:
                results.append(future.result())
            return next(results[0])

        return [take] * len(items)

    def end(self) -> None:
        self.pool.stop()
        self.pool.join()


class Mpire:
    """apply_async, which goes on after a task's own exception. A death fails all that is queued; the next call then starts with
    terminate(), which mpire's map and imap do by themselves before they raise, and which lets the pool be used again.
    """

    def __init__(self, make: Callable[..., Any], initializer: Callable[[], None] | None) -> None:
        self.pool = make(n_jobs=WORKERS)
        self.initializer = initializer
        self.died = False

    def call(self, function: Callable[[int], Any], item: int) -> Callable[[], Any]:
        result = self.pool.apply_async(function, (item,), worker_init=self.initializer)

        def take() -> Any:
            try:
                return result.get()
            except RuntimeError:
                self.died = True
                raise

        return take

    def begin(self, function: Callable[[int], Any], items: range) -> Takes:
        if self.died:
            self.pool.terminate()
            self.died = False
        return each(lambda item: self.call(function, item), items)

    def end(self) -> None:
        self.pool.terminate()


class Joblib:
    """Parallel (loky backend) as a generator; a new call takes the executor that is there, or a fresh one."""

    def __init__(self, make: Callable[..., Any], initializer: Callable[[], None] | None) -> None:
        self.parallel = make
        self.options = {} if initializer is None else {"initializer": initializer}

    def begin(self, function: Callable[[int], Any], items: range) -> Takes:
        import joblib

        with joblib.parallel_config("loky", **self.options):
            results = self.parallel(n_jobs=WORKERS, return_as="generator", batch_size=1)(
                joblib.delayed(function)(item) for item in items
            )
        self.close = results.close
        return [results.__next__] * len(items)

    def end(self) -> None:
        self.close()  # the documented way to give a call up
        from joblib.externals.loky import get_reusable_executor

        get_reusable_executor().shutdown(wait=True, kill_workers=True)


# name: (distribution, module, what opens it, adapter, the call)
PEERS: dict[str, tuple[str | None, str, str, Any, str]] = {
    "holdfast": ("holdfast", "holdfast", "Pool", ImapPool, "imap"),
    "multiprocessing.Pool": (None, "multiprocessing", "Pool", ImapPool, "imap"),
    "ProcessPoolExecutor": (None, "concurrent.futures", "ProcessPoolExecutor", Executor, "submit"),
    "loky": ("loky", "loky", "get_reusable_executor", Loky, "submit"),
    "pebble": ("pebble", "pebble", "ProcessPool", Pebble, "map"),
    "deadpool": ("deadpool-executor", "deadpool", "Deadpool", Executor, "submit"),
    "billiard": ("billiard", "billiard.pool", "Pool", BilliardPool, "apply_async"),
    "mpire": ("mpire", "mpire", "WorkerPool", Mpire, "apply_async"),
    "joblib": ("joblib", "joblib", "Parallel", Joblib, "Parallel"),
}


def open_peer(name: str, initializer: Callable[[], None] | None = None) -> Any:
    """A fresh pool of the named peer. ImportError: it is not installed here."""
    _distribution, module, make, adapter, _call = PEERS[name]
    return adapter(getattr(importlib.import_module(module), make), initializer)
