"""All workloads by name, in the order of the report."""

from __future__ import annotations

from workloads import arrays, deaths, latency, limits, memory, opening, scale, schedule, throughput
from workloads.base import Workload

WORKLOADS: dict[str, Workload] = {}
for _module in (limits, throughput, latency, arrays, deaths, opening, schedule, memory, scale):
    WORKLOADS |= _module.WORKLOADS
