"""Whom a Ctrl-C's SIGINT reaches (design.md section 6): each busy worker of the job waited for, once; in join() and at `with` exit all."""

from __future__ import annotations

from pathlib import Path

import pytest

from faults.programs import events
from faults.terminal import Terminal

pytestmark = pytest.mark.slow
MODULE = "ctrl_c_programs"


@pytest.mark.parametrize("leave", ["with", "join", "close_join"])
def test_each_task_gets_one_interrupt_for_one_ctrl_c(tmp_path: Path, leave: str) -> None:
    """A task that cleans up after its KeyboardInterrupt is not interrupted again by the pool that is being left."""
    with Terminal(tmp_path, MODULE, "interrupts_are_single", leave) as program:
        program.interrupt_when_ready(2)
        assert program.line().startswith("left")
        program.expect("shell: ended 0")
        assert sorted(events(tmp_path)) == ["cleaned 1"] * 2 + ["interrupt"] * 2


def test_only_the_job_that_is_waited_for_is_interrupted(tmp_path: Path) -> None:
    """Another job's tasks run on."""
    with Terminal(tmp_path, MODULE, "only_the_job_waited_for") as program:
        program.interrupt_when_ready(2)
        program.expect("interrupted")
        (tmp_path / "go").touch()
        program.expect("done 0")
        program.expect("shell: ended 0")
        assert not events(tmp_path)
