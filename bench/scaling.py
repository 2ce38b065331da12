#!/usr/bin/env python3
"""Whether costs are linear in tasks and independent of workers: time per task for 10^3 to 10^7 tasks and 1 to 512 workers.

    python bench/scaling.py [--tasks 1e3,1e4,1e5,1e6,1e7] [--workers 1,2,8,64,512] [--rounds 3] [--out DIR]

Writes scaling.jsonl (every measurement; its first line says what machine this is) and scaling.svg (medians) to DIR, build/bench when left out; those
in bench/results are committed. Each measurement is a process of its own under an outer limit, rounds are interleaved. The pool is warm: opening
is another row of the bench. multiprocessing.Pool with 2 workers stands beside it, to 10^6 tasks. Needs matplotlib (the extra `bench`).
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any, TextIO

from busy import cores_used_by_others
from peers import HOLDFAST, STANDARD, open_peer
from run import HERE, RUN_LIMITED, machine
from workloads.tasks import same
from workloads.throughput import timed_calls

CALLS = ("apply_async", "map, chunksize 1")
STANDARD_WORKERS, STANDARD_TASKS = 2, 10**6
LIMIT_S = 600


def per_task(call: str, peer_name: str, workers: int, tasks: int) -> dict[str, float]:
    """Microseconds for one of so many tasks, of the clock and of this process's processor time."""
    peer = open_peer(peer_name, workers)
    for warm in [peer.submit(same, (number,)) for number in range(4 * workers)]:
        peer.wait(warm)
    if call == CALLS[0]:
        took, cpu = timed_calls(peer, tasks)
    else:
        used, began = time.process_time(), time.perf_counter()
        values = peer.map(same, range(tasks), 1)
        took, cpu = time.perf_counter() - began, (time.process_time() - used) / tasks * 1e6
        assert values == list(range(tasks))
    peer.end()
    return {"us": took / tasks * 1e6, "cpu_us": cpu}


def measure(call: str, peer: str, workers: int, tasks: int, file: TextIO) -> bool:
    """One measurement in a process of its own; False when it failed."""
    command = [sys.executable, str(RUN_LIMITED), str(LIMIT_S), sys.executable, __file__, "--cell"]
    about: dict[str, Any] = {"call": call, "peer": peer, "workers": workers, "tasks": tasks}
    others = round(cores_used_by_others(), 2)
    done = subprocess.run([*command, json.dumps(about)], capture_output=True, text=True, check=False)
    result = json.loads(done.stdout) if done.returncode == 0 else {"error": done.stderr.strip()[-800:]}
    print(json.dumps(about | {"others": others} | result), file=file, flush=True)
    print(*about.values(), result, file=sys.stderr, flush=True)
    return "error" not in result


def cells(options: argparse.Namespace) -> list[tuple[str, str, int, int]]:
    own = [(call, HOLDFAST, workers, tasks) for call in CALLS for tasks in options.tasks for workers in options.workers]
    beside = [
        (call, STANDARD, STANDARD_WORKERS, tasks)
        for call in CALLS
        for tasks in options.tasks
        if tasks <= STANDARD_TASKS
    ]
    return own + beside


def draw(path: Path, picture: Path) -> None:
    """Medians of the measurements in *path*: a panel for each call, a line for each number of workers."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    about, *lines = [json.loads(line) for line in path.read_text().splitlines()]
    found: dict[str, dict[tuple[str, int], dict[int, list[float]]]] = defaultdict(
        lambda: defaultdict(lambda: defaultdict(list))
    )
    for line in lines:
        if "us" in line:
            found[line["call"]][line["peer"], line["workers"]][line["tasks"]].append(line["us"])
    figure, panels = pyplot.subplots(1, len(CALLS), figsize=(11, 4.5), sharey=True, layout="constrained")
    for panel, call in zip(panels, CALLS, strict=True):
        for (peer, workers), points in sorted(found[call].items()):
            tasks = sorted(points)
            label = f"{peer}, {workers} worker{'s' * (workers > 1)}"
            style = "--" if peer == STANDARD else "-"
            panel.plot(
                tasks, [statistics.median(points[n]) for n in tasks], style, marker="o", markersize=3, label=label
            )
        panel.set(title=call, xscale="log", yscale="log", xlabel="tasks")
        panel.grid(visible=True, which="major", alpha=0.3)
    panels[0].set_ylabel("microseconds for one task")
    panels[0].legend(fontsize=8)
    figure.suptitle(
        f"{about['cpu']}, {about['cores']} cores, Python {about['python']}, commit {about['commit']}", fontsize=9
    )
    figure.savefig(picture, metadata={"Date": None})


def numbers(text: str) -> list[int]:
    return [int(float(word)) for word in text.split(",")]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=numbers, default=[10**n for n in range(3, 8)])
    parser.add_argument("--workers", type=numbers, default=[1, 2, 8, 64, 512])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=HERE.parent / "build" / "bench")
    parser.add_argument("--cell", type=json.loads, help=argparse.SUPPRESS)  # one measurement, in this process
    options = parser.parse_args()
    if options.cell:
        about = options.cell
        print(json.dumps(per_task(about["call"], about["peer"], about["workers"], about["tasks"])))
        return 0
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "scaling.jsonl"
    options.size, options.peers = "all", [HOLDFAST, STANDARD]
    with path.open("w") as file:
        print(json.dumps(machine(options)), file=file)
        good = [measure(*cell, file) for _ in range(options.rounds) for cell in cells(options)]
    draw(path, options.out / "scaling.svg")
    print(options.out / "scaling.svg")
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
