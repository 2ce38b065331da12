"""Starting the zygote of a pool: the single-threaded process that starts its workers (design.md section 5).

For ``fork`` it is forked from the caller, so that workers inherit what the caller has. For ``forkserver`` and ``spawn`` it is a
fresh interpreter, started the way multiprocessing starts one, so that the resource tracker, the authkey and ``sys.path`` are
right; initializer and initargs are pickled once for it, as arguments of a process would be (locks and queues go through).
Workers of ``spawn`` are exec'd from it, those of the other two are forked.
"""

from __future__ import annotations

import _posixsubprocess
import functools
import gc
import io
import os
import subprocess
import sys
from collections.abc import Callable
from multiprocessing import context as mp_context
from multiprocessing import forkserver, popen_spawn_posix, process, reduction, resource_tracker, spawn, util
from typing import Any, NoReturn

from . import _core, _worker

__all__ = ["launch"]

Fds = tuple[int, int, int]  # the zygote's socket, the bell page, a pidfd of the caller
Mask = tuple[
    int, ...
]  # the signals that workers find blocked: the caller's own mask, for while a zygote is launched all are blocked


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
    forked = _Forked(plan)
    util._flush_std_streams()  # type: ignore[attr-defined]  # unflushed text would be printed by every worker again
    if core.launch_zygote(forked.prepare) == 0:
        forked.serve()


class _Forked:
    """The zygote of a fork pool."""

    def __init__(self, plan: _worker.Plan) -> None:
        self._plan = plan

    def prepare(self, fds: Fds, _message: int, _failure: tuple[int, int], mask: Mask) -> Callable[[], int]:
        """Keep what the child needs; return what forks it."""
        self._fds, self._mask = fds, mask
        return _core.fork_zygote

    def serve(self) -> NoReturn:
        """In the child: its whole life."""
        code = 1
        try:
            _report_threads()
            run = functools.partial(_worker.run_forked, self._plan, _worker.clears_atexit("fork"))
            code = _core.zygote_main(*self._fds, self._mask, run)
        finally:
            os._exit(code)


def _report_threads() -> None:
    """In the zygote: say so when it is no longer alone; a fork copies locks, but not the threads that would release them."""
    threads = len(os.listdir("/proc/self/task"))  # noqa: PTH208  # to be counted
    if threads > 1 and sys.stderr is not None:
        print(
            f"holdfast: the process that starts the pool's workers has {threads} threads instead of 1: a function given to "
            "os.register_at_fork(after_in_child=...), or a module preloaded for forkserver, has started some. A worker can hang on "
            "a lock that one of them held when the worker was forked; start threads in the initializer instead.",
            file=sys.stderr,
            flush=True,
        )


class _SpawningPopen:
    """What multiprocessing's reducers ask for while something is pickled for a new process: descriptors keep their numbers."""

    method = "spawn"
    DupFd = popen_spawn_posix._DupFd  # what a reducer puts in place of a descriptor

    def __init__(self) -> None:
        self.fds: list[int] = []

    def duplicate_for_child(self, fd: int) -> int:
        self.fds.append(fd)
        return fd


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
        file.write(_pickle_for_child(_SpawningPopen(), _without_main(full), zygote))
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


def _without_main(preparation: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in preparation.items() if not key.startswith("init_main")}


def _pickle_plan(plan: _worker.Plan, main_by_value: bool) -> tuple[bytes, list[int]]:
    """Pickle the plan, and say which descriptors must go along."""
    popen = _SpawningPopen()
    if not main_by_value:
        try:
            return _pickle_for_child(popen, plan), popen.fds
        except Exception:
            try:
                return _pickle_plan(plan, main_by_value=True)
            except Exception:  # what pickle said is what users know; cloudpickle was only a second try
                pass
            raise
    from ._codec import CloudForkingPickler

    buffer = io.BytesIO()
    mp_context.set_spawning_popen(popen)  # type: ignore[arg-type]  # it asks for no more than _SpawningPopen has
    try:
        CloudForkingPickler(buffer, 5, False, None).dump(plan)  # type: ignore[arg-type]  # None: all in the pickle
    finally:
        mp_context.set_spawning_popen(None)
    return buffer.getvalue(), popen.fds


