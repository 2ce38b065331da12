"""Tasks for the tests: plain functions of an importable module, so that every start method finds them."""

import ctypes
import multiprocessing
import os
import signal
import sys
import time
from pathlib import Path


def mebibytes(_number):
    return bytes(1 << 20)


def same(value):
    return value


def square(number):
    return number * number


def add(left, right=0, *, scale=1):
    return (left + right) * scale


def pid(_=None):
    return os.getpid()


def raise_value_error(number):
    raise ValueError(f"no {number}")


def fail_on_three(number):
    if number == 3:
        raise ValueError("three")
    return number


def raise_this(error):
    raise error


def kill_on_three(number):
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return number * number


def die_by(how, number=None):
    """End this worker in one of the ways that the tests know."""
    if number is not None and number != 3:
        return number
    if how == "sys.exit":
        sys.exit(15)
    if how == "os._exit":
        os._exit(7)
    if how == "abort":
        os.abort()
    os.kill(os.getpid(), getattr(signal, how))
    time.sleep(60)
    return None


def exit_on_three(number):
    if number == 3:
        sys.exit(15)
    return number * number


def sleep(seconds):
    time.sleep(seconds)
    return seconds


def count_run(path):
    """Which run this is: each puts a byte into a file."""
    with Path(path).open("ab") as file:
        file.write(b"x")
    return Path(path).stat().st_size


def die_until(path_and_limit):
    """Die as often as the limit says; then return the number of runs."""
    path, limit = path_and_limit
    runs = count_run(path)
    if runs <= limit:
        os.kill(os.getpid(), signal.SIGKILL)
    return runs


def raise_until(path_and_limit):
    path, limit = path_and_limit
    runs = count_run(path)
    if runs <= limit:
        raise OSError(f"run {runs}")
    return runs


def touch(path):
    with Path(path).open("wb"):
        pass
    return path


def wait_for_file(path):
    """Until the file is there (a signal between test and task); a hang is the outer limit's."""
    while not Path(path).exists():
        time.sleep(0.002)
    return path


def is_alive(pid):
    """Whether the process runs: a zombie does not."""
    try:
        with Path(f"/proc/{pid}/stat").open() as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def announce_and_wait(paths):
    """Say that this task has begun, then wait."""
    started, go = paths
    touch(started)
    return wait_for_file(go)


def worker_view(_=None):
    """What a task sees of its process."""
    current = multiprocessing.current_process()
    return current.name, current.daemon, multiprocessing.parent_process().pid


def set_global(value):
    global GLOBAL
    GLOBAL = value


def get_global(_=None):
    return GLOBAL


def fail_to_start():
    raise RuntimeError("no such database")


def nested_map_of(pair):
    """A pool inside a task."""
    class_name, numbers = pair
    import holdfast

    with getattr(holdfast, class_name)(2) as pool:
        return pool.map(square, numbers)


class Unpicklable:
    """Refuses to be pickled."""

    def __reduce__(self):
        raise RuntimeError("not me")


def make_unpicklable(_=None):
    return Unpicklable()


def unpicklable_on_three(number):
    return Unpicklable() if number == 3 else number


def make_lambda():
    return lambda: 42


def _explode(error):
    raise error


class Grenade:
    """Raises while it is unpickled."""

    def __init__(self, error):
        self.error = error

    def __reduce__(self):
        return _explode, (self.error,)


def make_grenade(error):
    return Grenade(error)


class TwoArguments(Exception):
    """The classic: its pickled args do not fit its __init__."""

    def __init__(self, one, two):
        super().__init__(f"{one}-{two}")


def raise_two_arguments(_=None):
    raise TwoArguments(1, 2)


class UnpicklableError(Exception):
    def __init__(self):
        super().__init__("odd")
        self.lock = multiprocessing.get_context("fork").Lock()


def raise_unpicklable(_=None):
    raise UnpicklableError


def sleep_in_disguise(seconds):
    """Says in the worker's shared memory that nothing runs (src/ring/layout.hpp: the progress words), then sleeps."""
    with Path("/proc/self/maps").open() as maps:
        ring = next(line for line in maps if "memfd:holdfast-ring" in line)
    ctypes.memset(int(ring.split("-")[0], 16) + 448 + 16, 0, 32)
    time.sleep(seconds)
