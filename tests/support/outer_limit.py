"""pytest plugin: each test has a time limit that is enforced by another process (tools/watch_tests.py).

`@pytest.mark.limit(seconds)` sets it, 60 s by default, set-up and tear-down included. A hung test fails with the stacks of every
process of its tree on stderr, and what it had started is killed; the other tests go on. HOLDFAST_TEST_SLOWNESS (a factor, for
sanitizers and slow machines) stretches all limits.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import pytest

from support import patience

DEFAULT_SECONDS = 60.0
LIMIT_SIGNAL = signal.SIGRTMIN + 7
WATCHER = Path(__file__).resolve().parents[2] / "tools" / "watch_tests.py"


class OuterLimitExceeded(BaseException):
    """Not an Exception: a test's own `except Exception` must not swallow it."""


def _fail_test(_number: int, _frame: FrameType | None) -> None:
    raise OuterLimitExceeded("over the outer time limit (the stacks of all processes are on stderr)")


class OuterLimit:
    def __init__(self, pipe: int) -> None:
        self.pipe = pipe
        self.owner = os.getpid()

    def tell(self, line: str) -> None:
        if os.getpid() != self.owner:
            return  # a forked child that returned into pytest must not speak for it
        try:
            os.write(self.pipe, line.encode() + b"\n")
        except BrokenPipeError:
            pytest.exit("the outer time limit's watcher has gone (tools/watch_tests.py)", returncode=3)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        marker = item.get_closest_marker("limit")
        seconds = float(marker.args[0]) if marker else DEFAULT_SECONDS
        seconds *= float(os.environ.get("HOLDFAST_TEST_SLOWNESS", "1"))
        self.tell(f"begin {seconds} {item.nodeid!r}")
        patience.set_limit(time.monotonic() + seconds)
        try:
            return (yield)
        finally:
            patience.set_limit(float("inf"))
            self.tell("end")


def pytest_configure(config: pytest.Config) -> None:
    if config.option.collectonly:
        return
    read_end, write_end = os.pipe()
    capture = config.pluginmanager.getplugin("capturemanager")
    if capture is not None:
        capture.suspend_global_capture(in_=False)  # the watcher's stderr is the real one
    try:
        command = [sys.executable, str(WATCHER), str(os.getpid())]
        subprocess.run(command, stdin=read_end, stdout=2, start_new_session=True, check=True)
    finally:
        os.close(read_end)
        if capture is not None:
            capture.resume_global_capture()
    signal.signal(LIMIT_SIGNAL, _fail_test)
    config.pluginmanager.register(OuterLimit(write_end), "holdfast-outer-limit")
