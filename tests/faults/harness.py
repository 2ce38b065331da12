"""The outside of a fault run: runners in processes of their own, a limit per case enforced from here, nobody left behind.

Batch(...).run(cases) starts up to `jobs` runners, gives each one case at a time, and waits for its answer. When an answer does not come in time
every process of that runner is asked for its stacks (SIGUSR1; and /proc for those that cannot answer), all of them are killed by
pid, and the case counts as a hang; the next case gets a new runner, as it does after any failure.
"""

# Files are opened by name, as the kernel gives them (/proc, descriptors):
# ruff: noqa: PTH123
from __future__ import annotations

import json
import os
import queue
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from faults import control, look

LIMIT_S = 30.0
TESTS = Path(__file__).resolve().parent.parent


class Runner:
    """One runner process with its folder, tag and log."""

    def __init__(self, stdlib: bool) -> None:
        self.tag = uuid.uuid4().hex
        self.folder = tempfile.mkdtemp(prefix="faults-")
        self.log = open(f"{self.folder}/log", "w+b")  # noqa: SIM115 - closed in end()
        path = os.pathsep.join(filter(None, [str(TESTS), os.environ.get("PYTHONPATH")]))
        environment = os.environ | {look.TAG_NAME: self.tag, control.FOLDER_NAME: self.folder, "PYTHONPATH": path}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "faults.runner", *(["--stdlib"] if stdlib else [])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            env=environment,
            start_new_session=True,
        )

    def ask(self, case: dict[str, Any], limit_s: float) -> dict[str, Any]:
        """The runner's answer to one case; on expiry or death of the runner an answer that says so."""
        assert self.process.stdin is not None and self.process.stdout is not None
        try:
            self.process.stdin.write(json.dumps(case).encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            return self.failure(case, "died", "the runner was gone before the case")
        ready, _, _ = select.select([self.process.stdout], [], [], limit_s)
        if not ready:
            return self.failure(case, "hang", f"no answer within {limit_s} s; stacks:\n{self.stacks()}")
        line = self.process.stdout.readline()
        if not line:
            code = self.process.wait()
            return self.failure(case, "died", f"the runner ended with {code}; log:\n{self.text()[-6000:]}")
        return dict(json.loads(line))

    @staticmethod
    def failure(case: dict[str, Any], kind: str, text: str) -> dict[str, Any]:
        return {"case": case, "problems": [text], "outcomes": [], kind: True}

    def text(self) -> str:
        self.log.seek(0)
        return self.log.read().decode(errors="replace")

    def stacks(self) -> str:
        """Python stacks of every process that still answers, kernel state of all of them."""
        start = self.log.seek(0, os.SEEK_END)
        kernel = "\n".join(look.describe(pid) for pid in sorted(look.tagged(self.tag)))
        for pid in look.tagged(self.tag):
            if b"faults.agent" not in look._read(f"/proc/{pid}/cmdline"):
                send(pid, signal.SIGUSR1)
        time.sleep(0.3)  # the handlers write to the log; a process that cannot answer must not hold us up
        self.log.seek(start)
        return kernel + "\n" + self.log.read().decode(errors="replace")[-12000:]

    def end(self) -> None:
        """Close the runner; kill what carries its tag until nothing does."""
        assert self.process.stdin is not None and self.process.stdout is not None
        try:
            self.process.stdin.close()
            self.process.wait(2)
        except (subprocess.TimeoutExpired, BrokenPipeError):
            pass
        deadline = time.monotonic() + 10
        while (left := look.tagged(self.tag)) and time.monotonic() < deadline:
            for pid in left:
                send(pid, signal.SIGKILL)
            time.sleep(0.01)
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.log.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def send(pid: int, number: int) -> None:
    """A signal to a process of ours that may have gone meanwhile."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


class Batch:
    """Runs many cases, `jobs` at a time; answers come back in the order of the cases."""

    def __init__(self, jobs: int = 2, limit_s: float = LIMIT_S, stdlib: bool = False, per_runner: int = 60) -> None:
        self.jobs, self.limit_s, self.stdlib, self.per_runner = jobs, limit_s, stdlib, per_runner

    def run(
        self, cases: Iterable[dict[str, Any]], told: Callable[[dict[str, Any]], None] | None = None
    ) -> list[dict[str, Any]]:
        """All answers; *told* is called with each as it comes (from several threads, one at a time)."""
        work: queue.SimpleQueue[tuple[int, dict[str, Any]]] = queue.SimpleQueue()
        answers: dict[int, dict[str, Any]] = {}
        lock = threading.Lock()
        for number, case in enumerate(cases):
            work.put((number, case))

        def serve() -> None:
            runner: Runner | None = None
            asked = 0
            try:
                while True:
                    try:
                        number, case = work.get_nowait()
                    except queue.Empty:
                        return
                    runner = runner or Runner(self.stdlib)
                    asked += 1
                    began = time.monotonic()
                    answer = runner.ask(case, case.get("limit_s", self.limit_s))
                    answer["wall_s"] = round(time.monotonic() - began, 3)
                    with lock:
                        answers[number] = answer
                        if told:
                            told(answer)
                    if answer["problems"] or asked % self.per_runner == 0:
                        runner.end()
                        runner = None
            finally:
                if runner:
                    runner.end()

        threads = [threading.Thread(target=serve) for _ in range(self.jobs)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return [answers[number] for number in sorted(answers)]
