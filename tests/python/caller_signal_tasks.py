"""Results whose unpickling is interrupted by a signal in the caller, and the handlers that raise there. For test_caller_signals.py."""

import os
import signal
import sys

CALLER = os.getpid()
INTERRUPTIONS = []  # signals that the next unpicklings raise, one each
ANSWERS = []  # what calls made by a handler came to


class Raised(Exception):
    """Out of a handler."""


def raise_it(number, frame):
    raise Raised(number)


def interrupt():
    """In the middle of an unpickling in the caller: the signal that is due."""
    if os.getpid() == CALLER and INTERRUPTIONS:
        number = INTERRUPTIONS.pop()
        exec(
            "interrupt(number)", {"interrupt": signal.raise_signal, "number": number}
        )  # code of its own each time: no two interruptions in the same place


def rebuild(value):
    interrupt()
    return Interrupted(value)


class Interrupted:
    """Is interrupted while it is rebuilt."""

    def __init__(self, value):
        self.value = value

    def __reduce__(self):
        return rebuild, (self.value,)


def rebuild_error(value):
    interrupt()
    return InterruptedError_(value)


class InterruptedError_(Exception):
    """An exception that is interrupted while it is rebuilt."""

    def __reduce__(self):
        return rebuild_error, self.args


class Refused(TypeError):
    """Out of a handler; of a class by which pickle refuses an object, too, and cloudpickle is tried then."""


def refuse_it(number, frame):
    raise Refused(number)


def raise_from_star(*arguments):
    """A handler without names for its arguments."""
    raise Raised(arguments[0])


class InterruptedPickling:
    """Is interrupted while it is pickled in the caller, as an argument or as the function."""

    def __init__(self, value, convert=False):
        self.value = value
        self.convert = convert

    def __reduce__(self):
        try:
            interrupt()
        except Raised as error:
            if self.convert:
                raise ValueError("no state") from error
            raise
        return InterruptedPickling, (self.value,)

    def __call__(self, value):
        return self.value + value


class InterruptsHere(InterruptedPickling):
    """Brings its interruption along."""

    def __reduce__(self):
        INTERRUPTIONS.append(signal.SIGALRM)
        return super().__reduce__()


class FailsToPickle:
    """Its own doing, and with a frame that looks like a handler's from afar."""

    def __reduce__(self):
        fail(1, 2)


def fail(number, frame):
    raise Raised(number)


def value_of(item, *more):
    return item.value + sum(more)


def interrupted(value):
    return Interrupted(value)


def raises_interrupted(value):
    raise InterruptedError_(value)


def dies(value):
    os._exit(value)


def refuse(value):
    if os.getpid() == CALLER:
        raise KeyboardInterrupt


def leave(value):
    if os.getpid() == CALLER:
        sys.exit(value)  # a call into C: another instruction of the same line once the interpreter has specialised it


class Leaves:
    """Its unpickling raises SystemExit."""

    def __reduce__(self):
        return leave, (1,)


def leaves(_):
    return Leaves()


class Refuses:
    """Its unpickling itself raises KeyboardInterrupt."""

    def __reduce__(self):
        return refuse, (1,)


def refuses(_):
    return Refuses()
