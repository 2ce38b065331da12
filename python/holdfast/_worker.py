"""What a worker process does in Python: its birth up to the task loop, and its end. The loop itself is C++.

A worker is born in one of two ways (``_zygote.py``): forked from the zygote (start methods fork and forkserver) or exec'd
by it (spawn). Either way it first enrols (``_core.worker_enrol``), with all signals blocked; then it becomes the process that
the standard pool's workers are: name, identity, daemon flag, ``parent_process()``, finalizers. Signals come back right
before the initializer.
"""

from __future__ import annotations

import atexit
import faulthandler
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing import forkserver, popen_fork, process, reduction, spawn, util
from multiprocessing.pool import ExceptionWithTraceback, MaybeEncodingError  # type: ignore[attr-defined]  # not in typeshed
from types import FrameType
from typing import Any

from . import _core
from ._errors import SoftTimeoutError, soft_timeout_error

__all__ = ["ExecutedWorker", "Plan", "describe", "run_forked"]

TAG_VARIABLE = "HOLDFAST_WORKER"

# worker, identity, socket, ring, bell_fd, parent_pidfd, zygote_pid, tag, signal mask: as bind_worker.cpp passes it on.
Seed = tuple[int, int, int, int, int, int, int, str, tuple[int, ...]]

_PHASE_RESULT = 4  # RaisedPhase of raised.hpp
_PHASE_IDLE = 5
_NOTE_TEXT_LIMIT = 8192


@dataclass
class Plan:
    """What all workers of one pool have in common. Inherited by fork, or pickled once when the pool opens."""

    process_class: Callable[..., Any]
    parent_pid: int
    parent_name: str
    parent_identity: tuple[int, ...]
    config: dict[str, Any]
    identity_base: int
    initializer: Callable[..., object] | None = None
    initargs: tuple[Any, ...] = field(default_factory=tuple)
    recycle_after_async_exception: bool = False
    stall_warning: float = 0.0  # 0 = never


def describe(
    exception: BaseException, phase: int, result: object, reason: BaseException | None
) -> tuple[object, str, str, str]:
    """Return what the parent is sent for *exception*: an object to pickle, and its type name, repr and traceback as text.

    Called by the task loop with signals blocked. *reason* is None at first; when the object could not be pickled this is
    called again with the error, and returns the standard pool's stand-in, MaybeEncodingError.
    """
    kind = type(exception)
    name = (
        kind.__qualname__
        if kind.__module__ in ("builtins", "__main__", "__mp_main__")
        else f"{kind.__module__}.{kind.__qualname__}"
    )
    text = "".join(traceback.format_exception(kind, exception, exception.__traceback__))
    shown = _safe_repr(exception)
    if phase == _PHASE_IDLE:
        return None, name, shown[:_NOTE_TEXT_LIMIT], text[-_NOTE_TEXT_LIMIT:]
    if phase == _PHASE_RESULT and result is not None:  # None can always be pickled: then it was not the result's fault
        return MaybeEncodingError(_Shown(shown), _Shown(_safe_repr(result))), name, shown, text
    if reason is not None:  # the standard pool shows its wrapper's repr here; the exception's own says what happened
        return MaybeEncodingError(_Shown(_safe_repr(reason)), _Shown(shown)), name, shown, text
    return ExceptionWithTraceback(exception, exception.__traceback__), name, shown, text


def is_from_handler(exception: BaseException, interrupted: bool) -> bool:
    """Whether *exception*, or one that it replaced, was raised by a signal handler in the middle of other code.

    *interrupted*: the pool has raised a SoftTimeoutError in the task, which is such a one, too.

    A handler's frame is known by its arguments: a signal's number, and the very frame that called it, which no ordinary call passes on.
    The interpreter's own handler, for SIGINT, has no frame: each KeyboardInterrupt counts.
    """
    seen: set[int] = set()
    queue: list[BaseException | None] = [exception]
    while queue:
        error = queue.pop()
        if error is None or id(error) in seen:
            continue
        seen.add(id(error))
        trace = error.__traceback__
        while trace is not None:
            if _is_handler_frame(trace.tb_frame):
                return True
            trace = trace.tb_next
        if isinstance(error, KeyboardInterrupt) or (interrupted and isinstance(error, SoftTimeoutError)):
            return True
        queue += (error.__cause__, error.__context__)
    return False


def _is_handler_frame(frame: FrameType) -> bool:
    if frame.f_back is None:
        return False
    values: list[object] = []
    for value in frame.f_locals.values():
        values += value if type(value) is tuple else (value,)  # def handler(*args) has both in one
    return any(value is frame.f_back for value in values) and any(
        isinstance(value, int) and 0 < value < signal.NSIG for value in values
    )


