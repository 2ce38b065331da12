"""Pool: ``multiprocessing.Pool`` on holdfast's engine."""

from __future__ import annotations

import multiprocessing
import multiprocessing.pool
import os
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Mapping
from multiprocessing import util
from typing import Any, NoReturn, TypedDict, TypeVar, Unpack

from . import _core, _errors, _services  # noqa: F401  # _errors: the news of a death must not wait for an import
from ._handles import HandleList, WorkerHandle
from ._options import CallOptions, OnFailure, PoolOptions, Retry, check_seconds, default_processes
from ._questions import Questions
from ._results import AsyncResult, IMapIterator, IMapUnorderedIterator, MapResult

__all__ = ["CallKeywords", "Pool"]

T = TypeVar("T")
R = TypeVar("R")

_INIT, _RUN, _CLOSE, _TERMINATE = "INIT", "RUN", "CLOSE", "TERMINATE"  # the standard pool's words for `_state`
_CALL_F_X, _CALL_F_ARGS = 0, 1  # call modes, see bind_submit.cpp


class CallKeywords(TypedDict, total=False):
    """Keywords that each submitting method takes; what is not given is as the pool has it."""

    on_death: OnFailure
    on_error: OnFailure
    on_timeout: OnFailure
    retry: Retry
    skip_value: Any
    task_timeout: float | None
    soft_timeout: float | None
    window: int | None


