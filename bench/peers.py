"""The peers, each behind the same few verbs: holdfast.Pool, multiprocessing.Pool, concurrent.futures.ProcessPoolExecutor."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any


class PoolPeer:
    """holdfast.Pool and multiprocessing.Pool: the same calls."""

    def __init__(self, pool: Any) -> None:
        self.pool = pool
        self.apply = pool.apply
        self.map = pool.map
        self.imap_unordered = pool.imap_unordered

    def submit(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Callable[..., Any]:
        """Start a call; the returned function waits for its result (and takes a time-out)."""
        return self.pool.apply_async(function, arguments).get  # type: ignore[no-any-return]

    def end(self) -> None:
        self.pool.terminate()
        self.pool.join()


class ExecutorPeer:
    """ProcessPoolExecutor. Its own default chunk size is 1; it gets the Pool's default, so that the row compares like with like."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self.executor = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("fork"))

    def apply(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        return self.executor.submit(function, *arguments).result()

    def map(self, function: Callable[..., Any], items: range, chunksize: int | None = None) -> list[Any]:
        return list(self.executor.map(function, items, chunksize=chunksize or -(-len(items) // (4 * self.workers))))

    def imap_unordered(self, function: Callable[..., Any], items: Iterable[Any], chunksize: int) -> Iterator[Any]:
        return self.executor.map(function, items, chunksize=chunksize)

    def submit(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Callable[..., Any]:
        return self.executor.submit(function, *arguments).result

    def end(self) -> None:
        self.executor.shutdown(cancel_futures=True)


def open_peer(name: str, workers: int) -> Any:
    """A fresh pool of the named peer, all by fork."""
    if name == "ProcessPoolExecutor":
        return ExecutorPeer(workers)
    if name == "multiprocessing.Pool":
        return PoolPeer(multiprocessing.get_context("fork").Pool(workers))
    import holdfast

    return PoolPeer(holdfast.Pool(workers, context=multiprocessing.get_context("fork")))


PEERS = ("holdfast", "multiprocessing.Pool", "ProcessPoolExecutor")
TELLS_OF_A_DEATH = (BrokenProcessPool,)  # holdfast's WorkerDiedError is one, too
