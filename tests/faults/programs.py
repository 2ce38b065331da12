"""Programs of tests: a function of a module of this folder, run in a process and a session of its own.

`Program("ctrl_c_programs", "waits_in_map")` runs that function of faults/ctrl_c_programs.py; its tasks say where they are with control.armed(),
its main thread with say(). The test reads lines, sends signals, and asks for the end. What does not come before the test's outer limit fails
it with every stack of the program's process tree; whatever carries the program's tag is killed in any case.
"""

# Files are opened by name, as the kernel gives them (/proc, descriptors):
# ruff: noqa: PTH123
from __future__ import annotations

import faulthandler
import os
import select
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from faults import control, look
from support.patience import Stopwatch, seconds_left, until

TESTS = Path(__file__).resolve().parent.parent
# Every wait of the pool's sleeps in the system call futex(word, FUTEX_WAIT, ...), private or not (src/sys/futex.cpp). The GIL's and Python's locks'
# are FUTEX_WAIT_BITSET; the C library's mutexes, which are held for moments, look like ours. Number on x86-64; elsewhere any sleeping state must do.
FUTEX = b"202"
FUTEX_WAITS = (b"0x0", b"0x80")


def say(*words: object) -> None:
    """One line to the test, at once and in one write: print() writes the newline by itself, and threads' lines would mix."""
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


def note(text: str) -> None:
    """One line into the test's log of events, from any process (one write each: lines never mix)."""
    with open(f"{control.folder()}/events", "ab", buffering=0) as file:
        file.write(text.encode() + b"\n")


def events(folder: Path) -> list[str]:
    """What has been noted so far."""
    path = folder / "events"
    return path.read_text().splitlines() if path.exists() else []


def main(functions: dict[str, Any]) -> None:
    """What a module of programs calls when it is run: SIGUSR1 shows all stacks; the named function gets the other arguments."""
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    functions[sys.argv[1]](*sys.argv[2:])


def sleeps(pid: int) -> bool:
    """Whether the main thread of the process, a caller or an idle worker, sleeps in a wait of the pool's."""
    words = look._read(f"/proc/{pid}/task/{pid}/syscall").split()
    if os.uname().machine != "x86_64":
        return look.state(pid) == "S"
    return words[:1] == [FUTEX] and words[2] in FUTEX_WAITS


def send(pid: int, number: int) -> None:
    """A signal to a process of ours that may have gone meanwhile."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


class End(NamedTuple):
    """How a program ended."""

    code: int
    out: str
    err: str


class Program:
    """One running program. As a context manager: at the end of the block nothing with its tag is left, and the test fails if something was."""

    def __init__(
        self,
        folder: Path,
        module: str,
        function: str,
        *arguments: object,
        options: tuple[str, ...] = (),
        command: tuple[str, ...] = (),
        stdin: int | None = None,
    ) -> None:
        """*folder* is the test's own. *options* go to the interpreter; *command* stands in front (a job-control parent)."""
        self.folder, self.tag = folder, uuid.uuid4().hex
        path = os.pathsep.join(filter(None, [str(TESTS), os.environ.get("PYTHONPATH")]))
        environment = os.environ | {look.TAG_NAME: self.tag, control.FOLDER_NAME: str(folder), "PYTHONPATH": path}
        words = [sys.executable, *options, "-m", f"faults.{module}", function, *map(str, arguments)]
        self.err = open(folder / f"stderr-{self.tag}", "w+b")  # noqa: SIM115  # closed in close()
        self.process = subprocess.Popen(
            [*command, *words],
            stdin=subprocess.DEVNULL if stdin is None else stdin,
            stdout=subprocess.PIPE,
            stderr=self.err,
            env=environment,
            start_new_session=True,
        )
        self.pid = self.process.pid
        self.buffer = b""
        self.out = ""

    # --- what it says -----------------------------------------------------------------------------------------------------

    def _read(self) -> bool:
        """More output; False at its end."""
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], seconds_left())
        if not ready:
            raise AssertionError(f"it says nothing; so far {self.out!r}, {self.buffer!r}\n{self.stacks()}")
        got = os.read(self.process.stdout.fileno(), 65536)
        self.buffer += got
        return bool(got)

    def line(self) -> str:
        """The next line of its output."""
        while b"\n" not in self.buffer:
            if not self._read():
                raise AssertionError(f"it ended without a word more; so far {self.out!r}\n{self.errors()}")
        line, _, self.buffer = self.buffer.partition(b"\n")
        self.out += line.decode() + "\n"
        return line.decode()

    def expect(self, text: str) -> None:
        """The next line must be this one."""
        line = self.line()
        assert line == text, f"it said {line!r} instead of {text!r}\n{self.errors()}"

    def errors(self) -> str:
        self.err.seek(0)
        return self.err.read().decode(errors="replace")

    # --- where it is ------------------------------------------------------------------------------------------------------

    def armed(self, count: int) -> None:
        """Wait until *count* tasks have said that they are where the test wants them."""
        path = self.folder / "armed"
        found = until(lambda: path.exists() and path.stat().st_size >= count)
        assert found, f"the tasks did not begin\n{self.stacks()}"

    def waits(self, pid: int | None = None) -> None:
        """Wait until its main thread sleeps in a wait of the pool's."""
        assert until(lambda: sleeps(pid or self.pid)), f"its main thread does not wait\n{self.stacks()}"

    def tagged(self) -> set[int]:
        return look.tagged(self.tag)

    def stacks(self) -> str:
        """Kernel state of all its processes, and the Python stacks of those that still answer."""
        kernel = "\n".join(map(look.describe, sorted(self.tagged())))
        for pid in self.tagged():
            if b"faults." in look._read(f"/proc/{pid}/cmdline"):
                send(pid, signal.SIGUSR1)
        time.sleep(0.3)  # the handlers write; one that cannot answer must not hold the test up
        return f"{kernel}\n{self.errors()}"

    # --- its end ----------------------------------------------------------------------------------------------------------

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def end(self) -> End:
        """Wait for its end and its last words."""
        while self._read():
            pass
        try:
            code = self.process.wait(seconds_left())
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it does not end\n{self.stacks()}") from None
        self.out += self.buffer.decode()
        self.buffer = b""
        return End(code, self.out, self.errors())

    def left(self) -> str:
        """What is wrong with its going, in words; "" = all of it is gone, and was so after a second (P5)."""
        watch = Stopwatch()
        if not until(lambda: not self.tagged()):
            return "\n".join(map(look.describe, self.tagged()))
        return watch.late(1)

    def close(self) -> None:
        """Kill what is left of it."""
        deadline = time.monotonic() + 10
        while (left := self.tagged()) and time.monotonic() < deadline:
            for pid in left:
                send(pid, signal.SIGKILL)
            time.sleep(0.005)
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.err.close()

    def __enter__(self) -> Program:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        left = self.left() if kind is None else ""
        self.close()
        assert not left, f"left behind:\n{left}"
