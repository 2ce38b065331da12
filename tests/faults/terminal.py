"""A terminal and a shell with job control, for tests of Ctrl-C, Ctrl-Z and hang-up: the keys go through a real pty.

The shell (this module, run as a program) leads a session that has the pty as its terminal, starts one job in a group of its own in the
foreground, says `shell: stopped` when it stops and `shell: ended <code>` at its end, and puts it back into the foreground when the
test writes `fg` to the FIFO.
"""

# Files are opened by name, as the kernel gives them (/proc, descriptors):
# ruff: noqa: PTH123
from __future__ import annotations

import fcntl
import os
import pty
import signal
import sys
import termios
from pathlib import Path

from faults import control
from faults.programs import Program
from support.patience import Stopwatch, until

CTRL_C, CTRL_Z = b"\x03", b"\x1a"


class Terminal(Program):
    """A program as the foreground job of a shell on a pty."""

    def __init__(self, folder: Path, module: str, function: str, *arguments: object) -> None:
        os.mkfifo(folder / "commands")
        self.master, slave = pty.openpty()
        try:
            shell = (sys.executable, "-m", "faults.terminal")
            super().__init__(folder, module, function, *arguments, command=shell, stdin=slave)
        finally:
            os.close(slave)
        self.job = int(self.line().removeprefix("shell: job "))

    def press(self, key: bytes) -> None:
        """One key, as typed."""
        os.write(self.master, key)

    def press_and_see(self, key: bytes) -> None:
        """One key that is a signal; returns when the terminal has sent it: its echo comes after."""
        self.press(key)
        echo, seen = b"^" + bytes([key[0] + 64]), b""
        while echo not in seen:
            seen += os.read(self.master, 1024)

    def interrupt_when_ready(self, tasks: int) -> Stopwatch:
        """Once it has said so, its tasks run and its main thread waits for them: Ctrl-C. The watch runs since then."""
        self.expect("ready")
        self.armed(tasks)
        self.job_waits()
        watch = Stopwatch()
        self.press(CTRL_C)
        return watch

    def foreground(self) -> None:
        """`fg`."""
        with open(self.folder / "commands", "w") as file:
            file.write("fg\n")

    def hang_up(self) -> None:
        """The window is closed."""
        os.close(self.master)
        self.master = -1

    def close(self) -> None:
        super().close()
        if self.master >= 0:
            os.close(self.master)

    def job_waits(self) -> None:
        self.waits(self.job)


def wait_for_state(pids: set[int], letters: str) -> bool:
    """Until every one of the processes is in one of the states."""
    from faults import look

    return until(lambda: all(look.state(pid) in letters for pid in pids))


def shell() -> int:
    """The shell's life; returns its exit code."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)  # it is not in the foreground when it moves its job there
    job = os.fork()
    if job == 0:
        os.setpgid(0, 0)
        os.tcsetpgrp(0, os.getpid())
        signal.signal(signal.SIGTTOU, signal.SIG_DFL)
        os.execv(sys.argv[1], sys.argv[1:])
    os.write(1, b"shell: job %d\n" % job)
    while True:
        _, status = os.waitpid(job, os.WUNTRACED)
        if not os.WIFSTOPPED(status):
            code = os.waitstatus_to_exitcode(status)
            os.write(1, b"shell: ended %d\n" % code)
            return 0
        os.tcsetpgrp(0, os.getpgrp())
        os.write(1, b"shell: stopped\n")
        with open(f"{control.folder()}/commands") as file:
            file.readline()
        os.tcsetpgrp(0, job)
        os.killpg(job, signal.SIGCONT)


if __name__ == "__main__":
    sys.exit(shell())
