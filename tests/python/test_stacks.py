"""Where it was: the stacks of a worker that crashed, whose time was over, or that is asked."""

import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import stack_tasks as tasks

import holdfast
from holdfast import WorkerDiedError

HERE = str(Path(__file__).parent)
METHODS = ["fork", "forkserver", "spawn"]


def death_of(pool, task, *arguments):
    with pytest.raises(WorkerDiedError) as caught:
        pool.apply(task, arguments)
    return caught.value


# --- crashes --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "task, number",
    [(tasks.read_nothing, signal.SIGSEGV), (tasks.abort, signal.SIGABRT), (tasks.divide, signal.SIGFPE)],
)
def test_a_crash_tells_where(method, task, number):
    """In the error, in its text, and in a copy of it; the next task finds another worker."""
    with holdfast.Pool(1, context=method) as pool:
        error = death_of(pool, task)
        assert (error.cause, error.signal) == ("signal", number)
        assert f"in {task.__name__}" in error.worker_traceback and "stack_tasks.py" in error.worker_traceback
        assert error.worker_traceback == error.report.traceback == pickle.loads(pickle.dumps(error)).worker_traceback
        assert f"in {task.__name__}" in str(error) and "stacks when it crashed" in str(error)
        assert pool.apply(tasks.same, (1,)) == 1


@pytest.mark.parametrize(
    "task",
    [
        tasks.read_nothing_on_a_small_stack,
        tasks.in_a_thread_unknown_to_python,
        tasks.use_up_the_stack,
        tasks.crash_in_pickle,
    ],
)
def test_wherever_it_crashes(task):
    """A thread with 64 KiB of stack, one that Python does not know, a stack overflow, pickle."""
    with holdfast.Pool(1) as pool:
        error = death_of(pool, task)
        assert error.signal == signal.SIGSEGV
        name = (
            "compare"
            if task is tasks.use_up_the_stack
            else "read_nothing"
            if "pickle" in task.__name__
            else task.__name__
        )
        assert f"in {name}" in error.worker_traceback, error


def test_other_ends_have_none():
    """An exit, a SIGKILL: no stack is told, that of an earlier request neither."""
    with holdfast.Pool(1) as pool:
        assert death_of(pool, tasks.exit_code).worker_traceback is None
        with pytest.raises(WorkerDiedError) as caught:
            pool.apply(signal.raise_signal, (signal.SIGKILL,))
        assert caught.value.worker_traceback is None and "stacks" not in str(caught.value)


def test_a_crash_in_the_initializer():
    """It stands in the report of the pool that broke."""
    with holdfast.Pool(1, tasks.crash_in_initializer, max_restarts=0) as pool:
        with pytest.raises(holdfast.PoolBrokenError) as caught:
            pool.apply(tasks.same, (1,))
        assert "in crash_in_initializer" in caught.value.report.traceback


def test_a_child_of_the_worker_is_not_the_worker():
    """Its crash is its own, and writes nothing into the worker's text."""
    with holdfast.Pool(1) as pool:
        assert pool.apply(tasks.crash_in_a_forked_child) == signal.SIGSEGV
        assert death_of(pool, tasks.exit_code).worker_traceback is None
        assert pool.apply(tasks.crash_in_a_forked_child) == signal.SIGSEGV
        assert "in abort" in death_of(pool, tasks.abort).worker_traceback


def test_closed_descriptors(tmp_path):
    """No text then, and none in a file of the program's that has the descriptor's number now."""
    path = tmp_path / "own"
    with holdfast.Pool(1, context="forkserver") as pool:  # not with pytest's own faulthandler
        assert death_of(pool, tasks.close_descriptors_and_crash, path).worker_traceback is None
    assert path.read_bytes() == b""


# --- the program's own faulthandler -----------------------------------------------------------------------------------------


def test_faulthandler_enabled_in_a_task(tmp_path):
    """Both have it, and stderr is left to the program's."""
    with holdfast.Pool(1) as pool:
        assert pool.apply(tasks.enable, (tmp_path / "own",))
        assert "in read_nothing" in death_of(pool, tasks.read_nothing).worker_traceback
    assert "in read_nothing" in (tmp_path / "own").read_text()


@pytest.mark.parametrize("touch", [tasks.enable_and_disable, tasks.disable])
def test_faulthandler_disabled_in_a_task(touch):
    """The death is told all the same."""
    with holdfast.Pool(1) as pool:
        pool.apply(touch)
        assert death_of(pool, tasks.read_nothing).signal == signal.SIGSEGV


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("enabled", [False, True])
def test_stderr_has_a_crash_once(method, enabled):
    """From the program's faulthandler where it is enabled, else from ours."""
    program = (
        "import holdfast, stack_tasks\n"
        "if __name__ == '__main__':\n"
        f"    with holdfast.Pool(1, context={method!r}) as pool:\n"
        "        try: pool.apply(stack_tasks.read_nothing)\n"
        "        except holdfast.WorkerDiedError as error: print(error.worker_traceback)\n"
    )
    environment = {**os.environ, "PYTHONPATH": HERE, "PYTHONFAULTHANDLER": "1" if enabled else ""}
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=True)
    assert "in read_nothing" in ran.stdout
    assert ran.stderr.count("in read_nothing") == 1, ran.stderr
    assert ("Fatal Python error" in ran.stderr) == enabled and ("worker of holdfast" in ran.stderr) != enabled


def test_a_full_pipe_on_stderr_holds_up_no_death():
    """Nobody reads it: the text is dropped, the death is told."""
    program = (
        "import fcntl, os, holdfast, stack_tasks\n"
        "reads, writes = os.pipe()\n"
        "os.set_blocking(writes, False)\n"
        "try:\n"
        "    while True: os.write(writes, bytes(4096))\n"
        "except BlockingIOError: os.set_blocking(writes, True)\n"
        "os.dup2(writes, 2)\n"
        "with holdfast.Pool(1) as pool:\n"
        "    try: pool.apply(stack_tasks.read_nothing)\n"
        "    except holdfast.WorkerDiedError as error: print(error.worker_traceback)\n"
    )
    environment = {**os.environ, "PYTHONPATH": HERE}
    ran = subprocess.run(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, env=environment, check=True
    )
    assert "in read_nothing" in ran.stdout


def test_a_handler_of_the_programs_own_is_left_alone():
    """Its exit code is the worker's."""
    with holdfast.Pool(1) as pool:
        error = death_of(pool, tasks.handle_crashes)
        assert (error.exitcode, error.worker_traceback) == (9, None)
