"""Peers with the interface of concurrent.futures.Executor (or nearly).

An executor's own default chunk size is 1; map() here gives it the standard Pool's, so that the row compares like with like.
"""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from peers import Unsupported


class ExecutorPeer:
    death_errors: tuple[type[BaseException], ...] = ()  # what tells the caller of a death
    broken_by_death = False  # a new executor is needed then
    inherits = True  # its workers have what this process has when it is opened
    # wait(call, timeout=None): no function of ours around what is measured.
    wait = staticmethod(concurrent.futures.Future.result)

    def __init__(self, executor: Any, workers: int) -> None:
        self.executor = executor
        self.workers = workers

    def submit(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        """Start a call: what is returned is the executor's own future, for `wait`."""
        return self.executor.submit(function, *arguments)

    def apply(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        return self.wait(self.submit(function, arguments))

    def map(self, function: Callable[..., Any], items: Any, chunksize: int | None = None) -> list[Any]:
        return list(self.imap(function, items, chunksize or -(-len(items) // (4 * self.workers))))

    def imap(self, function: Callable[..., Any], items: Iterable[Any], chunksize: int) -> Iterator[Any]:
        return self.executor.map(function, items, chunksize=chunksize)  # type: ignore[no-any-return]

    def imap_unordered(self, function: Callable[..., Any], items: Iterable[Any], chunksize: int) -> Iterator[Any]:
        return self.imap(function, items, chunksize)  # an executor has no other

    def end(self) -> None:
        self.executor.shutdown(cancel_futures=True)


class StandardExecutor(ExecutorPeer):
    def __init__(self, workers: int, context: Any) -> None:
        from concurrent.futures import ProcessPoolExecutor
        from concurrent.futures.process import BrokenProcessPool

        super().__init__(ProcessPoolExecutor(workers, mp_context=context), workers)
        self.death_errors = (BrokenProcessPool,)
        self.broken_by_death = True


class LokyExecutor(ExecutorPeer):
    """Starts its workers by its own method, "loky" (a clean start and exec), whatever context is asked for: it deprecates fork."""

    def __init__(self, workers: int, context: Any) -> None:
        import loky

        super().__init__(loky.get_reusable_executor(max_workers=workers), workers)
        self.death_errors = (loky.BrokenProcessPool,)
        self.broken_by_death = True
        self.inherits = False

    def end(self) -> None:
        self.executor.shutdown(kill_workers=True)


class DeadpoolExecutor(ExecutorPeer):
    """Deadpool.submit blocks when max_backlog tasks wait; its default is lifted, as the others have none."""

    def __init__(self, workers: int, context: Any) -> None:
        import deadpool

        super().__init__(deadpool.Deadpool(max_workers=workers, mp_context=context, max_backlog=1 << 30), workers)
        self.death_errors = (deadpool.ProcessError,)


class JoblibPeer(ExecutorPeer):
    """joblib.Parallel with its default backend (loky). Whole calls only: there is no way to submit one task."""

    inherits = False

    def __init__(self, workers: int, context: Any) -> None:
        from joblib.externals.loky import get_reusable_executor

        self.workers = workers
        self.executor = get_reusable_executor  # for end(); Parallel finds it by itself

    def submit(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        raise Unsupported("takes whole calls only")

    def apply(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        return next(self._call([(function, arguments, {})], 1, "generator"))

    def imap(self, function: Callable[..., Any], items: Iterable[Any], chunksize: int) -> Iterator[Any]:
        return self._call(((function, (item,), {}) for item in items), chunksize, "generator")

    def imap_unordered(self, function: Callable[..., Any], items: Iterable[Any], chunksize: int) -> Iterator[Any]:
        return self._call(((function, (item,), {}) for item in items), chunksize, "generator_unordered")

    def _call(self, calls: Iterable[Any], batch_size: int, kind: str) -> Iterator[Any]:
        import joblib

        parallel = joblib.Parallel(n_jobs=self.workers, batch_size=batch_size, return_as=kind)
        return parallel(calls)  # type: ignore[no-any-return]

    def end(self) -> None:
        self.executor().shutdown(wait=True, kill_workers=True)


class PebblePeer(ExecutorPeer):
    def __init__(self, workers: int, context: Any) -> None:
        import pebble

        super().__init__(pebble.ProcessPool(max_workers=workers, context=context), workers)
        self.death_errors = (pebble.ProcessExpired,)

    def submit(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        return self.executor.schedule(function, arguments)

    def imap(self, function: Callable[..., Any], items: Iterable[Any], chunksize: int) -> Iterator[Any]:
        return self.executor.map(function, items, chunksize=chunksize).result()  # type: ignore[no-any-return]

    def end(self) -> None:
        self.executor.stop()
        self.executor.join()
