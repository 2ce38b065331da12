#!/usr/bin/env python3
"""Every workload on every peer, interleaved, each pair in a fresh process under an outer limit; raw numbers as JSON lines in build/bench/.

    python bench/run.py [--size quick|all] [--rounds N] [--workers N] [--only apply,map] [--peers holdfast,loky] [--out FILE]

Rounds are interleaved (round 1 of all pairs, then round 2 ...) and the peers take turns at going first, so that a slow minute of the
machine hits all of them. Before each pair it is measured how much of the machine others use. The first line of the file says what machine,
kernel, Python and versions these are. report.py prints the tables. On a shared machine: `chrt -r 1 python bench/run.py`. A run that
is to be published is written to bench/results/ (--out) and committed.
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
from typing import Any, TextIO

import workloads.limits
from busy import cores_used_by_others
from peers import DEFAULT_PEERS, PEERS, is_installed
from workloads.base import SIZES, Workload
from workloads.registry import WORKLOADS

HERE = Path(__file__).resolve().parent
RUN_LIMITED = HERE.parent / "tools" / "run_limited.py"
ROUNDS = {"smoke": 1, "quick": 3, "all": 5}
PACKAGES = ("holdfast", "numpy", "loky", "pebble", "deadpool-executor", "billiard", "mpire", "joblib", "ray")


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


def machine(options: argparse.Namespace) -> dict[str, Any]:
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
        "versions": {name: version(name) for name in PACKAGES},
        "commit": git_commit(),
        "workers": options.workers,
        "rounds": options.rounds,
        "size": options.size,
        "peers": options.peers,
        "policy": {os.SCHED_OTHER: "normal", os.SCHED_RR: "real time (chrt -r)"}.get(os.sched_getscheduler(0), "other"),
        "load": os.getloadavg(),
    }


def measure(name: str, workload: Workload, peer: str, options: argparse.Namespace) -> dict[str, Any]:
    """One workload on one peer in a fresh process; a failure is a result too."""
    command = [
        sys.executable, str(RUN_LIMITED), str(workload.limit_s),
        sys.executable, str(HERE / "cell.py"), name, peer, str(options.workers), options.size,
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = done.stdout.splitlines()
    if done.returncode == 124:
        return {"error": f"no end within {workload.limit_s:g} s"}
    if done.returncode != 0 or not lines:
        return {"error": f"exit code {done.returncode}: {done.stderr.strip()[-800:]}"}
    return {"values": json.loads(lines[-1])}


def run_round(number: int, names: list[str], options: argparse.Namespace, file: TextIO) -> int:
    """All pairs once. The number of failures."""
    failed = 0
    for name in names:
        workload = WORKLOADS[name]
        also = [name for name in workload.also if name not in options.peers and is_installed(name)]
        peers = workload.peers or [*options.peers, *also]
        for turn in range(len(peers)):
            peer = peers[(number + turn) % len(peers)]
            about = {"round": number, "workload": name, "peer": peer, "others": round(cores_used_by_others(), 2)}
            result = measure(name, workload, peer, options)
            failed += "error" in result
            line = about | {"load": os.getloadavg()[0], "size": workload.sizes[options.size]} | result
            print(json.dumps(line), file=file, flush=True)
            print(f"round {number + 1} {name:20} {peer:22} {brief(result)}", file=sys.stderr, flush=True)
    return failed


def brief(result: dict[str, Any]) -> str:
    if "error" in result:
        return f"ERROR {result['error']}"
    words = {row: f"{len(v)} samples" if isinstance(v, list) else v for row, v in result["values"].items()}
    return "  ".join(f"{row}={v:.4g}" if isinstance(v, float) else f"{row}={v}" for row, v in words.items())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="quick")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--only", default="", help="workloads, separated by commas")
    parser.add_argument("--peers", default=",".join(DEFAULT_PEERS), help=f"of {', '.join(PEERS)}")
    parser.add_argument("--out", default="")
    options = parser.parse_args()
    options.rounds = options.rounds or ROUNDS[options.size]
    options.peers = options.peers.split(",")
    for word in [*options.only.split(","), *options.peers]:
        if word and word not in (*WORKLOADS, *PEERS):
            parser.error(f"{word}: no workload of {', '.join(WORKLOADS)}; no peer of {', '.join(PEERS)}")
    wanted = options.only.split(",") if options.only else WORKLOADS
    names = [name for name in wanted if options.size in WORKLOADS[name].sizes]
    workloads.limits.build()
    about = machine(options)
    name = f"{about['when'].replace(':', '')}-{options.size}-python{about['python']}.jsonl"
    out = Path(options.out or HERE.parent / "build" / "bench" / name)
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.open("w") as file:
        print(json.dumps(about), file=file)
        failed = sum(run_round(number, names, options, file) for number in range(options.rounds))
    print(out)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
