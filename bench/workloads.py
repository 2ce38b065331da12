"""The workloads: each runs on an open peer, checks its results and returns what it measured (seconds, or another unit by name).

Run by run.py, each pair of workload and peer in a process of its own: python bench/workloads.py <workload> <peer> <workers>.
"""

# Files are opened by name, as the kernel gives them:
# ruff: noqa: PTH123
from __future__ import annotations

import json
import mmap
import multiprocessing
import os
import select
import signal
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from peers import TELLS_OF_A_DEATH, open_peer

UNITS = {
    "apply round trip": "us",
    "apply_async, 20,000 tasks": "s",
    "map, 1,000,000 items": "s",
    "map, 50,000 items, chunksize 1": "s",
    "64 MiB numpy result": "ms",
    "death -> caller, from the exit": "us",
    "death -> caller, from the last act": "us",
    "memory growth, 2,000,000 items read slowly": "MiB",
}
HANG_S = 2.0
ARRAY = 8 << 20  # float64s: 64 MiB
SLOW_ITEMS, SLOW_CHUNK = 2_000_000, 100
stamps = mmap.mmap(-1, 4096)  # shared with forked workers: [0] = nanoseconds of the victim's last act
words = memoryview(stamps).cast("q")


def same(value: int) -> int:
    return value


def array(fill: float) -> Any:
    import numpy

    return numpy.full(ARRAY, fill)


def whoami() -> int:
    return os.getpid()


def die(by_signal: bool) -> None:
    """The last thing this worker does is look at the clock."""
    time.sleep(0.02)  # the caller is asleep in its wait by now
    words[0] = time.monotonic_ns()
    if by_signal:
        os.kill(os.getpid(), signal.SIGKILL)
    os._exit(0)


def apply_round_trip(peer: Any, workers: int) -> dict[str, float]:
    for number in range(300):
        peer.apply(same, (number,))
    times = []
    for number in range(3000):
        began = time.perf_counter()
        answer = peer.apply(same, (number,))
        times.append(time.perf_counter() - began)
        assert answer == number
    return {"apply round trip": statistics.median(times) * 1e6}


def apply_async_many(peer: Any, workers: int) -> dict[str, float]:
    peer.apply(same, (0,))
    began = time.perf_counter()
    waits = [peer.submit(same, (number,)) for number in range(20_000)]
    values = [wait() for wait in waits]
    took = time.perf_counter() - began
    assert values == list(range(20_000))
    return {"apply_async, 20,000 tasks": took}


def _map(peer: Any, count: int, chunksize: int | None) -> float:
    peer.apply(same, (0,))
    began = time.perf_counter()
    values = peer.map(same, range(count), chunksize)
    took = time.perf_counter() - began
    assert values == list(range(count))
    return took


def map_default(peer: Any, workers: int) -> dict[str, float]:
    return {"map, 1,000,000 items": _map(peer, 1_000_000, None)}


def map_single(peer: Any, workers: int) -> dict[str, float]:
    return {"map, 50,000 items, chunksize 1": _map(peer, 50_000, 1)}


def numpy_result(peer: Any, workers: int) -> dict[str, float]:
    times = []
    for number in range(8):
        began = time.perf_counter()
        answer = peer.apply(array, (float(number),))
        times.append(time.perf_counter() - began)
        assert answer.nbytes == 64 << 20 and answer[0] == answer[-1] == number
        del answer
    return {"64 MiB numpy result": statistics.median(times[2:]) * 1e3}


def _exit_watcher(requests: Any, answers: Any) -> None:
    """A process of its own that tells when a pid ended. At real-time priority where that is allowed: else its own late wake-up
    on a busy machine would make the news look faster than it is.
    """
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(10))
    except PermissionError:
        pass  # "from the last act" is the figure to go by then
    while True:
        pid = requests.recv()
        if pid is None:
            return
        descriptor = os.pidfd_open(pid)
        answers.send(None)
        select.select([descriptor], [], [])
        answers.send(time.monotonic_ns())
        os.close(descriptor)


def death_to_caller(name: str, workers: int) -> dict[str, float | str]:
    """Opens its own pools: ProcessPoolExecutor is broken after each death, the standard pool hangs in the first."""
    requests, to_watcher = multiprocessing.Pipe(False)
    from_watcher, answers = multiprocessing.Pipe(False)
    watcher = multiprocessing.get_context("fork").Process(target=_exit_watcher, args=(requests, answers))
    watcher.start()
    from_exit, from_act = [], []
    peer = open_peer(name, 1)
    try:
        for number in range(20):
            to_watcher.send(peer.apply(whoami, ()))
            from_watcher.recv()
            wait = peer.submit(die, (number % 2 == 0,))
            if name == "multiprocessing.Pool":
                try:
                    wait(HANG_S)
                except multiprocessing.TimeoutError:
                    return {"death -> caller, from the exit": "hangs", "death -> caller, from the last act": "hangs"}
            try:
                wait()
                raise AssertionError("the dead worker has answered")
            except TELLS_OF_A_DEATH:
                known = time.monotonic_ns()
            from_exit.append(max(0, known - from_watcher.recv()) / 1e3)
            from_act.append((known - words[0]) / 1e3)
            if name == "ProcessPoolExecutor":
                peer.end()
                peer = open_peer(name, 1)
    finally:
        peer.end()
        to_watcher.send(None)
        watcher.join()
    return {
        "death -> caller, from the exit": statistics.median(from_exit),
        "death -> caller, from the last act": statistics.median(from_act),
    }


def resident() -> int:
    with open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[1]) * mmap.PAGESIZE


def memory_of_slow_reading(peer: Any, workers: int) -> dict[str, Any]:
    """The consumer rests 1 ms after every 1,000 of 2,000,000 items: the pool is faster than it. Growth = most resident - at the start."""

    def numbers() -> Iterator[int]:
        yield from range(SLOW_ITEMS)

    peer.apply(same, (0,))
    start, samples, total, count = resident(), [], 0, 0
    for value in peer.imap_unordered(same, numbers(), SLOW_CHUNK):
        total += value
        count += 1
        if count % 1000 == 0:
            time.sleep(0.001)
        if count % 50_000 == 0:
            samples.append(resident())
    assert count == SLOW_ITEMS and total == SLOW_ITEMS * (SLOW_ITEMS - 1) // 2
    growth = (max(samples) - start) / (1 << 20)
    return {
        "memory growth, 2,000,000 items read slowly": growth,
        "samples_mib": [round(s / (1 << 20), 1) for s in samples],
    }


WORKLOADS: dict[str, Callable[[Any, int], dict[str, Any]]] = {
    "apply": apply_round_trip,
    "apply_async": apply_async_many,
    "map": map_default,
    "map_single": map_single,
    "numpy": numpy_result,
    "memory": memory_of_slow_reading,
}
OWN_POOLS = {"death": death_to_caller}


def main() -> None:
    workload, name, workers = sys.argv[1], sys.argv[2], int(sys.argv[3])
    if workload in OWN_POOLS:
        print(json.dumps(OWN_POOLS[workload](name, workers)))
        return
    peer = open_peer(name, workers)
    print(json.dumps(WORKLOADS[workload](peer, workers)), flush=True)
    peer.end()


if __name__ == "__main__":
    main()
