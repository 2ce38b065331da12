"""What the machine itself can do: the rows that the bars compare with. Measured by bench/micro/raw_limits.cpp, compiled here when needed."""

from __future__ import annotations

import subprocess
from pathlib import Path

from workloads.base import RAW, Row, Setting, Value, Workload

BENCH = Path(__file__).resolve().parent.parent
SOURCE = BENCH / "micro" / "raw_limits.cpp"
PROGRAM = BENCH.parent / "build" / "bench" / "raw_limits"
MIBS = (1, 64, 512)  # what is copied: the sizes of the arrays (arrays.py)


def build() -> None:
    """Compile the program unless it is newer than its source. run.py calls this before the first round."""
    if PROGRAM.exists() and PROGRAM.stat().st_mtime > SOURCE.stat().st_mtime:
        return
    PROGRAM.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["c++", "-std=c++20", "-O2", "-Wall", "-Wextra", "-o", str(PROGRAM), str(SOURCE)], check=True)


def _limit(*words: object) -> float:
    done = subprocess.run([str(PROGRAM), *map(str, words)], check=True, capture_output=True, text=True)
    return float(done.stdout)


def raw_limits(setting: Setting) -> dict[str, Value]:
    size = setting.size
    return {
        "limit.pingpong": _limit("pingpong", size["rounds"]),
        **{f"limit.memcpy.{mib}": _limit("memcpy", min(mib, size["most_mib"]), 9) for mib in MIBS},
        "limit.fork": _limit("fork", size["forks"]),
    }


_FULL = {"rounds": 20_000, "most_mib": max(MIBS), "forks": 300}
WORKLOADS = {
    "limits": Workload(
        raw_limits,
        {
            "limit.pingpong": Row("futex ping-pong of two processes, asleep in between", "us"),
            **{f"limit.memcpy.{mib}": Row(f"memcpy of {mib} MiB into a mapped shared segment", "GB/s") for mib in MIBS},
            "limit.fork": Row("fork, _exit, waitpid of a small process", "us"),
        },
        {"smoke": {"rounds": 100, "most_mib": 1, "forks": 3}, "quick": _FULL, "all": _FULL},
        peers=(RAW,),
    )
}