class Pool(Questions, multiprocessing.pool.Pool):
    """A pool of worker processes that holds: ``multiprocessing.Pool``'s interface, and no call that waits for ever.

    A worker may be killed, crash, exit or hang: the task it was running gets that as its outcome, a new worker takes its
    place, and everything else goes on.

    Args:
        processes: Number of workers; default: as many as this process may use, by its affinity and its cgroup's quota (the
            standard pool takes all of the machine's).
        initializer: Called in each worker before its first task. Workers whose initializer fails *max_restarts* times in a
            row break the pool (:class:`PoolBrokenError`).
        initargs: Its arguments.
        maxtasksperchild: Chunks that a worker runs before a fresh one takes its place; default: no limit.
        context: A multiprocessing context (or a start method's name); default: the interpreter's.
        on_death: What to do when the worker died under a task: "raise" (the task's outcome is :class:`WorkerDiedError`),
            "skip" (*skip_value* stands in its place), "retry" (run it again, see *retry*) or "abort" (stop the pool).
        on_error: The same when the task raised.
        on_timeout: The same when it ran longer than *task_timeout*.
        retry: How often "retry" runs a task again, and what follows then.
        skip_value: What "skip" puts in place of a result.
        task_timeout: Seconds one item may run, from its start; then its worker is killed.
        soft_timeout: Seconds after which :class:`SoftTimeoutError` is raised inside the task, once, so that it can clean up; less than
            *task_timeout*, which remains the limit of a task that does not heed it (docs/signals.md).
        grace: Seconds between asking workers to stop and SIGKILL.
        max_restarts: Failed starts in a row before the pool is broken.
        start_deadline: Seconds from asking for a worker to its first word; then that start has failed. The imports of a new interpreter
            count, the initializer does not.
        max_deaths: Deaths under tasks, in all, before the pool is aborted; default: no limit.
        window: For imap and imap_unordered: chunks that may be taken from the input before their results are read;
            default 4 per worker, and more where items are so short and small that all would else wait for the window.
        daemon: False lets tasks start processes of their own with multiprocessing.
        kill_children: Also kill what a worker started when it is recycled in good order.
        stall_warning: Seconds in one item without using the processor after which a :class:`StallWarning` tells, with the stacks of that
            worker; the task goes on. None = never.
        recycle_after_async_exception: Replace a worker whose task was ended by an exception out of a signal handler: what the task
            was in the middle of may be left half done in that process (docs/signals.md).
        shared_results: Large buffers of results (numpy arrays of 128 KiB and more) are not copied but read where the worker wrote them: the
            arrays are read-only views, which may outlive the pool (docs/large-data.md).
        shared_memory_limit: Bytes, or a text like "2GiB": how much shared memory such views may hold at once, in all (a result beyond that
            is copied), and how much each worker's results, and all arguments, may keep for reuse. Default: no limit for views, 1 GiB
            for what is kept.
        memory_limit: Bytes, or a text like "2GiB": a worker that has more of its own while a task runs is killed, and the task's outcome is
            :class:`OutOfMemoryError`. Its own is what it has beyond its memory at birth, read ten times a second.
        max_memory_per_child: The same, softly: a worker that has more leaves after its task, and a fresh one takes its place.

    Results are unpickled in this process, by the thread that asks for them. What that raises is a
    :class:`ResultDecodeError`; a result whose unpickling calls ``os._exit`` ends this process: nothing can stop it.

    Source: names, order of checks and messages follow ``multiprocessing.pool.Pool``; everything after *context* is ours.
    """

    # The base class's __init__ is never called: it would start threads and queues. Its methods are all replaced
    # (tests/python/test_surface.py fails when one is not).
    def __init__(
        self,
        processes: int | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: Iterable[Any] = (),
        maxtasksperchild: int | None = None,
        context: Any = None,
        *,
        on_death: OnFailure = "raise",
        on_error: OnFailure = "raise",
        on_timeout: OnFailure = "raise",
        retry: Retry = Retry(),  # noqa: B008  # immutable
        skip_value: Any = None,
        task_timeout: float | None = None,
        soft_timeout: float | None = None,
        grace: float = 5.0,
        max_restarts: int = 10,
        max_deaths: int | None = None,
        window: int | None = None,
        daemon: bool = True,
        kill_children: bool = False,
        recycle_after_async_exception: bool = False,
        stall_warning: float | None = 60.0,
        start_deadline: float = 60.0,
        shared_results: bool = False,
        shared_memory_limit: int | str | None = None,
        memory_limit: int | str | None = None,
        max_memory_per_child: int | str | None = None,
    ) -> None:
        """See the class."""
        self._ctx = multiprocessing.get_context(context) if context is None or isinstance(context, str) else context
        if processes is None:
            processes = default_processes()
        self._options = PoolOptions(
            processes,
            maxtasksperchild,
            grace,
            max_restarts,
            max_deaths,
            daemon,
            kill_children,
            recycle_after_async_exception,
            stall_warning,
            start_deadline,
            shared_results,
            shared_memory_limit,
            memory_limit,
            max_memory_per_child,
        )
        self._calls = CallOptions(on_death, on_error, on_timeout, retry, skip_value, task_timeout, soft_timeout, window)
        if initializer is not None and not callable(initializer):
            raise TypeError("initializer must be a callable")
        self._policy = self._calls.policy()
        self._processes = processes
        self._pid = os.getpid()
        self._open(initializer, tuple(initargs))

    def _open(self, initializer: Callable[..., object] | None, initargs: tuple[Any, ...]) -> None:
        """Start the zygote, the workers and the service threads."""
        options = self._options
        main_by_value = _services.main_by_value(self._ctx)
        core = _core.Core(
            workers=options.processes,
            max_chunks_per_worker=options.maxtasksperchild or 0,
            max_restarts=options.max_restarts,
            max_deaths=options.max_deaths or 0,
            grace=float(options.grace),
            start_deadline=float(options.start_deadline),
            kill_children=options.kill_children,
            main_by_value=main_by_value,
            shared_results=options.shared_results,
            shared_memory_limit=options.size_of("shared_memory_limit"),
            memory_limit=options.size_of("memory_limit"),
            max_memory_per_child=options.size_of("max_memory_per_child"),
            types=(AsyncResult, MapResult, IMapIterator, IMapUnorderedIterator),
        )
        base = _services.reserve_identities(options.processes)
        launcher = _services.Launcher(self._ctx, initializer, initargs, options, base, main_by_value)
        self._handles = HandleList(core, _services.worker_name_prefix(self._ctx), base, options.daemon)
        try:
            launcher.launch(core)
            core.start()
            # Ends the engine when the pool is collected and at the interpreter's exit, before the standard library's own clean-up.
            self._terminate = util.Finalize(
                self, _services.end, args=(core, self._handles, float(options.grace)), exitpriority=15
            )
            self._services = _services.start_threads(core, launcher)
            core.wait_started(float(options.start_deadline))
        except BaseException:
            core.kill()
            raise
        self._core = core
        self._unclosed = True
        self._handles.refresh()

    # --- state ------------------------------------------------------------------------------------------------------------

    @property
    def _state(self) -> str:
        """RUN, CLOSE or TERMINATE, as code written for the standard pool reads it."""
        core = self.__dict__.get("_core")
        if core is None:
            return _INIT
        if os.getpid() != self._pid:
            return _TERMINATE  # a copy in a forked child: the workers are the parent's
        return {"running": _RUN, "closed": _CLOSE}.get(core.state, _TERMINATE)

    @property
    def _pool(self) -> list[WorkerHandle]:
        """The workers there are now, as handles that look like Processes."""
        return self._handles.refresh() if "_core" in self.__dict__ else []

    def _check_running(self) -> None:
        if self._state != _RUN:
            raise ValueError("Pool not running")

    def _repopulate_pool(self) -> None:
        """Do nothing: the engine replaces workers by itself. (Tests of the standard pool call it.)"""

    def _maintain_pool(self) -> None:
        """Do nothing, as above."""

    def __repr__(self) -> str:
        cls = type(self)
        return (
            f"<{cls.__module__}.{cls.__qualname__} state={self._state} pool_size={self.__dict__.get('_processes', 0)}>"
        )

    def __reduce__(self) -> NoReturn:
        """Refuse, as the standard pool does."""
        raise NotImplementedError("pool objects cannot be passed between processes or pickled")

    def __del__(self, _warn: Any = warnings.warn, _run: str = _RUN) -> None:
        if not self.__dict__.get("_unclosed", False):
            return
        # Also when its finalizer has stopped it already: at the interpreter's end, or in a cycle, whose weak references go first.
        if self._state == _run or (os.getpid() == self._pid and not self._terminate.still_active()):
            _warn(f"unclosed running multiprocessing pool {self!r}", ResourceWarning, source=self)

    # --- calls ------------------------------------------------------------------------------------------------------------

    def _policy_for(self, keywords: CallKeywords) -> _core.Policy:
        return self._calls.override(dict(keywords)).policy() if keywords else self._policy

    def apply(
        self,
        func: Callable[..., R],
        args: Iterable[Any] = (),
        kwds: Mapping[str, Any] = {},  # never changed; the standard signature
        **keywords: Unpack[CallKeywords],
    ) -> R:
        """Call ``func(*args, **kwds)`` in a worker and return its result; blocks until it is there.

        Raises:
            WorkerDiedError: The worker ended under the call and no retry was left.
            TaskTimeoutError: It ran longer than *task_timeout*.
            SoftTimeoutError: It ran longer than *soft_timeout*, and let that out.
            Exception: What *func* raised, with the worker's traceback as ``__cause__``.
        """
        result: R = self.apply_async(func, args, kwds, **keywords).get()
        return result

    def apply_async(
        self,
        func: Callable[..., Any],
        args: Iterable[Any] = (),
        kwds: Mapping[str, Any] = {},  # as above
        callback: Callable[[Any], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
        **keywords: Unpack[CallKeywords],
    ) -> AsyncResult:
        """Like :meth:`apply`, but return an :class:`AsyncResult` at once.

        *callback* gets the result, *error_callback* the exception, in the pool's dispatcher thread and before the result
        becomes ready; what they raise becomes a RuntimeWarning.
        """
        policy = self._policy_for(keywords) if keywords else self._policy
        return self._core.apply_async(self, func, args, kwds, callback, error_callback, policy)

    def map(
        self,
        func: Callable[[Any], R],
        iterable: Iterable[Any],
        chunksize: int | None = None,
        **keywords: Unpack[CallKeywords],
    ) -> list[R]:
        """Apply *func* to every item and return the results in input order.

        Blocks the calling thread until each item has an outcome; other threads may use the pool meanwhile. A dead worker
        cannot make this hang: its items are run again or reported, by the pool's policies.

        Args:
            func: Callable of one argument.
            iterable: n items, read to the end before the first is sent.
            chunksize: Items per chunk, >= 1. Default ceil(n / (4 * workers)), as in the standard pool.
            keywords: on_death, on_error, on_timeout, retry, skip_value, task_timeout, soft_timeout for this call.

        Returns:
            A list of n results; element i belongs to item i.

        Raises:
            WorkerDiedError: A worker ended under an item and no retry was left; ``.report`` says how and on what evidence.
            TaskTimeoutError: An item ran longer than *task_timeout*; its worker was stopped.
            SoftTimeoutError: An item ran longer than *soft_timeout*, and let that out.
            Exception: What *func* raised; of several the first to arrive, with the worker's traceback as ``__cause__``.

        What is done of a map that failed is in ``.partial`` of a HoldfastError, of the ``__cause__`` of a task's own
        exception, and of the MapResult: ``{index: result}``.

        Source: order, blocking and chunksize follow ``multiprocessing.pool.Pool.map``; the keywords are ours.
        """
        results: list[R] = self._map_async(func, iterable, _CALL_F_X, chunksize, None, None, keywords).get()
        return results

    def starmap(
        self,
        func: Callable[..., R],
        iterable: Iterable[Iterable[Any]],
        chunksize: int | None = None,
        **keywords: Unpack[CallKeywords],
    ) -> list[R]:
        """Like :meth:`map`, with each item's elements as arguments: ``[(1, 2), (3, 4)]`` gives ``[f(1, 2), f(3, 4)]``."""
        results: list[R] = self._map_async(func, iterable, _CALL_F_ARGS, chunksize, None, None, keywords).get()
        return results

    def map_async(
        self,
        func: Callable[[Any], Any],
        iterable: Iterable[Any],
        chunksize: int | None = None,
        callback: Callable[[Any], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
        **keywords: Unpack[CallKeywords],
    ) -> MapResult:
        """Like :meth:`map`, but return a :class:`MapResult` at once; callbacks as in :meth:`apply_async`."""
        return self._map_async(func, iterable, _CALL_F_X, chunksize, callback, error_callback, keywords)

    def starmap_async(
        self,
        func: Callable[..., Any],
        iterable: Iterable[Iterable[Any]],
        chunksize: int | None = None,
        callback: Callable[[Any], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
        **keywords: Unpack[CallKeywords],
    ) -> MapResult:
        """Like :meth:`starmap`, but return a :class:`MapResult` at once."""
        return self._map_async(func, iterable, _CALL_F_ARGS, chunksize, callback, error_callback, keywords)

    def _map_async(
        self,
        func: Callable[..., Any],
        iterable: Iterable[Any],
        call_mode: int,
        chunksize: int | None,
        callback: Callable[[Any], object] | None,
        error_callback: Callable[[BaseException], object] | None,
        keywords: CallKeywords,
    ) -> MapResult:
        policy = self._policy_for(keywords) if keywords else self._policy
        return self._core.map_async(self, func, iterable, call_mode, chunksize, callback, error_callback, policy)

    def imap(
        self,
        func: Callable[[Any], Any],
        iterable: Iterable[Any],
        chunksize: int | None = 1,
        **keywords: Unpack[CallKeywords],
    ) -> IMapIterator:
        """Apply *func* to the items lazily; return an iterator over the results in input order.

        Input is read in a thread of its own, as results are consumed: at most *window* chunks are taken ahead. An item that
        failed raises at its place and the iterator goes on after it. close() lifts the window: the input is then read to
        its end.
        """
        iterator: IMapIterator = self._lazy(func, iterable, chunksize, keywords, unordered=False)
        return iterator

    def imap_unordered(
        self,
        func: Callable[[Any], Any],
        iterable: Iterable[Any],
        chunksize: int | None = 1,
        **keywords: Unpack[CallKeywords],
    ) -> IMapUnorderedIterator:
        """Like :meth:`imap`, with the results in the order of their completion."""
        iterator: IMapUnorderedIterator = self._lazy(func, iterable, chunksize, keywords, unordered=True)
        return iterator

    def _lazy(
        self,
        func: Callable[..., Any],
        iterable: Iterable[Any],
        chunksize: int | None,
        keywords: CallKeywords,
        *,
        unordered: bool,
    ) -> Any:
        if chunksize is None:
            raise ValueError("Chunksize must be 1+, not None")
        iterator = self._core.lazy(self, func, iterable, _CALL_F_X, chunksize, unordered, self._policy_for(keywords))
        _services.start_uninterrupted(threading.Thread(target=iterator._feed.run, name="holdfast-feeder", daemon=True))
        return iterator

    # --- the end ----------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Take no more work; workers leave when all that was submitted is done."""
        self._unclosed = False
        self._core.close()  # also of a pool that broke or was aborted: join() then sees its end

    def terminate(self, grace: float | None = None) -> None:
        """Stop at once: cancel what has not begun, stop the workers within *grace* seconds, wake all waiting threads.

        They get :class:`PoolTerminatedError`. Workers are asked first, then sent SIGTERM, and SIGKILL when *grace* is over.
        Returns when no worker is left. Called again, from another thread, a shorter *grace* counts from then on.

        Args:
            grace: Seconds until SIGKILL, 0 = at once; default: the pool's own *grace*.
        """
        if grace is not None:
            check_seconds("grace", grace)
        self._end(self._options.grace if grace is None else grace, interrupted=False)

    def kill(self) -> None:
        """Stop at once by SIGKILL: :meth:`terminate` without a grace period. Also ends a terminate() that still waits."""
        self._end(0.0, interrupted=False)

    def _end(self, grace: float, *, interrupted: bool) -> None:
        if os.getpid() != self._pid:
            return  # a copy of the pool in a forked child: the workers are not ours
        self._unclosed = False
        self._terminate.cancel()
        core = self._core
        if grace > 0:
            core.terminate(float(grace), interrupted)
        else:
            core.kill()
        try:
            core.wait_ended(grace + 10.0)
        except BaseException:  # a second Ctrl-C, or what a signal handler raised: no more patience
            core.kill()
            core.wait_ended(10.0)
            raise
        finally:
            self._handles.forget()

    def join(self, timeout: float | None = None) -> bool:  # type: ignore[override]  # the standard pool says nothing
        """Wait until all workers have ended and all callbacks have run; close() or terminate() must come first.

        A Ctrl-C meanwhile interrupts the tasks and stops the pool.

        Args:
            timeout: Seconds to wait at most; None = no limit.

        Returns:
            Whether it has ended. If not, it goes on as before: join() again, or terminate(), or kill().
        """
        state = self._state
        if state == _RUN:
            raise ValueError("Pool is still running")
        if timeout is not None:
            check_seconds("timeout", timeout)
        if os.getpid() != self._pid:
            return True
        deadline = None if timeout is None else time.monotonic() + timeout
        try:
            if not self._core.wait_ended(timeout, True):
                return False
        except KeyboardInterrupt:
            self._end(self._options.grace, interrupted=True)
            raise
        self._terminate.cancel()
        self._handles.forget()
        return self._services.join(deadline)

    def __enter__(self) -> Pool:
        # One that broke while it was opening is let in: the first call in the block says why, as PoolBrokenError.
        if self._core.state not in ("broken", "aborted"):
            self._check_running()
        return self

    def __exit__(self, exc_type: Any, exc_value: Any, traceback: Any) -> None:
        """Terminate the pool; under a Ctrl-C busy workers get SIGINT first."""
        self._end(self._options.grace, interrupted=exc_type is not None and issubclass(exc_type, KeyboardInterrupt))
