"""Handlers and tasks of test_signal_handlers.py: what a worker's signal handlers may do to it."""

import ctypes
import functools
import mmap
import os
import signal
import sys
import time
from pathlib import Path


class Raised(Exception):
    """Out of a handler."""


PAGE = None  # shared by all workers: one byte for each item that began
STORMY = False  # whether the storm may hit: not in the initializer, where it would be a failed start


def raise_it(number, _frame):
    raise Raised(number)


def exit_it(_number, _frame):
    sys.exit(21)


def raise_base(_number, _frame):
    raise GeneratorExit


def ignore_it(_number, _frame):
    pass


HANDLERS = {
    "raises": raise_it,
    "exits": exit_it,
    "raises_base": raise_base,
    "ignores": ignore_it,
    "ignored": signal.SIG_IGN,
    "default": signal.SIG_DFL,
}


def handle(kind, *numbers):
    for number in numbers or (signal.SIGTERM,):
        signal.signal(number, HANDLERS[kind])


def same(value):
    return value


def pid(_=None):
    return os.getpid()


def signal_self(number):
    """The handler runs in this very call."""
    os.kill(os.getpid(), number)
    return "not raised"


# --- states to be terminated in -------------------------------------------------------------------------------------------


def asleep(path):
    Path(path).touch()
    time.sleep(1000)


def busy(path):
    Path(path).touch()
    while True:
        pass


def swallows(path):
    """Every exception, for ever."""
    while True:
        try:
            Path(path).touch()
            while True:
                time.sleep(0.01)
        except BaseException:
            pass


def in_c_with_the_gil(path):
    Path(path).touch()
    ctypes.PyDLL(None).sleep(1000)


def asleep_in_c(path):
    Path(path).touch()
    ctypes.CDLL(None).sleep(1000)


# --- objects whose pickling meets a signal ---------------------------------------------------------------------------------


class SignalsWhileUnpickled:
    """As an argument: the signal comes in the middle of its unpickling in the worker."""

    def __init__(self, number):
        self.number = number
        self.maker = os.getpid()

    def __setstate__(self, state):
        if os.getpid() != state["maker"]:
            os.kill(os.getpid(), state["number"])
            time.sleep(0)
        self.__dict__.update(state)


class SignalsWhilePickled:
    """As a result: the signal comes in the middle of its pickling in the worker."""

    def __init__(self, number):
        self.number = number

    def __reduce__(self):
        os.kill(os.getpid(), self.number)
        return str, (f"pickled under signal {int(self.number)}",)


def make_signals_while_pickled(number):
    return SignalsWhilePickled(number)


# --- the storm ------------------------------------------------------------------------------------------------------------


class Slow:
    """Some bytecode in unpickling and in pickling, so that the storm can hit there."""

    def __init__(self, value):
        self.value = value

    def __reduce__(self):
        return unpickle_slowly, (self.value,)


def unpickle_slowly(value):
    for _ in range(20):
        pass
    return Slow(value)


def share_page(page):
    global PAGE
    PAGE = page


def storm(page, kind, seconds):
    """From its first task on the handler runs every so often, whatever the worker does."""
    share_page(page)

    def in_the_storm(number, frame):
        if STORMY:
            HANDLERS[kind](number, frame)

    signal.signal(signal.SIGALRM, in_the_storm)
    signal.setitimer(signal.ITIMER_REAL, seconds, seconds)


def same_in_the_storm(value):
    global STORMY
    STORMY = True
    return value


def begin(number):
    """Of an item: one more run of it."""
    global STORMY
    PAGE[number] = PAGE[number] + 1
    STORMY = True


def mark(item):
    """One run of one item; its result takes some bytecode to pickle."""
    begin(item.value)
    for _ in range(50):
        pass
    return Slow(item.value)


def mark_plain(number):
    begin(number)
    return number


def make_page(size):
    return mmap.mmap(-1, size)


# --- recycling ------------------------------------------------------------------------------------------------------------


class Handlers:
    """A handler that is a method."""

    def method(self, number, frame):
        raise Raised(number)


def through_a_helper(number, frame):
    raise_it(number, frame)


def forgets_its_arguments(*arguments):
    raise Raised(arguments[0])


INSTALLED = {
    "function": raise_it,
    "method": Handlers().method,
    "partial": functools.partial(raise_it),
    "lambda": lambda *_: raise_it(0, None),
    "star": forgets_its_arguments,
    "helper": through_a_helper,
}


def limited(kind):
    """The common pattern: a time limit by SIGALRM, the old handler back before anybody else sees the exception."""
    old = signal.signal(signal.SIGALRM, INSTALLED[kind])
    signal.setitimer(signal.ITIMER_REAL, 0.01)
    try:
        time.sleep(20)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)


def limited_in_python(kind):
    """The same in the middle of bytecode."""
    old = signal.signal(signal.SIGALRM, INSTALLED[kind])
    signal.setitimer(signal.ITIMER_REAL, 0.01)
    try:
        while True:
            pass
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)


def converted(_=None):
    """Another exception in its place."""
    try:
        limited("function")
    except Raised as error:
        raise LookupError from error


def interrupted(_=None):
    signal.raise_signal(signal.SIGINT)
    time.sleep(20)


def handled(_=None):
    """The task deals with it: it has not been ended by it."""
    try:
        limited("function")
    except Raised:
        return "handled"


def fails_by_itself(_=None):
    """An ordinary exception, with what a handler's looks like from afar."""
    raise_it(15, sys._getframe(1))


def slow_mark(number):
    begin(number)
    end = time.monotonic() + 0.002
    while time.monotonic() < end:
        pass
    return number
