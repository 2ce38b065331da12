"""Peers with the interface of multiprocessing.Pool."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from peers import Unsupported


class PoolPeer:
    """A pool with apply_async, map, imap, imap_unordered, terminate and join."""

    def __init__(self, pool: Any) -> None:
        self.pool = pool
        self.apply = pool.apply
        self.map = pool.map
        self.imap = pool.imap
        self.imap_unordered = pool.imap_unordered

    def submit(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Callable[..., Any]:
        """Start a call; the returned function waits for its result (and takes a time-out)."""
        return self.pool.apply_async(function, arguments).get  # type: ignore[no-any-return]

    def end(self) -> None:
        self.pool.terminate()
        self.pool.join()


class HoldfastPeer(PoolPeer):
    def __init__(self, workers: int, context: Any) -> None:
        import holdfast

        super().__init__(holdfast.Pool(workers, context=context))


class StandardPeer(PoolPeer):
    def __init__(self, workers: int, context: Any) -> None:
        super().__init__(context.Pool(workers))


class BilliardPeer(PoolPeer):
    def __init__(self, workers: int, context: Any) -> None:
        import billiard

        super().__init__(billiard.get_context(context.get_start_method()).Pool(workers))


class MpirePeer(PoolPeer):
    """mpire.WorkerPool: its map passes the elements of a tuple one by one, as starmap does; none of our items is a tuple."""

    def __init__(self, workers: int, context: Any) -> None:
        import mpire

        self.pool = mpire.WorkerPool(workers, start_method=context.get_start_method())
        self.apply = self.pool.apply

    def map(self, function: Callable[..., Any], items: Iterable[Any], chunksize: int | None = None) -> list[Any]:
        return self.pool.map(function, items, chunk_size=chunksize)  # type: ignore[no-any-return]

    def imap(self, function: Callable[..., Any], items: Iterable[Any], chunksize: int) -> Iterable[Any]:
        if not hasattr(items, "__len__"):
            raise Unsupported("needs the length of its input")
        return self.pool.imap(function, items, chunk_size=chunksize)  # type: ignore[no-any-return]

    def imap_unordered(self, function: Callable[..., Any], items: Iterable[Any], chunksize: int) -> Iterable[Any]:
        if not hasattr(items, "__len__"):
            raise Unsupported("needs the length of its input")
        return self.pool.imap_unordered(function, items, chunk_size=chunksize)  # type: ignore[no-any-return]

    def end(self) -> None:
        self.pool.terminate()
