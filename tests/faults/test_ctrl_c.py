"""Promise P6: Ctrl-C works, whenever and however often it is pressed.

The keys go through a real pty with a shell that has job control (terminal.py), so SIGINT reaches whom the kernel sends it.
"""

# Files are opened by name, as the kernel gives them (/proc, descriptors):
from __future__ import annotations

import random
import signal
import time
from pathlib import Path

import pytest

from faults.programs import Program, events
from faults.terminal import CTRL_C, Terminal
from faults.waits import WAITS
from support.patience import until

pytestmark = pytest.mark.slow
MODULE = "ctrl_c_programs"
NEWS_LIMIT_S = 0.1


@pytest.mark.parametrize("method", WAITS)
def test_a_ctrl_c_ends_any_wait_at_once(tmp_path: Path, method: str) -> None:
    """KeyboardInterrupt within 100 ms of the key; leaving `with` then ends within the grace period, and nothing is left."""
    with Terminal(tmp_path, MODULE, "waits", method) as program:
        watch = program.interrupt_when_ready(1)
        watch.check(NEWS_LIMIT_S, at=float(program.line()))
        program.expect("left with")
        program.expect("shell: ended 0")
        watch.check(5 + 1)


def test_a_second_ctrl_c_kills_deaf_workers(tmp_path: Path) -> None:
    """With a grace period of five minutes."""
    with Terminal(tmp_path, MODULE, "twice_with_deaf_workers") as program:
        program.interrupt_when_ready(2)
        program.expect("interrupted")
        program.job_waits()  # now for the end
        program.press(CTRL_C)
        program.expect("left")
        program.expect("shell: ended 0")  # and not in five minutes


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_get_again_after_workers_swallowed_it(tmp_path: Path, method: str) -> None:
    """Three times; then the results are there, and the pool works on with the same zygote, though it is in the terminal's group."""
    with Terminal(tmp_path, MODULE, "get_again_after_swallowing", method) as program:
        program.expect("ready")
        program.armed(2)
        for count in (1, 2, 3):
            program.job_waits()
            program.press(CTRL_C)
            program.expect("interrupted")
            assert until(lambda count=count: len(events(tmp_path)) == 2 * count)
        (tmp_path / "go").touch()
        program.expect("['done 3', 'done 3']")
        program.expect("[1, 2]")
        program.expect("True")
        program.expect("shell: ended 0")


def test_get_again_when_workers_ignore_it(tmp_path: Path) -> None:
    """SIG_IGN in the initializer, the common advice: only the caller is interrupted."""
    with Terminal(tmp_path, MODULE, "get_again_with_ignoring_workers") as program:
        program.interrupt_when_ready(2)
        program.expect("interrupted")
        (tmp_path / "go").touch()
        program.expect("['done 0', 'done 0']")
        program.expect("shell: ended 0")


def test_a_shielded_caller_shields_its_workers(tmp_path: Path) -> None:
    """SIGINT ignored in the caller: the terminal's SIGINT reaches no worker, as they are in groups of their own."""
    with Terminal(tmp_path, MODULE, "shielded") as program:
        program.expect("ready")
        program.armed(2)
        program.press_and_see(CTRL_C)
        (tmp_path / "go").touch()
        program.expect("['done 0', 'done 0']")
        program.expect("shell: ended 0")
        assert not events(tmp_path)


def test_close_and_join_after_a_ctrl_c_run_what_is_queued(tmp_path: Path) -> None:
    """Seed 001's `except KeyboardInterrupt: close(); join()`."""
    with Terminal(tmp_path, MODULE, "seed_001") as program:
        program.interrupt_when_ready(2)
        program.expect("[0, 1, 2]")
        program.expect("KeyboardInterrupt of a task")
        program.expect("shell: ended 0")


def test_ctrl_c_while_another_thread_waits(tmp_path: Path) -> None:
    """The main thread gets it; terminate() tells the thread."""
    with Terminal(tmp_path, MODULE, "in_another_thread") as program:
        program.expect("ready")
        program.armed(2)
        program.press(CTRL_C)  # wherever the main thread is on its way into join(), it will be told
        program.expect("interrupted")
        assert {program.line(), program.line()} == {"the thread was told", "terminated"}
        program.expect("shell: ended 0")


def test_a_handler_of_the_user_s_is_respected(tmp_path: Path) -> None:
    """It runs, at once; what does not raise does not end the wait, and signal.set_wakeup_fd keeps working."""
    with Terminal(tmp_path, MODULE, "own_handler") as program:
        watch = program.interrupt_when_ready(2)
        program.expect("handled")
        watch.check(NEWS_LIMIT_S)
        (tmp_path / "go").touch()
        program.expect("['done 0', 'done 0']")
        program.expect(f"wakeup bytes [{int(signal.SIGINT)}]")
        program.expect("shell: ended 0")
        assert not events(tmp_path)


def test_ctrl_c_in_asyncio(tmp_path: Path) -> None:
    """asyncio.run()'s handler stays in force beside the pool."""
    with Terminal(tmp_path, MODULE, "in_asyncio") as program:
        program.expect("ready")
        program.armed(1)
        program.press(CTRL_C)
        program.expect("cancelled")
        program.expect("KeyboardInterrupt out of asyncio.run")
        program.expect("shell: ended 0")


@pytest.mark.limit(120)
@pytest.mark.parametrize("seed", range(8))
def test_ten_ctrl_cs_at_random_instants(tmp_path: Path, seed: int) -> None:
    """From the program's first line on, in opening, working and ending alike: it ends, and nothing is left."""
    source = random.Random(seed)
    with Terminal(tmp_path, MODULE, "at_any_time") as program:
        program.expect("begun")
        time.sleep(source.random() * 0.3)
        for _ in range(10):
            program.press(CTRL_C)
            time.sleep(source.choice([0.0, 0.0005, 0.005, 0.05]) * source.random())
        assert program.line().startswith("shell: ended"), program.errors()


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_ctrl_c_while_a_pool_opens(tmp_path: Path, method: str) -> None:
    """At any moment of it: nothing is left."""
    for delay_ms in (0, 5, 20, 60):
        with Program(tmp_path, "ctrl_c_programs", "opens", method) as program:
            program.expect("opening")
            time.sleep(delay_ms / 1000)
            program.signal(signal.SIGINT)
            program.end()
