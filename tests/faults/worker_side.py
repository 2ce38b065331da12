"""What runs in the workers: the causes of death, the objects that die on being pickled or unpickled, initializers and tasks.

Importable by name, so that forkserver and spawn workers find it. A task returns (index, index * index) unless told otherwise.
"""

# Files are opened by name, as the kernel gives them (/proc, descriptors):
from __future__ import annotations

import ctypes
import os
import pickle
import signal
import sys
import time
from typing import Any

from faults import control

HALF = 32 << 20  # bytes; two of them make the 64 MiB of the big arguments and results
# Exits on request from outside, for causes that are no signal (idle, before the first task): the handler does it.
REQUEST = signal.SIGUSR2
SIGNALS = {
    "sigkill": signal.SIGKILL,
    "sigterm": signal.SIGTERM,
    "sigsegv": signal.SIGSEGV,
    "abort": signal.SIGABRT,
    "stop_kill": signal.SIGSTOP,
}
CAUSES = ("sigkill", "sigterm", "sigsegv", "abort", "exit0", "exit1", "stop_kill")


def note_death() -> None:
    """Leave who dies and when on the page; the agent watches for the exit by now (a dead and reaped pid cannot be watched any more)."""
    words = control.page()
    control.be_watched()
    words[control.VICTIM] = os.getpid()
    words[control.FIRED] += 1
    words[control.DEATH_NS] = time.monotonic_ns()


def die(cause: str) -> None:
    """End this worker. Returns only where the signal is blocked or handled (SIGTERM), to die a little later."""
    note_death()
    if cause == "sigkill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif cause == "sigterm":
        os.kill(os.getpid(), signal.SIGTERM)
    elif cause == "sigsegv":
        ctypes.string_at(0)
    elif cause == "abort":
        os.abort()
    elif cause == "exit0":
        os._exit(0)
    elif cause == "exit1":
        sys.exit(1)
    elif cause == "stop_kill":
        control.order(control.STOP_THEN_KILL, os.getpid())
        while True:
            time.sleep(10)


def exit_on_request(cause: str, in_del: bool = False) -> None:
    """Make REQUEST end this worker in the way of *cause* (exit0, exit1). *in_del*: it may come inside a __del__, where sys.exit would be dropped."""

    def handler(signum: int, frame: Any) -> None:
        if cause == "exit0":
            os._exit(0)
        if in_del:
            os._exit(1)
        sys.exit(1)

    signal.signal(REQUEST, handler)


def outside_signal(cause: str) -> int:
    """Which signal from outside brings the cause about (SIGSTOP: the agent's STOP_THEN_KILL)."""
    return int(SIGNALS.get(cause, REQUEST))


def order_own_death(cause: str, delay_us: int) -> None:
    """Have the agent kill this worker from outside, a little later."""
    control.page()[control.VICTIM] = os.getpid()
    control.page()[control.FIRED] += 1
    if cause == "stop_kill":
        control.order(control.STOP_THEN_KILL, os.getpid(), 0, delay_us)
    else:
        control.order(control.KILL, os.getpid(), outside_signal(cause), delay_us)


def leave_grandchild(kind: str) -> None:
    """Fork a process that holds everything inherited open and sleeps: in the worker's group, or in a session of its own."""
    if kind == "none":
        return
    ready, done = os.pipe()
    if os.fork() == 0:
        if kind == "setsid":
            os.setsid()
        os.write(done, b"x")
        while True:
            time.sleep(1000)
    os.read(ready, 1)  # it is where it wants to be
    os.close(ready)
    os.close(done)


class Unpickled:
    """Dies where it is unpickled outside the process that made it; with *deferred* the agent kills within *delay_us*."""

    def __init__(self, cause: str, grandchild: str = "none", delay_us: int = -1) -> None:
        self.state = (cause, grandchild, delay_us, os.getpid())

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpickled, self.state


