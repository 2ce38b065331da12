#!/usr/bin/env python3
"""`make bench`: every workload on every peer, interleaved, each pair in a fresh process; raw numbers as JSON lines in bench/results/.

    python bench/run.py [--rounds 5] [--workers N] [--only apply,map] [--out FILE]

Rounds are interleaved (round 1 of all pairs, then round 2 ...) and the peers take turns at going first, so that a slow minute of the
machine hits all of them. The first line of the file says what machine, kernel, Python and versions these are. report.py prints the table.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from peers import PEERS
from workloads import OWN_POOLS, WORKLOADS

HERE = Path(__file__).resolve().parent
LIMIT_S = 300


def version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def git_commit() -> str:
    """The commit, marked when the sources differ from it."""
    git = ["git", "-C", str(HERE.parent)]
    answer = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    changed = subprocess.run(
        [*git, "status", "--porcelain", "src", "python"], capture_output=True, text=True, check=False
    )
    return answer.stdout.strip() + (" with changes" if changed.stdout.strip() else "")


def machine(workers: int, rounds: int) -> dict[str, Any]:
    """What the numbers were measured on."""
    cpu = [
        line.split(":", 1)[1].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    return {
        "when": time.strftime("%Y-%m-%dT%H:%M:%S"),
        "cpu": cpu[0] if cpu else platform.machine(),
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "holdfast": version("holdfast"),
        "commit": git_commit(),
        "numpy": version("numpy"),
        "workers": workers,
        "rounds": rounds,
        "load": os.getloadavg(),
    }


def measure(workload: str, peer: str, workers: int) -> dict[str, Any]:
    """One workload on one peer in a fresh process; a failure is a result too."""
    command = [sys.executable, str(HERE / "workloads.py"), workload, peer, str(workers)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    except subprocess.TimeoutExpired:
        return {"error": f"no end within {LIMIT_S} s"}
    lines = done.stdout.splitlines()
    if done.returncode != 0 or not lines:
        return {"error": f"exit code {done.returncode}: {done.stderr.strip()[-800:]}"}
    return dict(json.loads(lines[-1]))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--only", default=",".join([*WORKLOADS, *OWN_POOLS]), help="workloads, separated by commas")
    parser.add_argument("--out", default="")
    options = parser.parse_args()
    about = machine(options.workers, options.rounds)
    out = Path(options.out or HERE / "results" / f"{about['when'][:10]}-python{about['python']}.jsonl")
    out.parent.mkdir(parents=True, exist_ok=True)
    failed = 0
    with out.open("w") as file:
        print(json.dumps(about), file=file)
        for number in range(options.rounds):
            for workload in options.only.split(","):
                for turn in range(len(PEERS)):
                    peer = PEERS[(number + turn) % len(PEERS)]
                    values = measure(workload, peer, options.workers)
                    failed += "error" in values
                    print(
                        json.dumps(
                            {"round": number, "workload": workload, "peer": peer, "load": os.getloadavg()[0]} | values
                        ),
                        file=file,
                        flush=True,
                    )
                    print(f"round {number + 1} {workload:12} {peer:22} {values}", file=sys.stderr, flush=True)
    print(out)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
