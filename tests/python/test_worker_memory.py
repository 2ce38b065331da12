"""memory_limit and max_memory_per_child: how much a worker may have of its own; and how many workers a pool has by default."""

import os

import oom_tasks as tasks
import pytest

from holdfast import OutOfMemoryError, Pool, SafePool
from holdfast._options import default_processes


def test_a_task_over_the_memory_limit_is_killed_and_told_exactly(tmp_path):
    """The cause is the pool's own word, with the figures; nobody else is hit."""
    os.mkfifo(tmp_path / "never")
    with Pool(2, memory_limit="100MiB") as pool:
        small = pool.apply_async(tasks.take_slowly, (50,))
        with pytest.raises(OutOfMemoryError) as caught:
            pool.apply(tasks.take_and_wait, (150, tmp_path / "never"))
        error = caught.value
        assert error.cause == "memory_limit" and isinstance(error, MemoryError) and error.signal == 9
        assert "memory_limit is 100.0 MiB" in error.report.detail
        assert error.report.peak_memory_bytes > 100 * tasks.MIB
        assert "memory_limit" in str(error) and "take_and_wait" in str(error)
        assert small.get() == 50
        assert pool.map(tasks.same, range(10)) == list(range(10))


def test_the_policy_of_deaths_is_that_of_the_memory_limit():
    """SafePool puts None in the place of a task that was too large."""
    with SafePool(2, memory_limit=100 * tasks.MIB) as pool:
        assert pool.map(tasks.take_slowly, [5, 400, 7], chunksize=1) == [5, None, 7]


def test_what_a_fork_inherits_does_not_count():
    """The caller has more than the limit; its workers have nothing of their own."""
    ballast = bytearray(200 * tasks.MIB)
    with Pool(1, memory_limit="100MiB", context="fork") as pool:
        assert pool.map(tasks.take_slowly, [40] * 2, chunksize=1) == [40, 40]
        assert pool._pool[0].memory_bytes < 100 * tasks.MIB
    assert len(ballast) == 200 * tasks.MIB


def test_a_worker_that_has_grown_is_replaced_between_tasks():
    """Every task leaks 10 MiB: no worker keeps more than a few of them, no task is lost, none is run twice."""
    with Pool(2, max_memory_per_child="40MiB") as pool:
        pids = pool.map(tasks.keep, [10] * 60, chunksize=2)
        assert len(pids) == 60
        assert len(set(pids)) > 2
        stats = pool._core.stats()
        assert stats["items_done"] == 60 and stats["deaths"] == 0 and stats["retries"] == 0


def test_a_worker_that_is_too_large_from_the_start_runs_a_task_before_it_goes():
    """A limit below what the initializer takes is slow, and no storm of starts."""
    with Pool(1, initializer=tasks.keep, initargs=(30,), max_memory_per_child="20MiB") as pool:
        assert len(pool.map(tasks.keep, [1] * 8, chunksize=1)) == 8
        assert pool._core.stats()["failed_starts"] == 0


def test_an_idle_worker_shows_no_memory_before_the_first_reading():
    """Nothing is read while nothing runs."""
    with Pool(1) as pool:
        assert pool._pool[0].memory_bytes is None


@pytest.mark.parametrize("name", ["memory_limit", "max_memory_per_child"])
@pytest.mark.parametrize(
    ("value", "error", "words"),
    [
        ("a lot", ValueError, "must be a number of bytes or a text like"),
        (0, ValueError, "must be at least 1 byte"),
        (-1, ValueError, "must be at least 1 byte"),
        (1.5, TypeError, "must be a number of bytes or a text like"),
        (True, TypeError, "must be a number of bytes or a text like"),
    ],
)
def test_nonsense_sizes_are_refused_by_name(name, value, error, words):
    """At construction, with the argument's name."""
    with pytest.raises(error, match=f"^{name} {words}"):
        Pool(1, **{name: value})


def test_a_soft_limit_above_the_hard_one_is_refused():
    """It would never come to act."""
    with pytest.raises(ValueError, match="max_memory_per_child must be less than memory_limit"):
        Pool(1, memory_limit="1MiB", max_memory_per_child=1 << 20)


def test_the_default_number_of_workers_is_what_the_affinity_allows():
    """Not what the machine has."""
    allowed = os.sched_getaffinity(0)
    assert 1 <= default_processes() <= len(allowed)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        assert default_processes() == 1
        with Pool() as pool:
            assert pool._processes == 1
    finally:
        os.sched_setaffinity(0, allowed)
