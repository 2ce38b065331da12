"""Ctrl-Z, fg and a closed terminal: a pool behaves as if it were one process with its caller.

The keys go through a real pty with a shell that has job control (terminal.py), so SIGTSTP, SIGCONT and SIGHUP reach whom the kernel sends them.
"""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from faults import look
from faults.terminal import CTRL_C, CTRL_Z, Terminal, wait_for_state
from support.patience import Stopwatch, until

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
        assert wait_for_state(workers, "T"), "workers run on while their caller is stopped"
        program.foreground()
        assert wait_for_state(workers | {program.job}, "SR"), "workers stay stopped"
        program.press(CTRL_C)
        program.expect("left")
        program.expect("shell: ended 0")


def test_a_stop_counts_for_no_time_limit(tmp_path: Path) -> None:
    """A task with a limit of 4 s, stopped for 5 s in its middle, is in time."""
    with Terminal(tmp_path, MODULE, "timed", 4) as program:
        workers = {int(word) for word in program.line().split()[1:]}
        program.armed(1)
        program.press(CTRL_Z)
        program.expect("shell: stopped")
        assert wait_for_state(workers, "T")
        time.sleep(5)  # the pause itself
        (tmp_path / "go").touch()  # of its own time it has used next to nothing, and needs no more
        program.foreground()
        program.expect("done 0")
        program.expect("shell: ended 0")


def test_a_closed_terminal_ends_all(tmp_path: Path) -> None:
    """SIGHUP ends the caller, and with it everything, within 1 s."""
    with Terminal(tmp_path, MODULE, "ticks") as program:
        program.line()
        program.armed(2)
        program.job_waits()
        watch = Stopwatch()
        program.hang_up()
        assert until(lambda: not program.tagged()), "\n".join(map(look.describe, program.tagged()))
        watch.check(1)
