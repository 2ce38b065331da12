"""One call at a time: how long a round trip takes, on the machine as it is and beside 15 busy processes."""

from __future__ import annotations

import statistics
import time

from workloads.base import Row, Setting, Value, Workload
from workloads.tasks import same

LOAD = 15


def _round_trips(setting: Setting) -> list[float]:
    peer = setting.open()
    for number in range(setting.size["warm"]):
        peer.apply(same, (number,))
    times = []
    for number in range(setting.size["calls"]):
        began = time.perf_counter()
        answer = peer.apply(same, (number,))
        times.append(time.perf_counter() - began)
        assert answer == number
    peer.end()
    return times


def apply(setting: Setting) -> dict[str, Value]:
    times = _round_trips(setting)
    return {"apply": statistics.median(times) * 1e6, "apply.p99": statistics.quantiles(times, n=100)[98] * 1e6}


def apply_loaded(setting: Setting) -> dict[str, Value]:
    return {"apply.loaded": statistics.median(_round_trips(setting)) * 1e6}


_FULL = {"warm": 300, "calls": 3000}
_LOADED = {"warm": 20, "calls": 300}
WORKLOADS = {
    "apply": Workload(
        apply,
        {
            "apply": Row("apply, one at a time: median", "us"),
            "apply.p99": Row("apply, one at a time: 99th percentile", "us"),
        },
        {"smoke": {"warm": 2, "calls": 20}, "quick": _FULL, "all": _FULL},
    ),
    "apply_loaded": Workload(
        apply_loaded,
        {"apply.loaded": Row(f"apply, one at a time, beside {LOAD} busy processes: median", "us")},
        {"smoke": {"warm": 1, "calls": 3}, "quick": _LOADED | {"calls": 100}, "all": _LOADED},
        load=LOAD,
    ),
}
