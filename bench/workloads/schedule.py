"""Tasks of very different lengths: how near the pool comes to a schedule in which no worker is ever idle while a task waits.

The tasks sleep, for times that are log-normal (sigma 1.5) and come from one seed, in all 2 s for each worker. The yardstick is a greedy list
schedule of the times that the tasks really took in this very run, in the order of the input: so a late wake-up from a sleep counts for both.
"""

from __future__ import annotations

import heapq
import random
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from workloads.base import Row, Setting, Value, Workload
from workloads.tasks import rest, same

SEED, SIGMA = 1, 1.5


def heavy_tailed(tasks: int, seconds: float) -> list[float]:
    """*tasks* durations whose sum is *seconds*; always the same."""
    dice = random.Random(SEED)
    times = [dice.lognormvariate(0.0, SIGMA) for _ in range(tasks)]
    return [one * seconds / sum(times) for one in times]


def greedy_makespan(times: Iterable[float], workers: int) -> float:
    """The end of a list schedule: each task goes, in order, to the worker that is free first."""
    free = [0.0] * workers
    for one in times:
        heapq.heapreplace(free, free[0] + one)
    return max(free)


def makespan(setting: Setting, row: str, work: Callable[[Any, list[Any]], Iterable[Any]]) -> dict[str, Value]:
    items = list(enumerate(heavy_tailed(setting.size["tasks"], setting.size["seconds"] * setting.workers)))
    peer = setting.open()
    for number in range(4 * setting.workers):  # each worker has run something
        assert peer.apply(same, (number,)) == number
    began = time.perf_counter()
    answers = list(work(peer, items))
    took = time.perf_counter() - began
    peer.end()
    slept = [seconds for _number, seconds in sorted(answers)]
    assert sorted(number for number, _seconds in answers) == list(range(len(items)))
    assert all(real >= asked for real, (_number, asked) in zip(slept, items, strict=True))
    return {row: took / greedy_makespan(slept, setting.workers), f"{row}.s": took}


def _workload(row: str, title: str, work: Callable[[Any, list[Any]], Iterable[Any]]) -> Workload:
    full = {"tasks": 1000, "seconds": 2.0}
    return Workload(
        partial(makespan, row=row, work=work),
        {
            row: Row("{tasks:,} heavy-tailed tasks, " + title + ": makespan / greedy schedule", "x"),
            f"{row}.s": Row("{tasks:,} heavy-tailed tasks, " + title + ": makespan", "s"),
        },
        {"smoke": {"tasks": 20, "seconds": 0.02}, "quick": full, "all": full},
    )


WORKLOADS = {
    "tail_unordered": _workload(
        "tail.unordered", "imap_unordered(1)", lambda peer, items: peer.imap_unordered(rest, items, 1)
    ),
    "tail_map": _workload("tail.map", "map, default chunks", lambda peer, items: peer.map(rest, items, None)),
}
