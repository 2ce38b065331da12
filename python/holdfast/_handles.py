"""Worker handles: what ``pool._pool`` and ``multiprocessing.active_children()`` list, as much like a Process as a worker is one.

A worker is no child of this process (the zygote starts and reaps it), so everything here asks the engine, by the worker's
number: a pid alone may have been given to somebody else.
"""

from __future__ import annotations

import os
import select
import signal
import time
from multiprocessing import process
from typing import Any

from . import _core

__all__ = ["HandleList", "WorkerHandle"]


class WorkerHandle:
    """One worker process: ``pid``, ``exitcode``, ``is_alive()``, ``name``, ``join()`` and so on as on a Process."""

    def __init__(
        self, core: _core.Core, worker: int, identity: int, name: str, daemon: bool, owner: HandleList
    ) -> None:
        """Handles are made by their list."""
        self._core = core
        self._worker = worker
        self._identity = (identity,)
        self._owner = owner
        self._pidfd = -1
        self._pid: int | None = None
        self._report: Any = None
        self._memory: int | None = None
        self.name = name
        self.daemon = daemon
        self.authkey = process.current_process().authkey

    def __del__(self) -> None:
        if self._pidfd >= 0:
            os.close(self._pidfd)

    @property
    def _popen(self) -> _Popen:
        # Made when asked for: kept, the two would be a cycle, and a pool that is over would keep its engine until the next collection.
        return _Popen(self)

    def _look(self) -> bool:
        """Refresh from the engine; True while alive."""
        if self._report is not None:
            return False
        info = self._core.worker_info(self._worker)
        if info is None:  # so long dead that the engine has forgotten it
            self._report = False
            return False
        _, _, pid, alive, _, report, self._memory = info
        if pid:
            self._pid = pid
        if alive or report is None:  # not started yet; running; or dead with its report still being written
            return True
        self._report = report
        return False

    @property
    def pid(self) -> int | None:
        """The process id, also after its end; ``None`` before its start."""
        if self._pid is None:
            self._look()
        return self._pid

    ident = pid

    @property
    def exitcode(self) -> int | None:
        """``None`` while alive (or not known); else the exit code, or minus the signal's number."""
        self._look()
        return self._report.exitcode if self._report else None

    @property
    def report(self) -> Any:
        """The :class:`~holdfast.ExitReport` once it has ended, else ``None``."""
        self._look()
        return self._report or None

    @property
    def memory_bytes(self) -> int | None:
        """What it has beyond the memory it was born with, at the last of ten readings a second while tasks run; ``None``: not read, or ended."""
        return self._memory if self._look() else None

    @property
    def sentinel(self) -> int:
        """A descriptor that is readable once the worker has ended; closed with the handle."""
        return self._popen.pidfd()

    def is_alive(self) -> bool:
        """Whether the process runs."""
        return self._look() and self._pid is not None

    def join(self, timeout: float | None = None) -> None:
        """Wait until it has ended."""
        self._popen.wait(timeout)

    def terminate(self) -> None:
        """Send SIGTERM. The pool starts a replacement."""
        self._popen.send(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL. The pool starts a replacement."""
        self._popen.send(signal.SIGKILL)

    def __repr__(self) -> str:
        state = "started" if self.is_alive() else f"stopped exitcode={self.exitcode}"
        return f"<{type(self).__name__} name={self.name!r} pid={self._pid} {state}{' daemon' if self.daemon else ''}>"


class _Popen:
    """What multiprocessing's bookkeeping of children asks a Process's ``_popen``."""

    def __init__(self, handle: WorkerHandle) -> None:
        self._handle = handle

    @property
    def pid(self) -> int | None:
        return self._handle.pid

    @property
    def returncode(self) -> int | None:
        return self.poll()

    def poll(self) -> int | None:
        """``None`` while alive. active_children() calls this before it lists: the moment to list replacements, too."""
        if self._handle._look():
            return None
        self._handle._owner.refresh()
        code = self._handle.exitcode
        return 0 if code is None else code

    def pidfd(self) -> int:
        handle = self._handle
        if handle._pidfd < 0:
            pid = handle.pid
            if pid is None or not handle._look():
                raise ValueError("the worker has ended")
            pidfd = os.pidfd_open(pid)
            # Only if it is alive now was it alive when the descriptor was opened: then it is this worker's and nobody else's.
            if not handle._look():
                os.close(pidfd)
                raise ValueError("the worker has ended")
            handle._pidfd = pidfd
        return handle._pidfd

    def send(self, signum: int) -> None:
        try:
            signal.pidfd_send_signal(self.pidfd(), signum)
        except (ValueError, ProcessLookupError):
            pass  # it has ended: what was wanted

    def terminate(self) -> None:
        self.send(signal.SIGTERM)

    def kill(self) -> None:
        self.send(signal.SIGKILL)

    def wait(self, timeout: float | None = None) -> int | None:
        try:
            pidfd = self.pidfd()
        except (ValueError, ProcessLookupError):
            return self.poll()
        poller = select.poll()
        poller.register(pidfd, select.POLLIN)
        if poller.poll(None if timeout is None else max(0.0, timeout * 1000)):
            # Gone. The engine still collects the evidence (100 ms at most); as on a Process, exitcode must be there after join().
            deadline = time.monotonic() + 1.0
            while self._handle._look() and time.monotonic() < deadline:
                time.sleep(0.001)
        return self.poll()

    def close(self) -> None:
        """Nothing to close before the handle goes."""


class HandleList:
    """The handles of one pool, one per worker for its life; also what puts them among multiprocessing's children."""

    def __init__(self, core: _core.Core, name_prefix: str, identity_base: int, daemon: bool) -> None:
        """*identity_base* + the worker's own number gives its name, as in the worker itself."""
        self._core = core
        self._name_prefix = name_prefix
        self._identity_base = identity_base
        self._daemon = daemon
        self._handles: dict[int, WorkerHandle] = {}
        self._pid = os.getpid()

    def refresh(self) -> list[WorkerHandle]:
        """Return the handles of the workers that there are now. As in the standard pool, one that has no process yet is not among them."""
        current: dict[int, WorkerHandle] = {}
        started: list[WorkerHandle] = []
        for worker, identity, pid, alive, *_ in self._core.workers():
            handle = self._handles.get(worker)
            if handle is None:
                number = self._identity_base + identity
                handle = WorkerHandle(self._core, worker, number, f"{self._name_prefix}-{number}", self._daemon, self)
                self._handles[worker] = (
                    handle  # first: a signal handler may raise anywhere here, and forget() must find it
                )
            current[worker] = handle
            if pid:
                started.append(handle)
            if alive and os.getpid() == self._pid:
                process._children.add(handle)  # type: ignore[attr-defined]  # multiprocessing.active_children() lists these
        for worker, handle in list(self._handles.items()):
            if worker not in current and not handle._look():
                process._children.discard(handle)  # type: ignore[attr-defined]  # as above
        self._handles = current
        return started

    def forget(self) -> None:
        """The pool is over: its workers are nobody's children any more."""
        for handle in self._handles.values():
            process._children.discard(handle)  # type: ignore[attr-defined]  # as above
        self._handles = {}


def _forget_in_child() -> None:
    """In a forked child: the workers are its parent's. Its exit would end them (multiprocessing's exit hook ends all children)."""
    for child in list(process._children):  # type: ignore[attr-defined]  # as above
        if isinstance(child, WorkerHandle):
            process._children.discard(child)  # type: ignore[attr-defined]  # as above


os.register_at_fork(after_in_child=_forget_in_child)
