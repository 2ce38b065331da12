"""Many trivial tasks: submitted one by one, in a map, in the lazy methods."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

from workloads.base import Row, Setting, Value, Workload
from workloads.latency import LOAD
from workloads.tasks import same


def timed_calls(peer: Any, count: int) -> tuple[float, float]:
    """*count* calls submitted one by one, then waited for: seconds, and microseconds of this process's processor time for each."""
    used, began = time.process_time(), time.perf_counter()
    calls = [peer.submit(same, (number,)) for number in range(count)]
    values = [peer.wait(call) for call in calls]
    took, used = time.perf_counter() - began, time.process_time() - used
    assert values == list(range(count))
    return took, used / count * 1e6


def apply_async(setting: Setting) -> dict[str, Value]:
    """The processor time is this process's, all threads: what is left to the program that uses the pool."""
    peer = setting.open()
    peer.apply(same, (0,))
    took, cpu = timed_calls(peer, setting.size["tasks"])
    peer.end()
    return {"apply_async": took, "apply_async.cpu": cpu}


def _timed(setting: Setting, work: Callable[[Any, int], Any]) -> float:
    """Seconds for *work* with as many items as the size says; it gives them back in any order, each once."""
    count = setting.size["items"]
    peer = setting.open()
    peer.apply(same, (0,))
    began = time.perf_counter()
    values = work(peer, count)
    took = time.perf_counter() - began
    assert values == list(range(count)) or sorted(values) == list(range(count))
    peer.end()
    return took


def map_items(setting: Setting, row: str, chunksize: int | None) -> dict[str, Value]:
    return {row: _timed(setting, lambda peer, count: peer.map(same, range(count), chunksize))}


def lazy_items(setting: Setting, row: str, method: str, chunksize: int) -> dict[str, Value]:
    return {row: _timed(setting, lambda peer, count: list(getattr(peer, method)(same, range(count), chunksize)))}


def _map(row: str, title: str, items: int, chunksize: int | None, load: int = 0) -> Workload:
    sizes = {"smoke": {"items": 200}, "quick": {"items": items}, "all": {"items": items}}
    return Workload(partial(map_items, row=row, chunksize=chunksize), {row: Row(title, "s")}, sizes, load=load)


def _lazy(method: str, chunksize: int, items: int) -> Workload:
    row = f"{method}.{chunksize}"
    sizes = {"smoke": {"items": 200}, "quick": {"items": items}, "all": {"items": items}}
    title = Row(method + ", {items:,} items, chunksize " + str(chunksize), "s")
    return Workload(partial(lazy_items, row=row, method=method, chunksize=chunksize), {row: title}, sizes)


WORKLOADS = {
    "apply_async": Workload(
        apply_async,
        {
            "apply_async": Row("apply_async, {tasks:,} tasks", "s"),
            "apply_async.cpu": Row("apply_async, {tasks:,} tasks: the caller's processor time for one", "us"),
        },
        {"smoke": {"tasks": 200}, "quick": {"tasks": 20_000}, "all": {"tasks": 20_000}},
    ),
    "map": _map("map", "map, {items:,} items", 1_000_000, None),
    "map_loaded": _map(
        "map.loaded", "map, {items:,} items, beside " + f"{LOAD} busy processes", 1_000_000, None, load=LOAD
    ),
    "map_single": _map("map.single", "map, {items:,} items, chunksize 1", 50_000, 1),
    "imap_1": _lazy("imap", 1, 50_000),
    "imap_unordered_1": _lazy("imap_unordered", 1, 50_000),
    "imap_100": _lazy("imap", 100, 500_000),
    "imap_unordered_100": _lazy("imap_unordered", 100, 500_000),
}
