"""Peers with the interface of multiprocessing.Pool."""

from __future__ import annotations

import multiprocessing.pool
from collections.abc import Callable, Iterable
from typing import Any

from peers import Unsupported


class PoolPeer:
    """A pool with apply_async, map, imap, imap_unordered, terminate and join. `result` is what its apply_async returns."""

    death_errors: tuple[type[BaseException], ...] = ()  # what tells the caller of a death; empty: nothing does
    broken_by_death = False  # a new pool is needed then
    inherits = True  # its workers have what this process has when it is opened

    def __init__(self, pool: Any, result: Any) -> None:
        self.pool = pool
        # wait(call, timeout=None) is call.get(timeout): no function of ours around what is measured.
        self.wait = result.get
        self.apply = pool.apply
        self.map = pool.map
        self.imap = pool.imap
        self.imap_unordered = pool.imap_unordered

    def submit(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        """Start a call: what is returned is the pool's own result, for `wait`."""
        return self.pool.apply_async(function, arguments)

    def end(self) -> None:
        self.pool.terminate()
        self.pool.join()


class HoldfastPeer(PoolPeer):
    def __init__(self, workers: int, context: Any, **options: Any) -> None:
        import holdfast

        super().__init__(holdfast.Pool(workers, context=context, **options), holdfast.AsyncResult)
        self.death_errors = (holdfast.WorkerDiedError,)

    @classmethod
    def sharing(cls, workers: int, context: Any) -> HoldfastPeer:
        return cls(workers, context, shared_results=True)


class StandardPeer(PoolPeer):
    def __init__(self, workers: int, context: Any) -> None:
        super().__init__(context.Pool(workers), multiprocessing.pool.AsyncResult)


class BilliardPeer(PoolPeer):
    def __init__(self, workers: int, context: Any) -> None:
        import billiard.pool
        from billiard.einfo import ExceptionWithTraceback

        super().__init__(billiard.get_context(context.get_start_method()).Pool(workers), billiard.pool.ApplyResult)
        self.death_errors = (ExceptionWithTraceback,)  # around its WorkerLostError


class RayPeer(PoolPeer):
    """ray.util.multiprocessing.Pool, on a Ray of this process's own. Its workers are started by its daemon, whatever context is asked for."""

    inherits = False

    def __init__(self, workers: int, context: Any) -> None:
        import ray
        from ray.util.multiprocessing.pool import AsyncResult, Pool

        ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
        super().__init__(Pool(workers), AsyncResult)
        self.death_errors = (ray.exceptions.RayActorError,)

    def end(self) -> None:
        import ray

        super().end()
        ray.shutdown()


class MpirePeer(PoolPeer):
    """mpire.WorkerPool. It hands the elements of a tuple over one by one, so each item travels in a tuple of its own."""

    def __init__(self, workers: int, context: Any) -> None:
        import mpire
        from mpire.async_result import AsyncResult

        self.pool = mpire.WorkerPool(workers, start_method=context.get_start_method())
        self.apply = self.pool.apply
        self.wait = AsyncResult.get
        self.death_errors = (RuntimeError,)
        self.broken_by_death = True

    def map(self, function: Callable[..., Any], items: Any, chunksize: int | None = None) -> list[Any]:
        raise Unsupported("fails in a pool that apply() was used in (mpire 2.10)")

    imap = map

    def imap_unordered(self, function: Callable[..., Any], items: Any, chunksize: int) -> Iterable[Any]:
        if not hasattr(items, "__len__"):
            raise Unsupported("needs the length of its input")
        arguments = ((item,) for item in items)
        return self.pool.imap_unordered(function, arguments, iterable_len=len(items), chunk_size=chunksize)  # type: ignore[no-any-return]

    def end(self) -> None:
        self.pool.terminate()
