"""Starting the zygote of a pool: the single-threaded process that starts its workers (design.md section 5).

For ``fork`` it is forked from the caller, so that workers inherit what the caller has. For ``forkserver`` and ``spawn`` it is a
fresh interpreter, started the way multiprocessing starts one, so that the resource tracker, the authkey and ``sys.path`` are
right; initializer and initargs are pickled once for it, as arguments of a process would be (locks and queues go through).
Workers of ``spawn`` are exec'd from it, those of the other two are forked.
"""

from __future__ import annotations

import _posixsubprocess
import functools
import io
import os
import subprocess
import sys
from collections.abc import Callable
from multiprocessing import context as mp_context
from multiprocessing import popen_fork, process, resource_tracker, spawn, util
from typing import Any

from . import _core, _describe, _worker  # noqa: F401  # _describe: forked workers inherit it
from ._child_pickles import SpawningPopen, pickle_for_child, without_main
from ._clean_zygote import CleanZygote, Fds, Mask

__all__ = ["launch"]


def launch(
    core: _core.Core,
    ctx: Any,
    initializer: Callable[..., object] | None = None,
    initargs: tuple[Any, ...] = (),
    *,
    daemon: bool = True,
    identity_base: int = 0,
    main_by_value: bool = False,
    recycle_after_async_exception: bool = False,
    stall_warning: float = 0.0,
) -> None:
    """Start the zygote of a pool and tell its engine, *core*.

    A signal handler may raise anywhere in here: what must not be lost by that is done in C (Core.launch_zygote).

    Args:
        core: The engine.
        ctx: A multiprocessing context; its start method decides how.
        initializer: Called in each worker before its first task, or None.
        initargs: Its arguments.
        daemon: The workers' daemon flag.
        identity_base: Added to the number of each worker, for names: worker k is "...PoolWorker-<identity_base + k>".
        recycle_after_async_exception: A worker leaves after a task that was ended by an exception out of a signal handler.
        stall_warning: Seconds in one item without using the processor after which a worker reports itself; 0 = never.
        main_by_value: Objects of ``__main__`` are pickled by value, because workers cannot import it.
    """
    method = ctx.get_start_method()
    current = process.current_process()
    plan = _worker.Plan(
        process_class=ctx.Process,
        parent_pid=os.getpid(),
        parent_name=current.name,
        parent_identity=tuple(current._identity),
        config={**current._config, "daemon": daemon},  # type: ignore[attr-defined]  # as above
        identity_base=identity_base,
        initializer=initializer,
        initargs=tuple(initargs),
        recycle_after_async_exception=recycle_after_async_exception,
        stall_warning=stall_warning,
    )
    if method != "fork":
        resource_tracker.ensure_running()  # here: when it starts the tracker it unblocks SIGINT and SIGTERM
        core.launch_zygote(functools.partial(_prepare_clean, method, plan, main_by_value))
        return
    util._flush_std_streams()  # type: ignore[attr-defined]  # unflushed text would be printed by every worker again
    core.launch_zygote(functools.partial(_prepare_fork, plan))


def _prepare_fork(
    plan: _worker.Plan, fds: Fds, message: int, failure: tuple[int, int], mask: Mask
) -> Callable[[], int]:
    """Return what forks the zygote of a fork pool: in the child it is C code until a worker is born."""
    run = functools.partial(_worker.run_forked, plan, hasattr(popen_fork, "atexit"))
    arguments = (*fds, mask, run, functools.partial(_worker.warm_up, plan))
    return functools.partial(_core.fork_zygote, arguments, (message, *failure))


def _prepare_clean(
    method: str, plan: _worker.Plan, main_by_value: bool, fds: Fds, message: int, failure: tuple[int, int], mask: Mask
) -> Callable[[], int]:
    """Write what the fresh interpreter reads first; return what starts it: C code to the last, see Core.launch_zygote."""
    tracker_fd = resource_tracker.getfd()
    assert tracker_fd is not None  # launch() has started it
    full = spawn.get_preparation_data("holdfast-zygote")
    plan_bytes, plan_fds = _pickle_plan(plan, main_by_value)
    zygote = CleanZygote(fds, method, mask, full, plan_bytes, [*plan_fds, tracker_fd])
    with open(message, "wb", closefd=False) as file:
        file.write(pickle_for_child(SpawningPopen(), without_main(full), zygote))
    os.lseek(message, 0, os.SEEK_SET)
    command = spawn.get_command_line(tracker_fd=tracker_fd, pipe_handle=message)
    passed = tuple(sorted({*fds, *plan_fds, tracker_fd, message}))
    executable = os.fsencode(spawn.get_executable())
    # As util.spawnv_passfds() calls it, which has lines of Python after it.
    arguments: tuple[Any, ...] = (command, [executable], True, passed, None, None, -1, -1, -1, -1, -1, -1, *failure)
    arguments += (False, False, -1, None, None, None, -1, None)
    if sys.version_info < (3, 14):
        arguments += (subprocess._USE_VFORK,)
    return functools.partial(_posixsubprocess.fork_exec, *arguments)


def _pickle_plan(plan: _worker.Plan, main_by_value: bool) -> tuple[bytes, list[int]]:
    """Pickle the plan, and say which descriptors must go along."""
    popen = SpawningPopen()
    if not main_by_value:
        try:
            return pickle_for_child(popen, plan), popen.fds
        except Exception:
            try:
                return _pickle_plan(plan, main_by_value=True)
            except Exception:  # what pickle said is what users know; cloudpickle was only a second try
                pass
            raise
    from ._codec import CloudForkingPickler

    buffer = io.BytesIO()
    mp_context.set_spawning_popen(popen)  # type: ignore[arg-type]  # it asks for no more than SpawningPopen has
    try:
        CloudForkingPickler(buffer, 5, False, None).dump(plan)  # type: ignore[arg-type]  # None: all in the pickle
    finally:
        mp_context.set_spawning_popen(None)
    return buffer.getvalue(), popen.fds
