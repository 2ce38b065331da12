"""Worker-side tasks and objects of values.py: exceptions, arguments and results that misbehave."""

# Files are opened by name, as the kernel gives them (/proc, descriptors):
from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import time
from typing import Any

from faults import control, worker_side


class CannotPickle(Exception):
    def __init__(self, message: str) -> None:
        super().__init__(message, threading.Lock())


class CannotRebuild(Exception):
    """Rebuilding calls CannotRebuild(text) with one argument: TypeError in the caller."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first} {second}")


class OwnBaseException(BaseException):
    pass


RAISED = {
    "KeyboardInterrupt": KeyboardInterrupt,
    "GeneratorExit": GeneratorExit,
    "CancelledError": asyncio.CancelledError,
    "StopIteration": StopIteration,
    "OwnBaseException": OwnBaseException,
    "RecursionError": RecursionError,
    "MemoryError": MemoryError,
}


def raises(name: str) -> Any:
    raise RAISED[name]("from the task")


def raises_cannot_pickle(index: int) -> int:
    if index == 1:
        raise CannotPickle("what the lock was for")
    return index


def raises_cannot_rebuild(index: int) -> int:
    if index == 1:
        raise CannotRebuild("two", "arguments")
    return index


def exits(code: Any) -> None:
    sys.exit(code)


class Hostile:
    """Pickles well and misbehaves when it is unpickled outside the process that made it."""

    def __init__(self, what: str) -> None:
        self.what = what

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpack, (self.what, os.getpid())


def _unpack(what: str, maker: int) -> Any:
    if os.getpid() == maker:
        return what
    if what == "raise":
        raise LookupError("raised while being unpickled")
    if what == "exit":
        sys.exit(7)
    if what == "interrupt":
        raise KeyboardInterrupt("raised while being unpickled")
    return what


def returns_hostile(what: str) -> Any:
    return Hostile(what)


def returns_lock(index: int) -> Any:
    return threading.Lock() if index == 1 else index


def forks_and_both_return(index: int) -> tuple[int, int]:
    """The child comes back into the worker's loop; only the worker may answer."""
    if os.fork() == 0:
        return index, -1
    time.sleep(0.002)  # let the child go first: it is the one that must not answer
    return index, index * index


def forks_and_child_raises(index: int) -> tuple[int, int]:
    if os.fork() == 0:
        raise RuntimeError("from the child of the task")
    return index, index * index


def closes_everything(index: int) -> int:
    """A library that daemonises wrongly: every descriptor above stderr is closed."""
    if index == 1:
        os.closerange(3, 4096)
    return index


def becomes_another_program(index: int) -> int:
    if index == 1:
        os.execv("/bin/sleep", ["sleep", "1000"])
    return index


def ignores_everything(_: int) -> None:
    """Deaf to every signal that can be ignored, and asleep."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    control.armed()
    while True:
        time.sleep(1000)


def stops_itself(_: int) -> None:
    control.armed()
    os.kill(os.getpid(), signal.SIGSTOP)
    time.sleep(1000)


def holds_the_gil(_: int) -> None:
    """In C, with the GIL, for a long time: no Python handler can run."""
    control.armed()
    sum(range(10**12))


def swallows_everything(_: int) -> None:
    control.armed()
    while True:
        try:
            time.sleep(1000)
        except BaseException:
            continue


def term_handler_raises() -> None:
    def handler(signum: int, frame: Any) -> None:
        raise RuntimeError("from the SIGTERM handler")

    signal.signal(signal.SIGTERM, handler)


def swallows_with_handler(number: int) -> None:
    term_handler_raises()
    swallows_everything(number)


def one_in_ten(index: int, cause: str, folder: str) -> int:
    """Kills its worker for every tenth index: once with a folder to note it in, always without."""
    if index % 10 == 3:
        if not folder:
            worker_side.die(cause)
        try:
            os.close(os.open(f"{folder}/{index}", os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return index * index
        worker_side.die(cause)
    return index * index


def one_in_ten_star(item: tuple[int, str, str]) -> int:
    return one_in_ten(*item)


def init_raises() -> None:
    raise ValueError("the initializer does not like it here")


def negative(index: int) -> int:
    return -index


def raises_at_one(index: int) -> int:
    if index == 1:
        raise ValueError("index 1")
    return index
