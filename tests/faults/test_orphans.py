"""Promise P5: when the parent is killed, its workers and all they started are gone within one second."""

# Files are opened by name, as the kernel gives them (/proc, descriptors):
from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest

from faults import control, look

PARENT = """
import multiprocessing, os, sys, time
import holdfast
from faults import orphan_tasks
if __name__ == "__main__":
    pool = holdfast.Pool(2, context=multiprocessing.get_context(sys.argv[1]))
    for _ in range(2):
        pool.apply_async(getattr(orphan_tasks, sys.argv[2]))
    time.sleep(1000)
"""


def wait_until(done: object, limit_s: float) -> float | None:
    """Seconds until done() was true; None when the limit came first."""
    began = time.monotonic()
    while not done():  # type: ignore[operator]
        if time.monotonic() - began > limit_s:
            return None
        time.sleep(0.005)
    return time.monotonic() - began


@pytest.mark.parametrize("start", ["fork", "forkserver", "spawn"])
@pytest.mark.parametrize("task", ["sleeps", "stops_itself", "leaves_grandchildren", "leaves_grandchildren_and_stops"])
def test_nothing_outlives_a_killed_parent(tmp_path: Path, start: str, task: str) -> None:
    """SIGKILL of the parent: workers, stopped ones too, and grandchildren in and out of the group are gone within 1 s."""
    tag = uuid.uuid4().hex
    (tmp_path / "parent.py").write_text(PARENT)
    path = os.pathsep.join(filter(None, [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH")]))
    environment = os.environ | {look.TAG_NAME: tag, control.FOLDER_NAME: str(tmp_path), "PYTHONPATH": path}
    parent = subprocess.Popen([sys.executable, str(tmp_path / "parent.py"), start, task], env=environment)
    try:
        armed = tmp_path / "armed"
        assert wait_until(lambda: armed.exists() and armed.stat().st_size >= 2, 20) is not None, (
            "the tasks did not start"
        )
        before = look.tagged(tag)
        assert len(before) >= 3, "parent and two workers at least"
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        took = wait_until(lambda: not look.tagged(tag), 3)
        left = "\n".join(map(look.describe, look.tagged(tag)))
        assert took is not None, f"left after 3 s:\n{left}"
        assert took < 1.0, f"gone after {took:.2f} s"
    finally:
        for pid in look.tagged(tag):
            os.kill(pid, signal.SIGKILL)
        parent.wait()
