"""Where it was: the stacks of a worker that crashed, whose time was over, or that is asked."""

import os
import pickle
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import stack_tasks as tasks

import holdfast
from conftest import eventually
from holdfast import TaskTimeoutError, WorkerDiedError

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


# --- time limits ------------------------------------------------------------------------------------------------------------


def limit_of(pool, task, *arguments):
    with pytest.raises(TaskTimeoutError) as caught:
        pool.apply(task, arguments, task_timeout=0.3)
    return caught.value


@pytest.mark.parametrize("method", METHODS)
def test_a_task_over_its_time_tells_where(method, tmp_path):
    """In C with the GIL, or waiting; the stack is that of the moment before the kill."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with holdfast.Pool(1, context=method) as pool:
        error = limit_of(pool, tasks.sleep_with_the_gil)
        assert "in sleep_with_the_gil" in error.worker_traceback
        assert error.cause == "time_limit" and "stacks when its time was over" in str(error)
        assert "in wait_at" in limit_of(pool, tasks.wait_at, fifo).worker_traceback
        assert pool.apply(tasks.same, (1,)) == 1


def test_a_stopped_worker_has_no_stack():
    """It cannot show one, and is not waited for."""
    with holdfast.Pool(1) as pool:
        assert limit_of(pool, tasks.stop_myself).worker_traceback == "no stack: stopped"


@pytest.mark.parametrize("task", [tasks.block_everything, tasks.ignore_the_signal, tasks.take_the_signal])
def test_a_worker_that_does_not_answer(task):
    """It is killed all the same, and says why there is none."""
    with holdfast.Pool(1) as pool:
        assert limit_of(pool, task).worker_traceback.startswith("no stack: it d")


def test_no_signal_left():
    """Then crashes and time limits go without."""
    with holdfast.Pool(1, context="spawn", daemon=False) as pool:
        outer = pool.apply(tasks.pool_without_signals)
    assert outer == ("no stack: this worker cannot be asked (its program has no real-time signal left)", 1)


# --- at any time ------------------------------------------------------------------------------------------------------------


def all_ready(pool):
    """Not asked for by their stacks: each look at one that imports is a chance for faulthandler to meet a frame half made."""
    eventually(lambda: all(worker[4] for worker in pool._core.workers()), pool._core.workers)


def reader_of(fifo):
    """Our end of it once somebody has opened the other one, else None."""
    try:
        return os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
    except OSError:
        return None


@pytest.mark.parametrize("method", METHODS)
def test_dump_stacks(method, tmp_path):
    """Of idle and busy workers, again and again; the task goes on."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with holdfast.Pool(2, context=method) as pool:
        waiters = []
        pids = {worker.pid for worker in pool._pool}
        all_ready(pool)
        for _ in range(3):
            stacks = pool.dump_stacks(30)
            assert stacks.keys() == pids and all("in _work" in text for text in stacks.values()), stacks
        result = pool.apply_async(tasks.wait_at, (fifo,))
        eventually(lambda: waiters.append(reader_of(fifo)) or waiters[-1], "nobody at the FIFO")
        assert any("in wait_at" in text for text in pool.dump_stacks(30).values())
        os.close(waiters[-1])
        assert result.get() == "done"
        assert pids == {worker.pid for worker in pool._pool}


def test_dump_stacks_of_workers_that_do_not_answer():
    """It returns when its time is over, and says why of each."""
    with holdfast.Pool(3) as pool:
        for task in (tasks.stop_myself, tasks.block_everything):
            pool.apply_async(task)
        eventually(
            lambda: (
                sorted(text[:19] for text in pool.dump_stacks(0.2).values())[-2:]
                == ["no stack: it did no", "no stack: stopped"]
            ),
            pool.dump_stacks,
        )
        pool.terminate(0)
        assert pool.dump_stacks() == {}


@pytest.mark.parametrize("task", [tasks.same, tasks.with_threads])
def test_dump_stacks_while_all_is_busy(task):
    """From several threads at once, and no worker or result is lost for it, not even where a stack is read while its thread ends."""
    with holdfast.Pool(2) as pool:
        all_ready(pool)
        over = threading.Event()
        texts = set()

        def ask():
            while not over.is_set():
                texts.update(pool.dump_stacks(30).values())

        threads = [threading.Thread(target=ask) for _ in range(3)]
        for thread in threads:
            thread.start()
        for _ in range(20):
            assert pool.map(task, range(200)) == list(range(200))
        over.set()
        for thread in threads:
            thread.join()
        assert not pool.deaths()
        assert not {
            text for text in texts if text.startswith("no stack: ") and not text.startswith("no stack: a thread")
        }
        assert any("in _work" in text for text in texts)


def test_dump_stacks_in_a_pool_of_a_worker():
    """Its workers have inherited the handlers of the one that forked them."""
    with holdfast.Pool(1) as pool:
        inner, traceback = pool.apply(tasks.pool_in_a_worker)
        assert "in _work" in inner and "in read_nothing" in traceback
        assert "in abort" in death_of(pool, tasks.abort).worker_traceback


def test_dump_stacks_in_a_forked_child(pool):
    """The workers are not its own."""
    child = os.fork()
    if child == 0:
        os._exit(0 if pool.dump_stacks() == {} else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize("timeout, error", [(-1, ValueError), ("1", TypeError), (float("nan"), ValueError)])
def test_bad_timeouts(pool, timeout, error):
    """The argument is named."""
    with pytest.raises(error, match="timeout must be"):
        pool.dump_stacks(timeout)


def test_a_worker_that_lies():
    """Its text is bounded, and need be no text."""
    with holdfast.Pool(1) as pool:
        text = death_of(pool, tasks.forge_stacks).worker_traceback
        assert text == "\ufffd" * (64 * 1024 - 3) + "?\n?"
        assert pool.apply(tasks.same, (1,)) == 1
