"""Tasks of test_large_arguments.py and test_shared_results.py: arrays that lie in segments."""

import multiprocessing
import os
import signal
import threading
from pathlib import Path

KEPT = []


def mapped_from(array):
    """What the array's memory is mapped from, as /proc tells: a memfd's name, or "" for ordinary memory."""
    address = array.__array_interface__["data"][0]
    with Path("/proc/self/maps").open() as maps:
        for line in maps:
            fields = line.split()
            low, high = (int(part, 16) for part in fields[0].split("-"))
            if low <= address < high:
                return fields[5] if len(fields) > 5 else ""
    return "nowhere"


def where(array):
    return mapped_from(array), array.flags.writeable


def total_then_spoil(array):
    """Read it all, then write to it all: the next task must not see that."""
    answer = float(array.sum())
    array[:] = -1.0
    return answer


def is_first(marker):
    """Whether nobody has called it with this file before."""
    try:
        os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


def spoil_and_fail_once(array, marker):
    """The first run writes to its argument and raises; what the second one sees is the result."""
    answer = total_then_spoil(array)
    if is_first(marker):
        raise ValueError("the first run")
    return answer


def spoil_and_die_once(array, marker):
    answer = total_then_spoil(array)
    return os.kill(os.getpid(), signal.SIGKILL) if is_first(marker) else answer


def keep(array):
    KEPT.append(array)
    return os.getpid()


def keep_a_piece(array):
    KEPT.append(array[1000:2000])
    return os.getpid()


def kept_sums():
    return [(float(each.sum()), float(each[0]), float(each[-1])) for each in KEPT]


def forget():
    KEPT.clear()


def total(array):
    return float(array.sum())


def same(value):
    return value


def raise_with(array):
    raise ValueError(array)


def fork_and_leave(array, go, told):
    """A child that outlives the task: once *go* is readable it tells what it sees of the argument, and ends."""
    if os.fork() == 0:
        os.read(go, 1)
        os.write(told, b"%f" % float(array.sum()))
        os._exit(0)
    return os.getpid()


def sum_in_child(array):
    """In a process of the task's own."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    process = context.Process(target=lambda: theirs.send(float(array.sum())))
    process.start()
    answer = ours.recv()
    process.join()
    return answer


def read_in_thread(array, seconds_of_reading):
    """A thread that goes on reading and counting after the task has ended."""
    changed = []

    def watch():
        first = float(array[0])
        for _ in range(seconds_of_reading):
            if not (array == first).all():
                changed.append(float(array.min()))
                return

    thread = threading.Thread(target=watch, name="reader")
    KEPT.append((thread, changed))
    thread.start()


def thread_saw():
    thread, changed = KEPT.pop()
    thread.join()
    return changed


class Dying:
    """Rebuilding it ends the worker."""

    def __init__(self, array):
        self.array = array

    def __reduce__(self):
        return _die, (self.array,)


def _die(array):
    os.kill(os.getpid(), signal.SIGKILL)


def descriptors():
    """Those of memfds: each is a mapping's, and closed once that is there."""
    found = []
    for entry in Path("/proc/self/fd").iterdir():
        try:
            found.append(str(entry.readlink()))
        except FileNotFoundError:
            pass  # the listing's own
    return sorted(each for each in found if "memfd" in each)
