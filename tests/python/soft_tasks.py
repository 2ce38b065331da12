"""Tasks of test_soft_timeout.py: what may run in a worker when its soft time limit is over."""

import _thread
import asyncio
import itertools
import mmap
import os
import random
import signal
import subprocess
import threading
import time
from pathlib import Path

from holdfast import SoftTimeoutError

PAGE = None  # shared by all workers: one byte for each item that began


def asleep(seconds):
    time.sleep(seconds)
    return seconds


def busy(seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass
    return seconds


def at_a_lock(seconds):
    lock = threading.Lock()
    lock.acquire()
    lock.acquire(timeout=seconds)
    return seconds


def in_a_program(seconds):
    subprocess.run(["sleep", str(seconds)], check=True)
    return seconds


def in_an_event_loop(seconds):
    """The loop has a wake-up descriptor of its own, and handlers."""
    asyncio.run(asyncio.sleep(seconds))
    return seconds


def with_threads(seconds):
    """One of them waits for it: it is the main thread that is interrupted."""
    _thread.start_new_thread(time.sleep, (0.2,))
    time.sleep(seconds)
    return seconds


def either(left, right=0):
    """For the methods of several arguments."""
    time.sleep(left + right)
    return left + right


def catches(seconds):
    try:
        time.sleep(seconds)
    except SoftTimeoutError as error:
        return f"cleaned up: {error}"
    return seconds


def cleans_up(path):
    """Begins, and marks what it has cleaned up."""
    try:
        time.sleep(30)
    finally:
        Path(path).write_text("clean")


def converts(_=None):
    try:
        time.sleep(30)
    except SoftTimeoutError as error:
        raise LookupError("no answer") from error


def counts(seconds):
    """Does not heed it: how often it came, up to so long after the first time."""
    seen = 0
    end = float("inf")
    while time.monotonic() < end:
        try:
            while time.monotonic() < end:
                time.sleep(0.005)
        except SoftTimeoutError:
            seen += 1
            end = time.monotonic() + seconds
            raise_them()  # late ones
    return seen


def hold_the_gil(count):
    """In C, without a look at signals: some 5 ns each. (A C function that sleeps would be woken by the signal.)"""
    return sum(itertools.repeat(0, count))


def stops_itself(_=None):
    os.kill(os.getpid(), signal.SIGSTOP)


def slow_at_first(path):
    """Its first run takes longer than any limit."""
    mark = Path(path)
    if not mark.exists():
        mark.touch()
        time.sleep(30)
    return "second run"


class SlowToPickle:
    """Its limit is over while the result is pickled."""

    def __init__(self, seconds):
        self.seconds = seconds

    def __reduce__(self):
        busy(self.seconds)
        return str, ("a value",)


class SlowToUnpickle:
    """Its limit is over before the task has begun."""

    def __init__(self, seconds):
        self.seconds = seconds

    def __setstate__(self, state):
        self.__dict__.update(state)
        busy(self.seconds)


def slow_to_pickle(seconds):
    return SlowToPickle(seconds)


def is_there(_):
    busy(0.0)
    return "there"


# --- signals ----------------------------------------------------------------------------------------------------------------


def our_signals():
    """The signals whose handler is holdfast's."""
    return [number for number in signal.valid_signals() if "soft_timeout_handler" in repr(signal.getsignal(number))]


def raise_them(_=None):
    """Somebody sends the signal although no limit is over."""
    found = our_signals()
    for number in found:
        signal.raise_signal(number)
    time.sleep(0.01)
    return len(found)


HEARD = []


def take_them_over(_=None):
    """The program uses the same signal."""
    for number in our_signals():
        signal.signal(number, lambda signum, _frame: HEARD.append(signum))


def heard(_=None):
    return HEARD, len(our_signals())


def reset_them_all(seconds):
    """As a daemon does; a signal without a handler would end the process."""
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_DFL)
    time.sleep(seconds)
    return seconds


def masks_of_a_program(_=None):
    """The signals that a program finds blocked, ignored and caught."""
    status = subprocess.run(["cat", "/proc/self/status"], check=True, capture_output=True, text=True).stdout
    return [line for line in status.splitlines() if line.startswith(("SigBlk", "SigIgn", "SigCgt"))]


def pid(_=None):
    return os.getpid()


def alarm_and_limit(_=None):
    """The program's own alarm goes on meanwhile."""
    rung = []
    old = signal.signal(signal.SIGALRM, lambda *_: rung.append(1))
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    try:
        time.sleep(30)
    except SoftTimeoutError:
        return bool(rung)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)


# --- the storm --------------------------------------------------------------------------------------------------------------


def make_page(size):
    return mmap.mmap(-1, size)


def share_page(page):
    global PAGE
    PAGE = page


class Value:
    """Some bytecode in its pickling, where nothing may hit."""

    def __init__(self, number):
        self.number = number

    def __reduce__(self):
        for _ in range(200):
            pass
        return Value, (self.number,)


def about_as_long_as_its_limit(number):
    """Up to twice the limit, in one of several ways."""
    PAGE[number] = PAGE[number] + 1
    seconds = random.Random(number).uniform(0, 0.04)
    if number % 3 == 0:
        time.sleep(seconds)
    elif number % 3 == 1:
        busy(seconds)
    else:
        try:
            time.sleep(seconds)
        except SoftTimeoutError:
            return Value(-number)
    return Value(number)
