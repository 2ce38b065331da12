"""Promise P5: when the parent is killed, its workers and all they started are gone within one second."""

# Files are opened by name, as the kernel gives them (/proc, descriptors):
# ruff: noqa: PTH208
from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest

from faults import control, look
from faults.programs import send
from support.patience import Stopwatch, until

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
TASKS = (
    "is_done",
    "computes",
    "sleeps",
    "holds_the_gil",
    "stops_itself",
    "starts_programs",
    "leaves_grandchildren",
    "leaves_grandchildren_and_stops",
)
STARTS = ("fork", "forkserver", "spawn")


class Parent:
    """A program with a pool, all of whose processes carry a tag; killed by a test."""

    def __init__(self, folder: Path, start: str, task: str) -> None:
        self.tag, self.folder = uuid.uuid4().hex, folder
        (folder / "parent.py").write_text(PARENT)
        path = os.pathsep.join(filter(None, [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH")]))
        environment = os.environ | {look.TAG_NAME: self.tag, control.FOLDER_NAME: str(folder), "PYTHONPATH": path}
        self.process = subprocess.Popen([sys.executable, str(folder / "parent.py"), start, task], env=environment)

    def armed(self) -> None:
        """Wait until both tasks are where they want to be."""
        armed = self.folder / "armed"
        assert until(lambda: armed.exists() and armed.stat().st_size >= 2), "the tasks did not start"

    def stop(self) -> None:
        """All of its threads stand when this returns."""
        os.kill(self.process.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, self.process.pid, os.WSTOPPED)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def gone(self) -> None:
        """Nothing of it may be there one second after the kill."""
        watch = Stopwatch()
        assert until(lambda: not look.tagged(self.tag)), "\n".join(map(look.describe, look.tagged(self.tag)))
        watch.check(1)

    def __enter__(self) -> Parent:
        return self

    def __exit__(self, *_: object) -> None:
        for pid in look.tagged(self.tag):
            send(pid, signal.SIGKILL)
        self.process.kill()
        self.process.wait()


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("task", TASKS)
def test_nothing_outlives_a_killed_parent(tmp_path: Path, start: str, task: str) -> None:
    """SIGKILL of the parent: workers, stopped ones too, and grandchildren in and out of the group are gone within 1 s."""
    with Parent(tmp_path, start, task) as parent:
        parent.armed()
        assert len(look.tagged(parent.tag)) >= 4, "parent, zygote and two workers at least"
        parent.kill()
        parent.gone()


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("task", ["sleeps", "leaves_grandchildren", "leaves_grandchildren_and_stops"])
def test_nothing_outlives_parent_and_zygote_killed_together(tmp_path: Path, start: str, task: str) -> None:
    """The reaper of orphans goes with the parent: then the workers' own watchers find what is theirs."""
    with Parent(tmp_path, start, task) as parent:
        parent.armed()
        zygotes = [pid for pid in look.children(parent.process.pid) if look.name(pid) == "hf-zygote"]
        assert len(zygotes) == 1
        # Together: stopped, the parent can tell its workers nothing more when the zygote goes before it. (A worker that it had told to leave meanwhile
        # would have left in good order, and what it started with it: only the zygote knew of that.)
        parent.stop()
        os.kill(zygotes[0], signal.SIGKILL)
        parent.kill()
        parent.gone()


@pytest.mark.slow
def test_nothing_is_left_after_a_hundred_kills(tmp_path: Path) -> None:
    """At random instants, from the first line of the program on: no process, no name in /dev/shm, no socket file, no temporary file."""
    source = random.Random(4)
    scratch = tmp_path / "tmp"
    scratch.mkdir()
    before = left_names(scratch)
    parents = []
    try:
        for number in range(100):
            folder = tmp_path / str(number)
            folder.mkdir()
            os.environ["TMPDIR"] = str(scratch)
            try:
                parents.append(Parent(folder, STARTS[number % 10 % 3], source.choice(TASKS)))
            finally:
                del os.environ["TMPDIR"]
            time.sleep(source.uniform(0, 0.15))
            if len(parents) > 3:
                parents[-4].kill()
        for parent in parents:
            parent.kill()
        for parent in parents:
            parent.gone()
    finally:
        for parent in parents:
            parent.__exit__()
    assert not left_names(scratch) - before


def left_names(scratch: Path) -> set[str]:
    """Names that a pool could have left: in the temporary folder, in /dev/shm, among the bound sockets."""
    # Of /dev/shm only what carries our names: others on this machine come and go there (test_harness.py shows that we make none).
    shared = {name for name in os.listdir("/dev/shm") if "holdfast" in name or name.startswith("hf")}
    sockets = {
        line.split()[-1]
        for line in Path("/proc/net/unix").read_text().splitlines()
        if "holdfast" in line or "hf-" in line
    }
    return shared | sockets | set(os.listdir(scratch))
