"""What a worker process does in Python: its birth up to the task loop, and its end. The loop itself is C++.

A worker is born in one of two ways (``_zygote.py``): forked from the zygote (start methods fork and forkserver) or exec'd
by it (spawn). Either way it first enrols (``_core.worker_enrol``), with all signals blocked; then it becomes the process that
the standard pool's workers are: name, identity, daemon flag, ``parent_process()``, finalizers. Signals come back right
before the initializer.

A fresh interpreter runs this before its first task, so it imports what each worker needs and nothing else
(tests/python/test_start_methods.py has the list).
"""

from __future__ import annotations

import atexit
import faulthandler
import os
import sys
from multiprocessing import process, reduction, spawn, util

from . import _core

TYPE_CHECKING = False  # not typing's, which a worker need not load
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = ["ExecutedWorker", "Plan", "run_forked"]

TAG_VARIABLE = "HOLDFAST_WORKER"

# worker, identity, socket, ring, bell_fd, parent_pidfd, zygote_pid, tag, signal mask, what was done ahead: as bind_worker.cpp passes it on.
Seed = tuple[int, int, int, int, int, int, int, str, tuple[int, ...], object]


class Plan:
    """What all workers of one pool have in common. Inherited by fork, or pickled once when the pool opens."""

    def __init__(
        self,
        *,
        process_class: Callable[..., Any],
        parent_pid: int,
        parent_name: str,
        parent_identity: tuple[int, ...],
        config: dict[str, Any],
        identity_base: int,
        initializer: Callable[..., object] | None,
        initargs: tuple[Any, ...],
        recycle_after_async_exception: bool,
        stall_warning: float,
    ) -> None:
        """See _zygote.launch(); *stall_warning* 0 = never."""
        self.process_class = process_class
        self.parent_pid = parent_pid
        self.parent_name = parent_name
        self.parent_identity = parent_identity
        self.config = config
        self.identity_base = identity_base
        self.initializer = initializer
        self.initargs = initargs
        self.recycle_after_async_exception = recycle_after_async_exception
        self.stall_warning = stall_warning


def warm_up(plan: Plan | None) -> None:
    """In a process that was forked ahead, before it has its seed: touch what a birth touches, so that those pages are copied now."""
    if plan is not None:
        _make_process(plan, 0)


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
            _core.worker_init_failed(handle, _text_of_exception())
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
    _core.worker_report_stacks(handle, faulthandler.register, faulthandler.is_enabled())
    try:
        _core.worker_unblock(handle)
        if plan.initializer is not None:
            prepare()  # afterwards our files may be out of reach: chroot, another user, a sandbox
            plan.initializer(*plan.initargs)
    except BaseException as error:
        _core.worker_init_failed(handle, _text_of_exception())
        raise SystemExit(error.code if isinstance(error, SystemExit) else 1) from None  # the pool shows the text
    code = _core.worker_run(
        handle,
        prepare,
        _describe,
        _is_from_handler if plan.recycle_after_async_exception else None,
        plan.stall_warning,
        faulthandler.dump_traceback,
    )
    if code != 0:
        raise SystemExit(code)


def prepare() -> None:
    """Load what the first exception of a task will need. Called when the worker has been idle for a moment: see _describe.py."""
    from . import _describe  # noqa: F401


def _describe(exception: BaseException, phase: int, result: object, reason: object) -> tuple[object, str, str, str]:
    try:
        from ._describe import describe
    except (
        Exception
    ):  # no descriptor left, no memory, a sandbox: the exception travels all the same, without its traceback
        name, shown = type(exception).__qualname__, BaseException.__repr__(exception)
        return (exception if reason is None else RuntimeError(shown)), name, shown, ""
    return describe(exception, phase, result, reason)  # type: ignore[arg-type]  # as the task loop calls it


def _is_from_handler(*arguments: Any) -> bool:
    try:
        from ._describe import is_from_handler
    except Exception:  # as above: it is not known, and a worker too many is replaced
        return True
    return is_from_handler(*arguments)


def _text_of_exception() -> str:
    import traceback

    return traceback.format_exc()


def _ignore_own_thread() -> None:
    """Filter Python's warning about a fork with threads while the only other thread is our watcher, which never takes a lock."""
    import warnings

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
