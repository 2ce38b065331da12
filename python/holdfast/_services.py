"""What a pool needs beside its calls: the zygote's launcher, the service threads, the end.

The service threads hold the Core and never the Pool, so that a Pool that is dropped can be collected. They sleep in C without
the GIL; both end with the engine.
"""

from __future__ import annotations

import _thread
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import process, spawn
from typing import Any

from . import _core, _zygote
from ._handles import HandleList
from ._options import PoolOptions
from ._results import deliver, deliver_note, deliver_stall

__all__ = [
    "Launcher",
    "Services",
    "arguments",
    "end",
    "main_by_value",
    "reserve_identities",
    "start_threads",
    "start_uninterrupted",
    "worker_name_prefix",
]


@dataclass(frozen=True)
class Launcher:
    """How to start the pool's zygote, now and again when it has died. Holds initargs while the pool lives."""

    context: Any
    initializer: Callable[..., object] | None
    initargs: tuple[Any, ...]
    options: PoolOptions
    identity_base: int
    main_by_value: bool

    def launch(self, core: _core.Core) -> None:
        """Start a zygote and tell the engine."""
        _zygote.launch(
            core,
            self.context,
            self.initializer,
            self.initargs,
            daemon=self.options.daemon,
            identity_base=self.identity_base,
            main_by_value=self.main_by_value,
            recycle_after_async_exception=self.options.recycle_after_async_exception,
            stall_warning=float(self.options.stall_warning or 0.0),
        )


def main_by_value(context: Any) -> bool:
    """Whether workers cannot import this process's ``__main__`` (a prompt, ``python -c``): then its functions go by value."""
    if context.get_start_method() == "fork":
        return False
    return not any(key.startswith("init_main") for key in spawn.get_preparation_data("holdfast"))


def reserve_identities(count: int) -> int:
    """Take *count* numbers from the counter of this process's children, for workers' names; return the number before the first."""
    counter = process._process_counter  # type: ignore[attr-defined]  # multiprocessing's own counter
    first: int = next(counter)
    for _ in range(count - 1):
        next(counter)
    return first - 1


def worker_name_prefix(context: Any) -> str:
    """``ForkPoolWorker`` and so on, with this process's own identity when it is itself a worker."""
    name = context.Process.__name__.replace("Process", "PoolWorker")
    identity = process.current_process()._identity
    return "-".join([name, *[":".join(map(str, identity)) + ":"]] if identity else [name])


def arguments(call_mode: int, payload: Any) -> tuple[Any, ...]:
    """Return the positional arguments of a task from its payload (call modes: bind_submit.cpp)."""
    if isinstance(payload, BaseException) or call_mode == 0:
        return (payload,)
    return tuple(payload if call_mode == 1 else payload[0])


class Services:
    """The threads of one pool."""

    def __init__(self, dispatcher: threading.Thread, restarter: threading.Thread) -> None:
        """Both are running."""
        self._dispatcher = dispatcher
        self._restarter = restarter

    def join(self, deadline: float | None) -> bool:
        """Wait until all callbacks have run (not from within one); False when the deadline came first."""
        # A daemon thread that asks for the GIL now is ended by Python, and never says that it is done.
        if sys.is_finalizing():
            return True
        for thread in (self._dispatcher, self._restarter):
            if thread is not threading.current_thread():
                thread.join(None if deadline is None else max(0.0, deadline - time.monotonic()))
                if thread.is_alive():
                    return False
        return True


def start_uninterrupted(*threads: threading.Thread) -> None:
    """Start threads so that an exception out of a signal handler cannot hit in the middle.

    Interrupted inside, Thread.start() leaves a thread behind that dies before its first line. Handlers run in the main thread only,
    so another thread does it: a bare one, whose own start is a single call into C.
    """
    if threading.current_thread() is not threading.main_thread():
        for thread in threads:
            thread.start()
        return
    failed: list[BaseException] = []
    done = _thread.allocate_lock()

    def start_all() -> None:
        try:
            for thread in threads:
                thread.start()
        except BaseException as error:  # no more threads allowed: the caller is to hear it
            failed.append(error)
        finally:
            done.release()

    done.acquire()
    _thread.start_new_thread(start_all, ())
    done.acquire()
    if failed:
        raise failed[0]


def start_threads(core: _core.Core, launcher: Launcher) -> Services:
    """Start the dispatcher and the restarter."""
    dispatcher = threading.Thread(
        target=_dispatch, args=(core, launcher.context.get_start_method()), name="holdfast-dispatcher", daemon=True
    )
    restarter = threading.Thread(target=_restart, args=(core, launcher), name="holdfast-restarter", daemon=True)
    start_uninterrupted(dispatcher, restarter)
    return Services(dispatcher, restarter)


class _Shielded:
    """Blocks all signals in this thread, but for the `with` blocks in which it runs user code (whose programs inherit the mask).

    A signal that a sleeping service thread took would run its handler in the main thread, also while that has all signals blocked.
    """

    def __init__(self) -> None:
        self._mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())

    def __enter__(self) -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)

    def __exit__(self, *_: object) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())


def _dispatch(core: _core.Core, method: str) -> None:
    """Run callbacks and show notes, in completion order."""
    user_code = _Shielded()
    while (event := core.wait_dispatch()) is not None:
        try:
            with user_code:
                _handle(event, method)
        except BaseException:  # whatever user code manages to raise here: callbacks still to come must run
            traceback.print_exc()
        event = None  # a result must not live until the next event


def _handle(event: tuple[Any, ...], method: str) -> None:
    if event[0] == "result":
        deliver(event[1])
    elif event[0] == "note":
        deliver_note(event[1], event[2])
    elif event[0] == "stalled":
        deliver_stall(event[1], event[2], event[3], method)


def _restart(core: _core.Core, launcher: Launcher) -> None:
    """Start a new zygote whenever the engine lacks one."""
    callers_mask = _Shielded()
    while core.wait_zygote_needed():
        try:
            with callers_mask:  # the launcher blocks it again, and passes it on to the workers
                launcher.launch(core)
        except BaseException:  # cannot fork (limits, memory): without a zygote there will be no workers
            traceback.print_exc()
            core.terminate(0.0)
            return


def end(core: _core.Core, handles: HandleList, grace: float) -> None:
    """Stop the engine of a pool that was dropped, or that the interpreter's exit finds."""
    handles.forget()
    core.terminate(grace)
    core.wait_ended(grace + 10.0)