def _pickle_for_child(popen: _SpawningPopen, *objects: object) -> bytes:
    buffer = io.BytesIO()
    mp_context.set_spawning_popen(popen)  # type: ignore[arg-type]  # it asks for no more than _SpawningPopen has
    try:
        for item in objects:
            reduction.dump(item, buffer)
    finally:
        mp_context.set_spawning_popen(None)
    return buffer.getvalue()


class CleanZygote:
    """The zygote of forkserver and spawn pools, as it travels to its fresh interpreter (multiprocessing.spawn runs it)."""

    def __init__(
        self,
        seed_fds: Fds,
        method: str,
        mask: Mask,
        preparation: dict[str, Any],
        plan_bytes: bytes,
        kept_fds: list[int],
    ) -> None:
        """Keep what the zygote needs; all descriptors have the same numbers in its process."""
        self.seed_fds = seed_fds
        self.method = method
        self.mask = mask
        self.preparation = preparation
        self.plan_bytes = plan_bytes
        self.kept_fds = kept_fds
        self.executable = spawn.get_executable()
        # The names that set_forkserver_preload() was given.
        self.preload = list(forkserver._forkserver._preload_modules) if method == "forkserver" else []  # type: ignore[attr-defined]

    def _bootstrap(self, parent_sentinel: int) -> int:
        os.close(parent_sentinel)  # the caller's pidfd is the right one
        spawn.set_executable(self.executable)
        for fd in (*self.seed_fds, *self.kept_fds):
            os.set_inheritable(fd, False)
        code = 1
        try:
            run: Callable[[_worker.Seed], int]
            if self.method == "spawn":
                run = self._exec_worker
            else:
                self._preload()
                _report_threads()
                get_plan = functools.partial(_worker.load_plan, self.preparation, self.plan_bytes)
                run = functools.partial(_worker.run_forked, get_plan, _worker.clears_atexit("forkserver"))
            util._flush_std_streams()  # type: ignore[attr-defined]  # what the imports printed, once
            code = _core.zygote_main(*self.seed_fds, self.mask, run)
        finally:
            os._exit(code)

    def _preload(self) -> None:
        current = process.current_process()
        for name in self.preload:
            try:
                if name == "__main__":
                    current._inheriting = True  # type: ignore[attr-defined]  # see _worker.load_plan
                    try:
                        spawn.prepare(self.preparation)
                    finally:
                        del current._inheriting  # type: ignore[attr-defined]  # as above
                else:
                    __import__(name)
            except BaseException:  # a preload only saves time: workers meet the error again and report it
                pass
        gc.collect()
        gc.freeze()  # a collection in a worker must not touch, and so copy, the pages of all this

    def _exec_worker(self, seed: _worker.Seed) -> int:
        """In the forked child: become the fresh interpreter of a worker."""
        _core.set_parent_death_kill()
        os.environ[_worker.TAG_VARIABLE] = seed[7]
        worker = _worker.ExecutedWorker(seed, self.preparation, self.plan_bytes)
        message = os.memfd_create("holdfast-spawn")
        popen = _SpawningPopen()
        with open(message, "wb", closefd=False) as file:
            file.write(_pickle_for_child(popen, _without_main(self.preparation), worker))
        os.lseek(message, 0, os.SEEK_SET)
        tracker_fd = resource_tracker._resource_tracker._fd  # type: ignore[attr-defined]  # set by spawn_main
        for fd in (*seed[2:6], *self.kept_fds, message):
            os.set_inheritable(fd, True)
        command = spawn.get_command_line(tracker_fd=tracker_fd, pipe_handle=message)
        os.execv(command[0], command)
