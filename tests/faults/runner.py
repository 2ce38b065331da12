"""The inside of a fault run: reads cases as JSON lines, runs them one after the other, answers each with one JSON line.

    PYTHONPATH=tests python -m faults.runner [--stdlib]     (started by harness.py, which sets folder and tag)

Standard output carries answers only; whatever tasks print goes to standard error. SIGUSR1 makes this process and every worker forked
from it print all stacks to standard error. After each case it is checked that nothing is left: processes, threads, descriptors, memfds.
"""

# Files are opened by name, as the kernel gives them (/proc, descriptors):
from __future__ import annotations

import ctypes
import faulthandler
import gc
import json
import os
import resource
import signal
import subprocess
import sys
import time
import traceback
import warnings
from typing import Any

from faults import cases, control, crowd, look, values
from support.patience import Stopwatch

KINDS = {"matrix": cases.run_matrix, "value": values.run_value, "crowd": crowd.run_crowd}


def start_agent() -> subprocess.Popen[bytes]:
    """The process that kills on order; it is ready when it has said so."""
    agent = subprocess.Popen([sys.executable, "-m", "faults.agent"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert agent.stdout is not None
    agent.stdout.readline()
    return agent


def warm_up(case: dict[str, Any], stdlib: bool, warm: set[str]) -> None:
    """What is kept by design for the life of a process (imports, the forkserver's helper) is there before the first look."""
    start = str(case.get("start", "fork"))
    if stdlib or start in warm:
        return
    pool = cases.drive.open_pool(stdlib, start, 1)
    pool.apply_async(int, callback=int).wait()
    list(pool.imap(abs, iter([1])))
    pool.terminate()
    pool.join()
    warm.add(start)


def run_case(case: dict[str, Any], stdlib: bool, tag: str) -> dict[str, Any]:
    """One case and the look at what it left."""
    gc.collect()
    before = look.holdings(tag)
    try:
        answer = KINDS[case["kind"]](case, stdlib)
    except BaseException:
        answer = {"problems": ["the case itself failed: " + traceback.format_exc()], "outcomes": []}
    if not stdlib:
        gc.collect()
        watch = Stopwatch()
        answer["problems"] += look.wait_without_leaks(before, tag)
        answer["clean_after_s"] = round(time.monotonic() - watch.began, 3)
        late = watch.late(1)  # P5
        answer["problems"] += [f"all is gone, but it {late}"] if late else []
    return answer | {"case": case}


def main() -> None:
    stdlib, tag = "--stdlib" in sys.argv, os.environ[look.TAG_NAME]
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    ctypes.CDLL(None).prctl(
        1, signal.SIGKILL
    )  # PR_SET_PDEATHSIG: no runner outlives its harness, in the middle of a hang either
    warnings.simplefilter("ignore")
    control.create()
    control.page()
    agent = start_agent()
    warm: set[str] = set()
    for line in sys.stdin:
        case = json.loads(line)
        warm_up(case, stdlib, warm)
        print(json.dumps(run_case(case, stdlib, tag)), file=answers, flush=True)
    agent.communicate()


if __name__ == "__main__":
    main()
