"""The outer time limit of the Python tests: a process beside pytest that no hang inside pytest can stop.

Started by tests/support/outer_limit.py as `watch_tests.py PYTEST_PID`; reads `begin SECONDS NODEID` and `end` lines from stdin.
When a test is over its limit: the stacks of the whole process tree of pytest go to stderr, everything below pytest is killed, and
pytest gets LIMIT_SIGNAL, whose handler fails the test. If that does not end it either, pytest itself is killed.
Leaves when pytest has gone. Detached (a grandchild of pytest), so that tests which look at pytest's children never see it.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time

from process_tree import dump_stacks, kill_tree

LIMIT_SIGNAL = signal.SIGRTMIN + 7
SECOND_CHANCE_SECONDS = 15.0


class Watch:
    def __init__(self, pytest_pid: int) -> None:
        self.pid = pytest_pid
        self.pidfd = os.pidfd_open(pytest_pid)
        self.buffer = b""
        self.test = ""
        self.deadline: float | None = None
        self.struck = False

    def read_lines(self) -> bool:
        """False at the end of the pipe."""
        got = os.read(0, 65536)
        *lines, self.buffer = (self.buffer + got).split(b"\n")
        for line in lines:
            word, _, rest = line.decode(errors="replace").partition(" ")
            self.struck = False
            if word == "begin":
                seconds, _, self.test = rest.partition(" ")
                self.deadline = time.monotonic() + float(seconds)
            else:
                self.deadline = None
        return bool(got)

    def strike(self) -> None:
        if self.struck:
            print(f"\n=== {self.test} could not be failed from inside: killing pytest", file=sys.stderr, flush=True)
            kill_tree(self.pid)
            self.deadline = None
            return
        print(
            f"\n=== {self.test} is over its outer time limit; every process of its tree:", file=sys.stderr, flush=True
        )
        dump_stacks(self.pid, sys.stderr)
        kill_tree(self.pid, with_root=False)
        signal.pidfd_send_signal(self.pidfd, LIMIT_SIGNAL)
        self.struck = True
        self.deadline = time.monotonic() + SECOND_CHANCE_SECONDS

    def run(self) -> None:
        inputs = [0, self.pidfd]
        while True:
            left = None if self.deadline is None else max(0.0, self.deadline - time.monotonic())
            ready = select.select(inputs, [], [], left)[0]
            if self.pidfd in ready:
                return
            if 0 in ready:
                if not self.read_lines():
                    inputs = [self.pidfd]
            elif self.deadline is not None:
                self.strike()


if __name__ == "__main__":
    if os.fork() != 0:
        os._exit(0)
    try:
        Watch(int(sys.argv[1])).run()
    except ProcessLookupError:
        pass  # pytest has gone: nothing to watch
