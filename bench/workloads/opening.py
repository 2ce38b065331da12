"""From nothing to the first result: a pool is opened, asked for one trivial task, and ended (the end is not counted).

Two figures each, because they differ where a server process is started once per program: the first pool, and further ones.
"""

from __future__ import annotations

import statistics
import time
from functools import partial

from peers import import_peer
from workloads.base import Row, Setting, Value, Workload
from workloads.tasks import same


def first_result(setting: Setting, method: str, workers: int) -> dict[str, Value]:
    import_peer(setting.peer)
    times = []
    for number in range(1 + setting.size["further"]):
        began = time.perf_counter()
        peer = setting.open(workers, method)
        answer = peer.apply(same, (number,))
        times.append(time.perf_counter() - began)
        assert answer == number
        peer.end()
    row = f"open.{method}.{workers}"
    return {row: times[0] * 1e3, f"{row}.again": statistics.median(times[1:]) * 1e3}


def _opening(method: str, workers: int, further: int) -> Workload:
    row = f"open.{method}.{workers}"
    return Workload(
        partial(first_result, method=method, workers=workers),
        {
            row: Row(f"first result of a program's first pool of {workers}, {method}", "ms"),
            f"{row}.again": Row(f"first result of a further pool of {workers}, {method}", "ms"),
        },
        {"smoke": {"further": 1}, "quick": {"further": further}, "all": {"further": further}},
    )


WORKLOADS = {
    f"open_{method}_{workers}": _opening(method, workers, further)
    for method, further in (("fork", 7), ("forkserver", 3), ("spawn", 2))
    for workers in (2, 8)
}