def _unpickled(cause: str, grandchild: str, delay_us: int, maker: int) -> str:
    if os.getpid() != maker and control.page()[control.FIRED] == 0:
        leave_grandchild(grandchild)
        if delay_us >= 0:
            order_own_death(cause, delay_us)
        else:
            die(cause)
    return "survived"


class Pickled:
    """Dies in the worker while it is pickled; becomes *value* elsewhere."""

    def __init__(self, cause: str, value: Any) -> None:
        self.cause, self.value = cause, value

    def __reduce__(self) -> tuple[Any, ...]:
        die(self.cause)
        return _as_is, (self.value,)


class Dropped:
    """Becomes *value* in the caller; dies in the worker when its last reference goes: right after the result was sent."""

    def __init__(self, cause: str, value: Any) -> None:
        self.cause, self.value, self.maker = cause, value, os.getpid()

    def __reduce__(self) -> tuple[Any, ...]:
        return _as_is, (self.value,)

    def __del__(self) -> None:
        if os.getpid() != self.maker or control.page()[control.FIRED]:
            return
        if self.cause in (
            "exit1",
            "stop_kill",
        ):  # an exception in __del__ is dropped, a wait here would hold the result back
            order_own_death(self.cause, 0)
        else:
            die(self.cause)


def _as_is(value: Any) -> Any:
    return value


class OutOfBand:
    """A large buffer that protocol 5 carries out of band; equal to its length."""

    def __init__(self, data: Any) -> None:
        self.data = data

    def __reduce_ex__(self, protocol: int) -> tuple[Any, ...]:
        return OutOfBand, (pickle.PickleBuffer(self.data),)


def init_plain(cause: str, grandchild: str) -> None:
    """The initializer of the external moments: a handler for REQUEST where needed, a grandchild if asked."""
    if cause.startswith("exit"):
        exit_on_request(cause)
    leave_grandchild(grandchild)
    control.armed()


def init_dies(cause: str, grandchild: str, times: int) -> None:
    """Dies in the first *times* workers that run it (counted on the page)."""
    words = control.page()
    words[control.STARTS] += 1
    if words[control.FIRED] < times:
        leave_grandchild(grandchild)
        die(cause)


def square(index: int) -> tuple[int, int]:
    return index, index * index


def poisoned(index: int, moment: str, cause: str, grandchild: str, payload: Any) -> Any:
    """The task of the matrix: harmless but where *moment* names a fault and nobody has fired yet."""
    answer = (index, index * index)
    words = control.page()
    if moment == "none" or words[control.FIRED]:
        return answer
    if moment == "all_at_once":
        return _gathered(index, cause, grandchild)
    leave_grandchild(grandchild)
    if moment == "running":
        die(cause)
    elif moment == "pickling":
        return Pickled(cause, answer)
    elif moment == "after_commit":
        if cause.startswith("exit"):
            exit_on_request(cause, in_del=True)
        return Dropped(cause, answer)
    elif moment == "writing_64m":
        big = os.urandom(1 << 20) * 64
        if cause.startswith("exit"):
            exit_on_request(cause)
        order_own_death(cause, int(words[control.DELAY_US]))
        return index, OutOfBand(bytearray(big)) if payload == "out_of_band" else big
    return answer


def _gathered(index: int, cause: str, grandchild: str) -> Any:
    """Wait until every worker is busy, then all die at once."""
    words = control.page()
    if words[control.GO]:
        return index, index * index
    leave_grandchild(grandchild)
    words[control.LOST + index] = 1
    control.order(control.GATHER_IN, os.getpid(), int(SIGNALS.get(cause, 0)))
    while not words[control.GO]:
        time.sleep(0.0002)
    words[control.FIRED] += 1
    words[control.DEATH_NS] = time.monotonic_ns()
    if cause == "exit0":
        os._exit(0)
    if cause == "exit1":
        sys.exit(1)
    while True:
        time.sleep(10)  # the agent's signal is on its way


def star(item: tuple[Any, ...]) -> Any:
    """`poisoned` for the methods that pass one argument."""
    return poisoned(*item)
