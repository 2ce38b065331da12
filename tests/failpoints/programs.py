"""One run of one of the driver's programs with failpoints armed: started, continued where it stops, limited, and looked at from outside.

The counts of all points are in a memfd that every process of the run maps (src/sys/failpoint_table.hpp, Page). Standard library only.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import re
import signal
import struct
import subprocess
import sys
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tools"), str(ROOT / "tests")]

from faults import look  # noqa: E402  (found by the line above)
from process_tree import describe, dump_stacks  # noqa: E402

TABLE = ROOT / "src" / "sys" / "failpoint_table.hpp"
PAGE_BYTES = 4096
HEAD = struct.Struct("<Ii")  # acts, last_pid
LIMIT_S = float(os.environ.get("HOLDFAST_FAILPOINT_LIMIT", "40"))  # of one run: a hang
LEFT_LIMIT_S = 5.0  # until nothing of a run is left (promise P5 says one second on a machine that has time)
# How long a pool's process that stopped stands still: it is continued from here, or by the program itself, which is then given the time.
PAUSE_S = 0.3
WAKES_ITSELF = ("full_ring",)
WAKING_LIMIT_S = 3.0


@dataclass(frozen=True)
class Point:
    index: int
    side: str
    name: str
    what: str


def table() -> list[Point]:
    """The points in their order, read from the header that defines them."""
    found = re.findall(r"HF_POINT\((\w+),\s*(\w+)\)\s*/\* (.*?) \*/", TABLE.read_text(encoding="utf-8"))
    return [Point(index, *row) for index, row in enumerate(found)]


@dataclass
class Ran:
    """What came of a run."""

    code: int | None  # as subprocess has it; None = it hung and was killed
    acts: int
    hits: list[int]
    stderr: str
    left: str  # processes that outlived it
    seconds: float
    gone_after: float


class Run:
    def __init__(self, driver: str, words: list[str], orders: str) -> None:
        self.tag = uuid.uuid4().hex
        self.page_fd = os.memfd_create("failpoints")
        os.ftruncate(self.page_fd, PAGE_BYTES)
        self.page = mmap.mmap(self.page_fd, PAGE_BYTES)
        environment = os.environ | {
            look.TAG_NAME: self.tag,
            "HOLDFAST_FAILPOINT_PAGE": f"/proc/{os.getpid()}/fd/{self.page_fd}",
            "HOLDFAST_FAILPOINT": orders,
        }
        self.pause_s = WAKING_LIMIT_S if words[0] in WAKES_ITSELF else PAUSE_S
        self.begun = time.monotonic()
        self.process = subprocess.Popen(
            [driver, *words], env=environment, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
        )

    def wait(self) -> int | None:
        """Until it has ended. Whenever it stops it is continued after a moment; None = it is over its limit."""
        pid = self.process.pid
        continue_at = float("inf")
        while time.monotonic() < self.begun + LIMIT_S:
            if time.monotonic() > continue_at:
                continue_at = float("inf")
                os.kill(pid, signal.SIGCONT)
            state = os.waitid(os.P_PID, pid, os.WEXITED | os.WSTOPPED | os.WNOHANG | os.WNOWAIT)
            if state is None:
                time.sleep(0.005)
            elif state.si_code == os.CLD_STOPPED:
                os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOHANG)
                continue_at = time.monotonic() + self.pause_s
            else:
                return self.process.wait()
        return None

    def finish(self) -> Ran:
        code = self.wait()
        ended = time.monotonic()
        stderr = b""
        if code is None:
            dump_stacks(self.process.pid, sys.stderr)
            for pid in look.tagged(self.tag) - {self.process.pid}:
                print(describe(pid), file=sys.stderr)
        left = self.left_behind(ended)
        gone_after = time.monotonic() - ended
        for pid in look.tagged(self.tag):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        assert self.process.stderr is not None
        with self.process.stderr as pipe:
            stderr = pipe.read()
        self.process.wait()
        acts, _ = HEAD.unpack_from(self.page)
        hits = list(struct.unpack_from(f"<{(PAGE_BYTES - HEAD.size) // 4}I", self.page, HEAD.size))
        self.page.close()
        os.close(self.page_fd)
        return Ran(code, acts, hits, stderr.decode(errors="replace"), left, ended - self.begun, gone_after)

    def left_behind(self, ended: float) -> str:
        while True:
            living = look.tagged(self.tag)
            if not living:
                return ""
            if time.monotonic() > ended + LEFT_LIMIT_S:
                return "\n".join(map(look.describe, living))
            time.sleep(0.01)


def run(driver: str, words: list[str], orders: str = "") -> Ran:
    return Run(driver, words, orders).finish()
