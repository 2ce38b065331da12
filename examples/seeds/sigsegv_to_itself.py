"""Seed 004, SafePool, "SIGKILL and other similar ones": a C extension that runs into a wall (SIGSEGV).

Standard pool: waits for ever. holdfast's SafePool puts None in the place of the lost square, as the seed asks:
[0, 1, 4, None, 16, 25, 36, 49, 64, 81], and lists the lost task.
"""

import ctypes
import multiprocessing

from _story import STDLIB, end, say


def square(i):
    if i == 3:
        ctypes.string_at(0)  # reads address 0: a real segmentation fault
    return i * i


if __name__ == "__main__":
    if STDLIB:
        from multiprocessing import Pool as SafePool
    else:
        from holdfast import SafePool
    pool = SafePool(processes=3)
    say("map over ten squares; the worker of the fourth crashes")
    squares = pool.map(square, range(10), chunksize=1)
    say(f"result: {squares}")
    say(f"killed tasks: {pool.get_killed_tasks()}")
    pool.close()
    pool.join()
    say(f"children left: {multiprocessing.active_children()}")
    end()
