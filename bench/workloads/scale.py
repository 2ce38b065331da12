"""Many workers, and none with anything to do."""

from __future__ import annotations

import os
import sys
import time
from functools import partial
from pathlib import Path

from peers import Unsupported
from workloads.base import Row, Setting, Value, Workload
from workloads.tasks import same
from workloads.throughput import timed_calls

sys.path.append(str(Path(__file__).resolve().parent.parent.parent / "tools"))
from process_tree import descendants  # after the path

SETTLE_S = 1.5  # an idle worker of holdfast sleeps in short pieces for a second (worker/task_loop.cpp), then for good


def apply_async_with(setting: Setting, workers: int) -> dict[str, Value]:
    """throughput.apply_async with another number of workers: they share the cores that there are."""
    peer = setting.open(workers)
    for call in [peer.submit(same, (number,)) for number in range(4 * workers)]:
        peer.wait(call)
    took, cpu = timed_calls(peer, setting.size["tasks"])
    peer.end()
    return {f"workers_{workers}": took, f"workers_{workers}.cpu": cpu}


def _voluntary_switches(pids: list[int], leave_out: int) -> dict[str, int]:
    """How often each thread of the processes has gone to sleep."""
    found = {}
    for pid in pids:
        for task in Path(f"/proc/{pid}/task").iterdir():
            if int(task.name) == leave_out:
                continue
            for line in (task / "status").read_text().splitlines():
                if line.startswith("voluntary_ctxt_switches"):
                    found[f"{pid}/{task.name}"] = int(line.split()[1])
    return found


def idle(setting: Setting) -> dict[str, Value]:
    """This thread sleeps; every other one of this process, of the workers and of whatever else the pool has started is counted."""
    peer = setting.open()
    assert peer.map(same, range(1000)) == list(range(1000))
    time.sleep(SETTLE_S)
    pids = [os.getpid(), *descendants(os.getpid())]
    before = _voluntary_switches(pids, leave_out=os.getpid())
    time.sleep(setting.size["seconds"])
    after = _voluntary_switches(pids, leave_out=os.getpid())
    assert before.keys() == after.keys()
    peer.end()
    if len(pids) <= setting.workers:
        raise Unsupported("keeps no workers between calls")
    return {"idle": float(sum(after.values()) - sum(before.values()))}


def _workers(workers: int, **sizes: dict[str, int]) -> Workload:
    row, title = f"workers_{workers}", "apply_async, {tasks:,} tasks, " + f"{workers} workers"
    return Workload(
        partial(apply_async_with, workers=workers),
        {row: Row(title, "s"), f"{row}.cpu": Row(f"{title}: the caller's processor time for one", "us")},
        sizes,
    )


WORKLOADS = {
    "workers_2": _workers(2, smoke={"tasks": 50}, quick={"tasks": 20_000}, all={"tasks": 20_000}),
    "workers_64": _workers(64, quick={"tasks": 20_000}, all={"tasks": 20_000}),
    "workers_512": _workers(512, all={"tasks": 20_000}),
    "idle": Workload(
        idle,
        {"idle": Row("an idle pool: voluntary switches of all its threads in {seconds} s", "")},
        {"smoke": {"seconds": 0.1}, "quick": {"seconds": 5}, "all": {"seconds": 10}},
    ),
}
