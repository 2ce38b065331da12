"""P4 and P5 at the end of a program, however it comes: within the grace period and a second, with its own exit code, and nothing is left."""

from __future__ import annotations

import re
import signal
import subprocess
from pathlib import Path

import pytest

from faults import look
from faults.programs import Program, events
from faults.waits import WAITS
from support.patience import Stopwatch, seconds_left, until

pytestmark = pytest.mark.slow
MODULE = "exit_programs"
GRACE_S = 1.0
CRASH = re.compile(r"Fatal|terminate called|core dumped|Segmentation|Exception ignored")


def ends_well(program: Program, code: int = 0, limit_s: float = GRACE_S + 1) -> str:
    """In time, with the exit code, and without a word of a crash; returns what it said."""
    watch = Stopwatch()
    end = program.end()
    late = watch.late(limit_s)
    assert end.code == code, end.err
    assert not CRASH.search(end.err), end.err
    assert not late, late
    return end.out


@pytest.mark.parametrize("method", WAITS)
def test_daemon_threads_in_a_wait_do_not_crash_the_end(tmp_path: Path, method: str) -> None:
    """rc 134 is what a C++ wait easily does here (design.md section 4): five runs each."""
    for _ in range(5):
        with Program(tmp_path, MODULE, "daemon_threads", method, stdin=subprocess.PIPE) as program:
            program.expect("ready")
            program.armed(2)
            assert program.process.stdin is not None
            program.process.stdin.close()
            ends_well(program)
        (tmp_path / "armed").unlink()


def test_a_thread_that_is_no_daemon_gets_its_result(tmp_path: Path) -> None:
    """The interpreter waits for it, and the pool works on meanwhile."""
    with Program(tmp_path, MODULE, "thread_that_waits") as program:
        program.armed(1)
        (tmp_path / "go").touch()
        assert ends_well(program) == "got told\n"


@pytest.mark.parametrize("what", ["terminate", "close_join", "nothing"])
def test_del_while_modules_are_taken_apart(tmp_path: Path, what: str) -> None:
    """A global's __del__ that touches the pool."""
    with Program(tmp_path, MODULE, "from_del", what) as program:
        program.expect("ready")
        ends_well(program)


@pytest.mark.parametrize("what", ["use", "terminate", "close_join", "open"])
def test_functions_of_atexit_may_use_the_pool(tmp_path: Path, what: str) -> None:
    """It ends after them."""
    with Program(tmp_path, MODULE, "from_atexit", what) as program:
        program.expect("ready")
        said = ends_well(program).removeprefix("ready\n")
        assert said in {"use": ["[1, 2]\n"], "terminate": [""], "close_join": ["joined\n"]}.get(what, [said])
        if what == "open":
            assert said == "[1, 2]\n" or said.startswith("refused")


def test_an_uncaught_exception_ends_the_program(tmp_path: Path) -> None:
    """With its own traceback and exit code 1; the frame on it keeps the pool alive."""
    with Program(tmp_path, MODULE, "with_exception") as program:
        program.expect("ready")
        ends_well(program, code=1)
        assert "ValueError: <" in program.errors()


def test_deaf_workers_do_not_hold_up_the_end(tmp_path: Path) -> None:
    """SIGKILL after the grace period."""
    with Program(tmp_path, MODULE, "deaf_workers") as program:
        program.expect("ready")
        ends_well(program)


def test_sys_exit_in_a_callback(tmp_path: Path) -> None:
    """It ends neither the dispatcher nor the program."""
    with Program(tmp_path, MODULE, "exit_in_callback") as program:
        program.expect("ready")
        ends_well(program)


def test_a_pool_survives_the_thread_that_opened_it(tmp_path: Path) -> None:
    """The parent-death signal follows threads; no worker hangs on one of the caller's."""
    with Program(tmp_path, MODULE, "opened_in_a_thread") as program:
        program.expect("[1, 2] 2")
        ends_well(program)


@pytest.mark.parametrize("how", ["dropped", "cycle"])
def test_a_collected_pool_takes_its_workers_along(tmp_path: Path, how: str) -> None:
    """With the ResourceWarning of the standard pool."""
    with Program(tmp_path, MODULE, "collected", how, options=("-W", "always::ResourceWarning")) as program:
        program.expect("gone")
        ends_well(program)
        assert "ResourceWarning: unclosed running multiprocessing pool" in program.errors()


@pytest.mark.parametrize("how", ["exit", "use", "process"])
def test_a_forked_child_of_the_user_s_does_not_touch_the_pool(tmp_path: Path, how: str) -> None:
    """Its end does not end the parent's workers, and does not wait for them; its calls say what is wrong."""
    with Program(tmp_path, MODULE, "forked_child", how) as program:
        program.expect(f"child ended with {0 if how == 'process' else 3}")
        program.expect("told [1, 2]")
        ends_well(program)
        for line in events(tmp_path):
            assert ("Pool not running" in line and "fork" in line) or line.startswith("get: PoolTerminatedError"), line
        assert len(events(tmp_path)) == (0 if how == "exit" else 5)


@pytest.mark.parametrize(
    "how, code", [("_exit", 5), ("abort", -signal.SIGABRT), ("SIGKILL", -signal.SIGKILL), ("SIGTERM", -signal.SIGTERM)]
)
def test_programs_that_leave_without_the_interpreter(tmp_path: Path, how: str, code: int) -> None:
    """Their workers notice by themselves."""
    with Program(tmp_path, MODULE, "left_by", how) as program:
        program.expect("ready")
        assert program.process.wait(seconds_left()) == code


def test_a_program_that_becomes_another_one(tmp_path: Path) -> None:
    """After exec the pid lives and no pidfd fires; the closed socket tells the zygote."""
    with Program(tmp_path, MODULE, "becomes_another_program") as program:
        program.expect("ready")
        watch = Stopwatch()
        assert until(lambda: program.tagged() == {program.pid}), "\n".join(map(look.describe, program.tagged()))
        watch.check(1)
        program.process.kill()


def test_a_pool_inside_a_task_ends_with_the_outer_one(tmp_path: Path) -> None:
    """Workers of workers are gone as well."""
    with Program(tmp_path, MODULE, "nested") as program:
        program.expect("ready")
        ends_well(program)


@pytest.mark.limit(120)
def test_an_exception_out_of_a_handler_at_any_moment_of_a_pool_s_life(tmp_path: Path) -> None:
    """In opening above all: no child, descriptor or thread is lost sight of."""
    with Program(tmp_path, MODULE, "interrupted_at_any_moment", options=("-W", "ignore")) as program:
        program.expect("interrupted True")
        program.expect("left []")
        program.end()


@pytest.mark.limit(120)
@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_an_exception_out_of_a_handler_while_a_pool_is_opened(tmp_path: Path, method: str) -> None:
    """Also of a signal that another thread has taken: the zygote is known to the pool or was never born."""
    with Program(tmp_path, MODULE, "interrupted_while_opening", method, options=("-W", "ignore")) as program:
        program.expect("interrupted True")
        program.expect("left []")
        program.end()


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_a_pool_that_nobody_closes(tmp_path: Path, method: str) -> None:
    """No message, no delay."""
    with Program(tmp_path, MODULE, "never_closed", method) as program:
        program.expect("[1, 2]")
        ends_well(program, limit_s=1)
        assert program.errors() == ""