class _Shown:
    """Has the given repr: MaybeEncodingError asks for one, and the object's own may raise."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text


def _safe_repr(value: object) -> str:
    try:
        return repr(value)
    except BaseException:  # a user's __repr__ may raise anything, and the outcome must still be told
        return object.__repr__(value)


def run_forked(plan: Plan | Callable[[], Plan], clear_atexit: bool, seed: Seed) -> int:
    """Live a forked worker's life; return its exit code. *plan* may be a function that gets it, run once enrolled."""
    handle = _core.worker_enrol(seed)
    os.environ[TAG_VARIABLE] = seed[7]
    if clear_atexit:
        # As Process does: what the parent registered is the parent's; what tasks register runs at the worker's end.
        atexit._clear()
        atexit.register(util._exit_function)  # type: ignore[attr-defined]  # not in typeshed
    code = 1
    try:
        code = _live(handle, plan, seed)
    finally:
        if clear_atexit:
            atexit._run_exitfuncs()
    return code


class ExecutedWorker:
    """A worker of start method spawn, as it travels to its fresh interpreter (multiprocessing.spawn unpickles and runs it)."""

    def __init__(self, seed: Seed, preparation: dict[str, Any], plan_bytes: bytes) -> None:
        """Keep what the worker needs; the descriptors in *seed* keep their numbers through the exec."""
        self.seed = seed
        self.preparation = preparation
        self.plan_bytes = plan_bytes

    def _bootstrap(self, parent_sentinel: int) -> int:
        os.close(parent_sentinel)  # that of the exec; the caller's pidfd is the right one
        for fd in self.seed[2:6]:
            os.set_inheritable(
                fd, False
            )  # they came through an exec, and must not go through the task's: it would look alive
        handle = _core.worker_enrol(self.seed)
        code = 1
        try:
            code = _live(handle, lambda: load_plan(self.preparation, self.plan_bytes), self.seed)
        finally:
            atexit._run_exitfuncs()
            util._flush_std_streams()  # type: ignore[attr-defined]  # not in typeshed
            os._exit(code)


def load_plan(preparation: dict[str, Any], plan_bytes: bytes) -> Plan:
    """Import the caller's ``__main__`` where the start method asks for it, and unpickle the plan. In the worker."""
    current = process.current_process()
    current._inheriting = True  # type: ignore[attr-defined]  # a main module that makes a pool when imported is refused
    try:
        spawn.prepare(preparation)
        plan = reduction.ForkingPickler.loads(plan_bytes)
    finally:
        del current._inheriting  # type: ignore[attr-defined]  # as above
    assert isinstance(plan, Plan)
    return plan


def _live(handle: object, plan: Plan | Callable[[], Plan], seed: Seed) -> int:
    if not isinstance(plan, Plan):
        try:
            plan = plan()
        except BaseException:  # whatever an import or an unpickling raises is why this worker cannot start
            _core.worker_init_failed(handle, traceback.format_exc())
            return 1
    worker = _make_process(plan, seed[1])
    worker._target = _work
    worker._args = (handle, plan)
    code: int = worker._bootstrap(parent_sentinel=os.dup(seed[5]))
    return code


def _make_process(plan: Plan, number: int) -> Any:
    """The Process object that this worker is: as if the caller had made and started it."""
    worker = plan.process_class()
    worker._identity = (*plan.parent_identity, plan.identity_base + number)
    kind = type(worker).__name__.replace("Process", "PoolWorker")
    worker._name = kind + "-" + ":".join(map(str, worker._identity))
    worker._config = dict(plan.config)
    worker._parent_pid = plan.parent_pid
    worker._parent_name = plan.parent_name
    return worker


def _work(handle: object, plan: Plan) -> None:
    if sys.version_info >= (3, 12):
        _ignore_own_thread()
    try:
        _core.worker_unblock(handle)
        if plan.initializer is not None:
            plan.initializer(*plan.initargs)
    except BaseException as error:
        _core.worker_init_failed(handle, traceback.format_exc())
        raise SystemExit(error.code if isinstance(error, SystemExit) else 1) from None  # the pool shows the text
    code = _core.worker_run(
        handle,
        describe,
        is_from_handler if plan.recycle_after_async_exception else None,
        plan.stall_warning,
        faulthandler.dump_traceback,
        soft_timeout_error,
    )
    if code != 0:
        raise SystemExit(code)


def _ignore_own_thread() -> None:
    """Filter Python's warning about a fork with threads while the only other thread is our watcher, which never takes a lock."""
    filtered = False

    def before_fork() -> None:
        nonlocal filtered
        alone = len(os.listdir("/proc/self/task")) <= 2  # noqa: PTH208  # to be counted
        if alone == filtered:
            return
        if alone:
            warnings.filterwarnings("ignore", r"This process \(pid=\d+\) is multi-threaded", DeprecationWarning)
        else:
            warnings.filters[:] = [entry for entry in warnings.filters if not _is_ours(entry)]  # type: ignore[index]
            warnings._filters_mutated()  # type: ignore[attr-defined]  # what filterwarnings() calls
        filtered = alone

    os.register_at_fork(before=before_fork)


def _is_ours(entry: tuple[Any, ...]) -> bool:
    return entry[0] == "ignore" and entry[1] is not None and entry[1].pattern.startswith(r"This process \(pid=")


def clears_atexit(method: str) -> bool:
    """Whether this Python's own forked children forget the parent's atexit functions and run their own (3.13 does)."""
    return hasattr(forkserver if method == "forkserver" else popen_fork, "atexit")
