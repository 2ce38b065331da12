"""Ctrl-Z, fg and a closed terminal: a pool behaves as if it were one process with its caller.

The keys go through a real pty with a shell that has job control (terminal.py), so SIGTSTP, SIGCONT and SIGHUP reach whom the kernel sends them.
"""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from faults import look
from faults.programs import stretched, until
from faults.terminal import CTRL_C, CTRL_Z, Terminal, wait_for_state

pytestmark = pytest.mark.slow
MODULE = "ctrl_c_programs"


def test_ctrl_z_stops_the_workers_and_fg_continues_them(tmp_path: Path) -> None:
    """As if the pool were one process."""
    with Terminal(tmp_path, MODULE, "ticks") as program:
        workers = {int(word) for word in program.line().split()[1:]}
        program.armed(2)
        program.job_waits()
        program.press(CTRL_Z)
        program.expect("shell: stopped")
        assert wait_for_state(workers, "T") is not None, "workers run on while their caller is stopped"
        program.foreground()
        assert wait_for_state(workers | {program.job}, "SR") is not None, "workers stay stopped"
        program.press(CTRL_C)
        program.expect("left")
        program.expect("shell: ended 0")


def test_a_stop_counts_for_no_time_limit(tmp_path: Path) -> None:
    """A task with a limit of 2 s, stopped for 3 s in its middle, is in time."""
    with Terminal(tmp_path, MODULE, "timed", 1) as program:
        workers = {int(word) for word in program.line().split()[1:]}
        program.armed(1)
        program.press(CTRL_Z)
        program.expect("shell: stopped")
        assert wait_for_state(workers, "T") is not None
        time.sleep(3)  # the pause itself
        program.foreground()
        program.expect("in time")
        program.expect("shell: ended 0")


def test_a_closed_terminal_ends_all(tmp_path: Path) -> None:
    """SIGHUP ends the caller, and with it everything, within 1 s."""
    with Terminal(tmp_path, MODULE, "ticks") as program:
        program.line()
        program.armed(2)
        program.job_waits()
        began = time.monotonic()
        program.hang_up()
        assert until(lambda: not program.tagged(), 5) is not None, "\n".join(map(look.describe, program.tagged()))
        assert time.monotonic() - began < stretched(1)
