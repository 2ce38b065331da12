"""stall_warning: a worker that waits in one task tells with its stacks, and nothing else happens to it."""

import os
import threading
import time
import warnings

import pool_tasks as tasks
import pytest
import worker_tasks

import holdfast
from conftest import eventually

pytestmark = pytest.mark.slow


class Stalls:
    """The warnings that come while it is open."""

    def __enter__(self):
        self.catcher = warnings.catch_warnings(record=True)
        self.caught = self.catcher.__enter__()
        warnings.simplefilter("always")
        return self

    def __exit__(self, *exc):
        self.catcher.__exit__(*exc)

    def texts(self):
        return [str(warning.message) for warning in self.caught if warning.category is holdfast.StallWarning]


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_a_worker_that_waits_is_told_with_its_stack(tmp_path, method):
    """Once for the task, and the task goes on to its result."""
    go = tmp_path / "go"
    os.mkfifo(go)
    with Stalls() as stalls, holdfast.Pool(1, context=method, stall_warning=0.4) as pool:
        result = pool.apply_async(worker_tasks.wait_here, (str(go),))
        eventually(lambda: stalls.texts() or result.ready(), "no warning")
        assert not result.ready(), result.get()
        text = stalls.texts()[0]
        assert f"worker {pool._pool[0].pid} " in text and "in wait_here" in text
        assert ("forkserver" in text) == (method == "fork")
        time.sleep(1)  # a second warning would come now
        assert len(stalls.texts()) == 1
        go.write_bytes(b"")
        assert result.get(10) == "done"


def test_a_lock_that_was_held_at_the_fork(tmp_path):
    """Seed 003's 'fork this mess': no pool can cure it; silence is broken, with the line that waits."""
    held, done = threading.Event(), threading.Event()

    def hold():
        with worker_tasks.LOCK:
            held.set()
            done.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    try:
        with Stalls() as stalls, holdfast.Pool(1, context="fork", stall_warning=0.3, grace=0.2) as pool:
            done.set()
            thread.join()  # free here, and for ever held there
            pool.apply_async(worker_tasks.take_lock)
            eventually(stalls.texts, "no warning")
            assert "in take_lock" in stalls.texts()[0] and "lock" in stalls.texts()[0]
    finally:
        done.set()
        thread.join()


def test_all_threads_are_shown(tmp_path):
    """The one that is waited for is what one wants to see."""
    go = tmp_path / "go"
    os.mkfifo(go)
    with Stalls() as stalls, holdfast.Pool(1, stall_warning=0.3) as pool:
        result = pool.apply_async(worker_tasks.waits_in_a_thread, (str(go),))
        eventually(stalls.texts, "no warning")
        assert "in waits_in_a_thread" in stalls.texts()[0] and "in wait_here" in stalls.texts()[0]
        go.write_bytes(b"")
        assert result.get(10) == "done"


def test_a_worker_in_c_with_the_gil_is_told_without_its_stack():
    """Nobody can look into it; the report says so and does not wait."""
    with Stalls() as stalls, holdfast.Pool(1, stall_warning=0.3) as pool:
        result = pool.apply_async(worker_tasks.sleep_in_c_with_the_gil, (4,))
        assert result.get(20) == "done"
        eventually(stalls.texts, "no warning")
        assert "cannot be had" in stalls.texts()[0]
        assert pool.apply(tasks.same, (1,)) == 1


@pytest.mark.parametrize("call, argument", [(worker_tasks.compute, 1.5), (tasks.same, 1)])
def test_workers_that_compute_or_have_nothing_to_do_are_no_stalls(call, argument):
    """Long tasks, and long pauses between tasks."""
    with Stalls() as stalls, holdfast.Pool(1, stall_warning=0.3) as pool:
        pool.apply(call, (argument,))
        time.sleep(1.5)  # idle, past its watchful first second
        pool.map(tasks.same, range(100))
        assert not stalls.texts()


def test_a_worker_that_gets_no_processor_does_not_stall():
    """It would go on at once: that the machine has more to do than it can is no news of this task."""
    with Stalls() as stalls, holdfast.Pool(1, stall_warning=0.3) as pool:
        assert pool.apply(worker_tasks.compute_without_a_processor, (3,)) == "done"
        assert not stalls.texts()


def test_many_short_waits_are_no_stall():
    """Each task is looked at by itself."""
    with Stalls() as stalls, holdfast.Pool(1, stall_warning=0.5) as pool:
        pool.map(tasks.sleep, [0.05] * 30)
        assert not stalls.texts()


def test_a_stall_after_a_long_rest_is_told(tmp_path):
    """The watcher was asleep meanwhile."""
    go = tmp_path / "go"
    os.mkfifo(go)
    with Stalls() as stalls, holdfast.Pool(1, stall_warning=0.3) as pool:
        pool.apply(tasks.same, (1,))
        time.sleep(1.5)
        result = pool.apply_async(worker_tasks.wait_here, (str(go),))
        eventually(stalls.texts, "no warning")
        go.write_bytes(b"")
        assert result.get(10) == "done"


def test_none_is_never(tmp_path):
    """stall_warning=None."""
    with Stalls() as stalls, holdfast.Pool(1, stall_warning=None) as pool:
        pool.apply(tasks.sleep, (0.5,))
        assert not stalls.texts()


def test_an_idle_worker_does_not_wake(tmp_path):
    """No timer runs in it once it rests: its threads are not scheduled."""
    with holdfast.Pool(1, stall_warning=0.2) as pool:
        worker = pool.apply(os.getpid)

        def switches():
            total = 0
            for thread in os.listdir(f"/proc/{worker}/task"):  # noqa: PTH208
                with open(f"/proc/{worker}/task/{thread}/status") as file:  # noqa: PTH123
                    total += sum(int(line.split()[1]) for line in file if "ctxt_switches" in line)
            return total

        def rested():
            """Not once in a second; a worker that is late with its way to rest is looked at again."""
            before = switches()
            time.sleep(1)
            return switches() == before

        eventually(rested, "the worker wakes again and again")
