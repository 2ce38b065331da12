"""The zygote of forkserver and spawn pools: what runs in its fresh interpreter.

That reads it as a pickle made by the caller (``_zygote.py``) and has nothing else to do before the pool's first worker is born, so it
imports what it needs and nothing else.
"""

from __future__ import annotations

import functools
import gc
import os
import sys
from multiprocessing import process, resource_tracker, spawn, util

from . import _core, _worker

TYPE_CHECKING = False  # as in _worker.py
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = ["CleanZygote", "Fds", "Mask", "report_threads"]

Fds = tuple[int, int, int]  # the zygote's socket, the bell page, a pidfd of the caller
# The signals that workers find blocked: the caller's own mask, for while a zygote is launched all are blocked.
Mask = tuple[int, ...]


def report_threads() -> None:
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


def _forkserver_traits() -> tuple[list[str], bool]:
    """Return the names that set_forkserver_preload() was given, and whether a forkserver's children run atexit functions. In the caller."""
    from multiprocessing import forkserver

    # 3.13 has it: there forked children forget the parent's atexit functions and run their own.
    return list(forkserver._forkserver._preload_modules), hasattr(forkserver, "atexit")  # type: ignore[attr-defined]


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
        self.preload, self.clears_atexit = _forkserver_traits() if method == "forkserver" else ([], False)

    def _bootstrap(self, parent_sentinel: int) -> int:
        os.close(parent_sentinel)  # the caller's pidfd is the right one
        spawn.set_executable(self.executable)
        for fd in (*self.seed_fds, *self.kept_fds):
            os.set_inheritable(fd, False)
        code = 1
        try:
            run: Callable[[_worker.Seed], int]
            warm_up: Callable[[], None] | None = None
            if self.method == "spawn":
                from . import _child_pickles  # noqa: F401  # once, and not in each child

                run = self._exec_worker
            else:
                self._preload()
                report_threads()
                get_plan = functools.partial(_worker.load_plan, self.preparation, self.plan_bytes)
                run = functools.partial(_worker.run_forked, get_plan, self.clears_atexit)
                warm_up = functools.partial(_worker.warm_up, None)
            util._flush_std_streams()  # type: ignore[attr-defined]  # what the imports printed, once
            code = _core.zygote_main(*self.seed_fds, self.mask, run, warm_up)
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
        from . import _child_pickles

        _core.set_parent_death_kill()
        os.environ[_worker.TAG_VARIABLE] = seed[7]
        worker = _worker.ExecutedWorker(seed, self.preparation, self.plan_bytes)
        message = os.memfd_create("holdfast-spawn")
        popen = _child_pickles.SpawningPopen()
        with open(message, "wb", closefd=False) as file:
            file.write(_child_pickles.pickle_for_child(popen, _child_pickles.without_main(self.preparation), worker))
        os.lseek(message, 0, os.SEEK_SET)
        tracker_fd = resource_tracker._resource_tracker._fd  # type: ignore[attr-defined]  # set by spawn_main
        for fd in (*seed[2:6], *self.kept_fds, message):
            os.set_inheritable(fd, True)
        command = spawn.get_command_line(tracker_fd=tracker_fd, pipe_handle=message)
        os.execv(command[0], command)
