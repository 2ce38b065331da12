#!/usr/bin/env python3
"""The outside of demo.py: kills one of its workers again and again, and says so in JSON lines.

A worker that computes is spared until it has had ENOUGH_CPU_S of processor time, twice what the largest file needs: on a machine so
busy that nobody gets that far between two kills, the demo would only show that.

Workers are the grandchildren of the demo: it starts one process (the zygote) and that starts the workers. Ends when standard input closes.
"""

from __future__ import annotations

import itertools
import json
import os
import select
import signal
import sys
import time
from pathlib import Path

SIGNALS = itertools.cycle([signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM])


ENOUGH_CPU_S = 0.3


def stat(pid: int) -> list[str]:
    """/proc/<pid>/stat from the state on; only a Z for a process that is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ["Z"]


def children(pid: int) -> list[int]:
    """Living direct children of the process."""
    found = []
    for listing in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += [int(child) for child in listing.read_text().split()]
        except OSError:
            continue  # the thread has just ended
    return [child for child in found if child != os.getpid() and alive(child)]


def alive(pid: int) -> bool:
    return stat(pid)[0] != "Z"


def due(pid: int) -> bool:
    """Whether it waits (for work, or in a sleep), or has computed for long enough."""
    fields = stat(pid)
    return fields[0] == "S" or (
        fields[0] != "Z" and (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") >= ENOUGH_CPU_S
    )


def kill(pid: int, number: signal.Signals) -> dict[str, object] | None:
    """Kill and wait for the exit; a pidfd makes sure that it is the same process throughout."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return None
    try:
        sent_ns = time.monotonic_ns()
        signal.pidfd_send_signal(descriptor, number)
        select.select([descriptor], [], [], 2)
        return {"pid": pid, "signal": number.name, "sent_ns": sent_ns}
    except ProcessLookupError:
        return None
    finally:
        os.close(descriptor)


def main() -> None:
    demo, every_s, victims = os.getppid(), float(sys.argv[1]), itertools.count()
    while not select.select([sys.stdin], [], [], every_s)[0]:
        workers = [worker for zygote in children(demo) for worker in children(zygote) if due(worker)]
        if workers:
            line = kill(workers[next(victims) % len(workers)], next(SIGNALS))
            if line:
                print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
