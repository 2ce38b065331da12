"""SafePool as seed 004 describes it."""

import os
import signal

import pool_tasks as tasks
import pytest

from holdfast import PoolAbortedError, SafePool, SubProcessKilledException, WorkerDiedError

SQUARES = [0, 1, 4, None, 16, 25, 36, 49, 64, 81]


@pytest.fixture
def safe_pool():
    with SafePool(processes=2) as made:
        yield made


@pytest.mark.parametrize("task", [tasks.kill_on_three, tasks.exit_on_three])
def test_none_stands_for_the_killed_task(safe_pool, task):
    """The seed's own example; sys.exit in a task counts as a killed task."""
    assert safe_pool.map(task, range(10)) == SQUARES
    assert safe_pool.get_killed_tasks() == [(task, (3,))]


def test_map_async_and_its_value(safe_pool):
    """Upstream's tests read res._value."""
    result = safe_pool.map_async(tasks.kill_on_three, range(10))
    assert result.get(30) == SQUARES
    assert result._value == SQUARES


def test_a_worker_killed_from_outside(safe_pool, tmp_path):
    """Upstream's tests kill pool._pool[i].pid."""
    started, go = str(tmp_path / "started"), str(tmp_path / "go")
    safe_pool.map(tasks.same, range(4))
    result = safe_pool.map_async(tasks.announce_and_wait, [(started, go)], chunksize=1)
    tasks.wait_for_file(started)
    for handle in safe_pool._pool:
        os.kill(handle.pid, signal.SIGKILL)
    assert result.get(30) == [None]
    assert safe_pool.get_killed_tasks() == [(tasks.announce_and_wait, ((started, go),))]


def test_abort_when_killed():
    """Waiting raises SubProcessKilledException, which is PoolAbortedError."""
    with SafePool(processes=2, abort_when_killed=True) as pool:
        result = pool.map_async(tasks.kill_on_three, range(10))
        with pytest.raises(SubProcessKilledException) as caught:
            result.get(30)
        assert isinstance(caught.value.__cause__, WorkerDiedError)
        assert isinstance(result._value, SubProcessKilledException)
    assert SubProcessKilledException is PoolAbortedError


def test_retry_killed_tasks(tmp_path):
    """A task that survives in the end has its result; one that never does becomes None (the seed retried for ever)."""
    with SafePool(processes=2, retry_killed_tasks=True) as pool:
        assert pool.map(tasks.die_until, [(str(tmp_path / "a"), 2)]) == [3]
        assert pool.map(tasks.kill_on_three, range(10)) == SQUARES


def test_retry_then_abort():
    """Both flags: retried first."""
    with SafePool(processes=2, retry_killed_tasks=True, abort_when_killed=True) as pool:
        with pytest.raises(SubProcessKilledException) as caught:
            pool.map(tasks.kill_on_three, range(10))
        assert len(caught.value.deaths) == 4


def test_positional_arguments_in_the_seed_s_order():
    """SafePool(processes, initializer, initargs, maxtasksperchild, retry_killed_tasks, abort_when_killed)."""
    with SafePool(1, tasks.set_global, (5,), None, True, False) as pool:
        assert pool.apply(tasks.get_global) == 5


def test_an_exception_does_not_stop_the_pool():
    """The seed's roadmap: on_error."""
    with SafePool(2, on_error="skip") as pool:
        assert pool.map(tasks.fail_on_three, range(5)) == [0, 1, 2, None, 4]
    with SafePool(2) as pool, pytest.raises(ValueError, match="three"):
        pool.map(tasks.fail_on_three, range(5))


def test_get_killed_tasks_of_every_kind_of_call(safe_pool):
    """Arguments as the user gave them."""
    safe_pool.apply(tasks.die_by, ("os._exit",))
    safe_pool.apply(tasks.die_by, ("os._exit",), {"number": 3})
    safe_pool.starmap(tasks.die_by, [("os._exit", 3)])
    assert safe_pool.get_killed_tasks() == [
        (tasks.die_by, ("os._exit",)),
        (tasks.die_by, ("os._exit",)),
        (tasks.die_by, ("os._exit", 3)),
    ]


def test_on_death_is_what_the_flags_say():
    """Two ways to say it would contradict each other."""
    with pytest.raises(TypeError, match="on_death"):
        SafePool(1, on_death="raise")
