"""What happens when a worker dies under a task, a task raises, or its time runs out."""

import itertools
import os
import signal
import time

import pool_tasks as tasks
import pytest

import holdfast
from holdfast import PoolAbortedError, Retry, TaskTimeoutError, WorkerDiedError

OTHERS = [0, 1, 4, 16, 25, 36, 49, 64, 81]


@pytest.mark.parametrize("chunksize", [1, 2, 10])
def test_map_raises_the_death_and_keeps_all_other_results(pool, chunksize):
    """P2: a death costs the one item that was running, not its chunk."""
    with pytest.raises(WorkerDiedError) as caught:
        pool.map(tasks.kill_on_three, range(10), chunksize)
    error = caught.value
    assert error.cause == "killed_by_unknown" and error.signal == signal.SIGKILL and error.exitcode == -9
    assert error.task == ("pool_tasks.kill_on_three", 3) and error.attempts == 1
    assert error.pid == error.report.pid and error.pid not in {handle.pid for handle in pool._pool}
    assert error.partial == {n: n * n for n in range(10) if n != 3}
    assert str(error.pid) in str(error) and "SIGKILL" in str(error) and "kill_on_three, item 3" in str(error)
    assert pool.map(tasks.square, range(10)) == [n * n for n in range(10)]


@pytest.mark.parametrize(
    ("how", "cause", "exitcode"),
    [
        ("sys.exit", "exit_code", 15),
        ("os._exit", "exit_code", 7),
        ("abort", "signal", -signal.SIGABRT),
        ("SIGSEGV", "signal", -signal.SIGSEGV),
        ("SIGTERM", "killed_by_unknown", -signal.SIGTERM),
        ("SIGKILL", "killed_by_unknown", -signal.SIGKILL),
    ],
)
def test_each_way_to_die_is_told_apart(pool, how, cause, exitcode):
    """The cause is what the evidence supports, in apply too."""
    with pytest.raises(WorkerDiedError) as caught:
        pool.apply(tasks.die_by, (how,))
    assert (caught.value.cause, caught.value.exitcode) == (cause, exitcode)
    assert caught.value.task == ("pool_tasks.die_by", None)
    assert [report.cause for report in pool.deaths()] == [cause]


def test_skip_puts_the_value_in_place(pool):
    """Per call; the pool's default stays."""
    assert pool.map(tasks.kill_on_three, range(5), on_death="skip") == [0, 1, 4, None, 16]
    assert pool.map(tasks.kill_on_three, range(5), on_death="skip", skip_value=-1) == [0, 1, 4, -1, 16]
    assert list(pool.imap(tasks.kill_on_three, range(5), on_death="skip")) == [0, 1, 4, None, 16]
    assert pool.apply(tasks.die_by, ("os._exit",), on_death="skip", skip_value="gone") == "gone"
    assert pool.get_killed_tasks()[0] == (tasks.kill_on_three, (3,))
    assert len(pool.get_killed_tasks()) == 4
    with pytest.raises(WorkerDiedError):
        pool.map(tasks.kill_on_three, range(5))


def test_imap_tells_a_death_at_its_place_and_goes_on(pool):
    """The iterator survives."""
    iterator = pool.imap(tasks.kill_on_three, range(6))
    assert [next(iterator) for _ in range(3)] == [0, 1, 4]
    with pytest.raises(WorkerDiedError) as caught:
        next(iterator)
    assert caught.value.task.item == 3
    assert list(iterator) == [16, 25]


def test_retry_runs_a_killed_task_again(tmp_path):
    """Until it is done; attempts are counted from its runs, and a retried death is still listed."""
    with holdfast.Pool(2, on_death="retry") as pool:
        assert pool.map(tasks.die_until, [(str(tmp_path / "a"), 2), (str(tmp_path / "b"), 0)]) == [3, 1]
        assert len(pool.deaths()) == 2 and pool.stats()["retries"] == 2


@pytest.mark.parametrize("then", ["raise", "skip", "abort"])
def test_retry_has_an_end(tmp_path, then):
    """P12: 1 + max_retries runs, then what `then` says."""
    runs = tmp_path / "runs"
    with holdfast.Pool(2, on_death="retry", retry=Retry(max_retries=2, then=then)) as pool:
        result = pool.apply_async(tasks.die_until, ((str(runs), 99),))
        if then == "skip":
            assert result.get(30) is None
        else:
            with pytest.raises(WorkerDiedError if then == "raise" else PoolAbortedError) as caught:
                result.get(30)
            death = caught.value if then == "raise" else caught.value.__cause__
            assert isinstance(death, WorkerDiedError) and death.attempts == 3
        assert runs.stat().st_size == 3


def test_retry_waits_between_runs(tmp_path):
    """backoff is the first wait, backoff_factor stretches the next."""
    path = str(tmp_path / "runs")
    with holdfast.Pool(1, on_error="retry", retry=Retry(backoff=0.1, backoff_factor=2, jitter=0)) as pool:
        begun = time.monotonic()
        assert pool.apply(tasks.raise_until, ((path, 2),)) == 3
        assert time.monotonic() - begun >= 0.3


@pytest.mark.parametrize(
    "how, cause", [("os._exit", "exit_code"), ("abort", "signal"), ("SIGKILL", "killed_by_unknown")]
)
def test_retry_on_causes(how, cause):
    """Only what is named is run again; the rest is as `then` says at once."""
    every = {"exit_code", "signal", "killed_by_unknown"}
    with holdfast.Pool(1, on_death="retry") as pool:
        for on, attempts in ((cause, 2), (tuple(every), 2), (tuple(every - {cause}), 1), ("raised", 1)):
            with pytest.raises(WorkerDiedError) as caught:
                pool.apply(tasks.die_by, (how,), retry=Retry(max_retries=1, on=on))
            assert (caught.value.cause, caught.value.attempts) == (cause, attempts)
        assert pool.apply(tasks.die_by, (how,), retry=Retry(on="time_limit", then="skip"), skip_value=7) == 7


def test_retry_on_exceptions_or_time_limits(tmp_path):
    """The word for an exception is "raised", for a task over its time "time_limit"."""
    with holdfast.Pool(1, on_error="retry", on_timeout="retry") as pool:
        assert pool.apply(tasks.raise_until, ((str(tmp_path / "a"), 1),), retry=Retry(on="raised")) == 2
        with pytest.raises(OSError, match="run 1"):
            pool.apply(tasks.raise_until, ((str(tmp_path / "b"), 1),), retry=Retry(on="time_limit"))
        for on, attempts in (("time_limit", 2), ("raised", 1)):
            with pytest.raises(TaskTimeoutError) as caught:
                pool.apply(time.sleep, (60,), task_timeout=0.1, retry=Retry(max_retries=1, on=on))
            assert caught.value.attempts == attempts


def test_retry_deadline(tmp_path):
    """A retry that would begin after it is not made."""
    with holdfast.Pool(1, on_error="retry") as pool:
        with pytest.raises(OSError, match="run 1"):
            pool.apply(tasks.raise_until, ((str(tmp_path / "a"), 9),), retry=Retry(9, backoff=20, deadline=10))
        with pytest.raises(OSError, match="run 10"):
            pool.apply(tasks.raise_until, ((str(tmp_path / "b"), 99),), retry=Retry(9, deadline=600))


def test_on_error_skip_and_retry(pool, tmp_path):
    """The same policies for tasks that raise."""
    assert pool.map(tasks.fail_on_three, range(5), on_error="skip", skip_value="x") == [0, 1, 2, "x", 4]
    assert pool.apply(tasks.raise_until, ((str(tmp_path / "a"), 1),), on_error="retry") == 2
    with pytest.raises(OSError, match="run 2"):
        pool.apply(tasks.raise_until, ((str(tmp_path / "b"), 9),), on_error="retry", retry=Retry(max_retries=1))


def test_on_error_raise_leaves_partial_on_the_cause(pool):
    """A task's own exception is raised as it is; what is done is on its remote traceback and on the result."""
    result = pool.map_async(tasks.fail_on_three, range(5), chunksize=1)
    with pytest.raises(ValueError, match="three") as caught:
        result.get(30)
    assert caught.value.__cause__.partial == {0: 0, 1: 1, 2: 2, 4: 4} == result.partial


def test_abort_stops_the_pool(tmp_path):
    """The failed call and everything pending get PoolAbortedError with the death as evidence."""
    go = str(tmp_path / "never")
    with holdfast.Pool(2, on_death="abort") as pool:
        waiting = pool.apply_async(tasks.wait_for_file, (go,))
        result = pool.map_async(tasks.kill_on_three, range(100), chunksize=1)
        with pytest.raises(PoolAbortedError) as caught:
            result.get(30)
        assert isinstance(caught.value.__cause__, WorkerDiedError) and caught.value.partial is not None
        assert [report.signal for report in caught.value.deaths] == [signal.SIGKILL]
        with pytest.raises(PoolAbortedError):
            waiting.get(30)
        with pytest.raises(PoolAbortedError):
            pool.map(tasks.same, [1])


@pytest.mark.parametrize("method", ["imap", "imap_unordered"])
def test_every_next_after_an_abort_names_it(method):
    """Whether the item had been read from the input or not; then the iterator is over."""
    with holdfast.Pool(2, on_death="abort") as pool:
        iterator = getattr(pool, method)(tasks.kill_on_three, itertools.cycle(range(4)))
        errors = []
        with pytest.raises(StopIteration):
            while True:
                try:
                    iterator.next(30)
                except holdfast.HoldfastError as error:
                    errors.append(error)
        assert len(errors) >= 2 and {type(error) for error in errors} == {PoolAbortedError}
        assert all(error.deaths for error in errors)


def test_max_deaths_aborts():
    """Deaths in all, over all calls."""
    with holdfast.Pool(2, max_deaths=2, on_death="skip") as pool:
        assert pool.apply(tasks.die_by, ("os._exit",)) is None
        with pytest.raises(PoolAbortedError) as caught:
            for _ in range(5):
                pool.map(tasks.kill_on_three, range(8))
        assert len(caught.value.deaths) >= 2


def test_task_timeout_kills_and_tells(pool):
    """Per item, from its start; TaskTimeoutError is a TimeoutError but not multiprocessing's."""
    with pytest.raises(TaskTimeoutError) as caught:  # a second: a busy machine must not make the short ones late
        pool.map(tasks.sleep, [0, 1000, 0], chunksize=1, task_timeout=1)
    assert caught.value.cause == "time_limit" and caught.value.partial == {0: 0, 2: 0}
    assert isinstance(caught.value, TimeoutError)
    assert pool.apply(tasks.sleep, (30,), task_timeout=0.1, on_timeout="skip", skip_value="late") == "late"


def test_a_task_that_overwrites_its_progress_has_the_same_limit(pool):
    """P8: the parent knows from the chunk word what runs, and since when it saw it."""
    with pytest.raises(TaskTimeoutError):
        pool.apply(tasks.sleep_in_disguise, (30,), task_timeout=0.2)
    assert pool.apply(tasks.square, (3,)) == 9


def test_a_task_may_take_longer_than_the_timeout_of_another_call(pool, tmp_path):
    """The limit belongs to its call."""
    started, go = str(tmp_path / "started"), str(tmp_path / "go")
    slow = pool.apply_async(tasks.announce_and_wait, ((started, go),))
    tasks.wait_for_file(started)
    with pytest.raises(TaskTimeoutError):
        pool.apply(tasks.sleep, (1000,), task_timeout=0.1)
    tasks.touch(go)
    assert slow.get() == go


def test_a_killed_idle_worker_costs_nothing(pool):
    """Its place is filled; no task is touched."""
    victims = list(pool._pool)
    for handle in victims:
        os.kill(handle.pid, signal.SIGKILL)
    assert pool.map(tasks.square, range(20), chunksize=1) == [n * n for n in range(20)]
    for handle in victims:  # one of them may still be dying: the other's successor can do all of the map
        handle.join(30)
    assert not {handle.pid for handle in victims} & {handle.pid for handle in pool._pool}


def test_one_in_ten_tasks_kills_its_worker(pool):
    """Each of 200 tasks has its own outcome."""
    results = [pool.apply_async(tasks.die_by, ("SIGKILL", 3 if n % 10 == 0 else n + 1000)) for n in range(200)]
    outcomes = []
    for result in results:
        try:
            outcomes.append(result.get(60))
        except WorkerDiedError:
            outcomes.append("died")
    assert outcomes == ["died" if n % 10 == 0 else n + 1000 for n in range(200)]


def test_workers_that_cannot_start_break_the_pool():
    """PoolBrokenError with the initializer's error, for waiting and for new calls; no endless storm of starts."""
    with holdfast.Pool(2, tasks.fail_to_start, max_restarts=3) as pool:
        try:
            result = pool.apply_async(tasks.same, (1,))
        except holdfast.PoolBrokenError:
            pass
        else:
            with pytest.raises(holdfast.PoolBrokenError, match="no such database"):
                result.get(30)
        with pytest.raises(holdfast.PoolBrokenError, match="no such database"):
            pool.map(tasks.same, [1])
        assert pool.stats()["failed_starts"] <= 3 + 2


@pytest.mark.parametrize(
    ("keywords", "error", "words"),
    [
        (
            {"on_death": "explode"},
            ValueError,
            "on_death must be one of 'raise', 'skip', 'retry', 'abort', not 'explode'",
        ),
        ({"on_error": None}, ValueError, "on_error"),
        ({"on_timeout": 3}, ValueError, "on_timeout"),
        ({"retry": 3}, TypeError, "retry must be a holdfast.Retry"),
        ({"task_timeout": 0}, ValueError, "task_timeout must be above 0"),
        ({"task_timeout": float("nan")}, ValueError, "task_timeout"),
        ({"task_timeout": "1"}, TypeError, "task_timeout must be a number"),
        ({"window": 0}, ValueError, "window"),
        ({"grace": -1}, ValueError, "grace"),
        ({"max_restarts": -1}, ValueError, "max_restarts"),
        ({"max_deaths": 0}, ValueError, "max_deaths"),
        ({"max_deaths": True}, TypeError, "max_deaths"),
        ({"daemon": 1}, TypeError, "daemon"),
        ({"no_such": 1}, TypeError, "no_such"),
    ],
)
def test_bad_keywords_are_named(keywords, error, words):
    """Nothing is started, and the message says which argument."""
    with pytest.raises(error, match=words):
        holdfast.Pool(1, **keywords)


@pytest.mark.parametrize(
    ("keywords", "words"),
    [
        ({"max_retries": -1}, "max_retries"),
        ({"max_retries": 1.5}, "max_retries"),
        ({"backoff": -1}, "backoff"),
        ({"backoff_factor": 0.5}, "backoff_factor"),
        ({"jitter": 2}, "jitter"),
        ({"then": "retry"}, "then"),
        ({"on": "no_such"}, r"Retry\(on=\.\.\.\) must be one of 'exit_code'"),
        ({"on": ("signal", 3)}, r"Retry\(on=\.\.\.\) must hold words, not 3"),
        ({"on": 3}, r"Retry\(on=\.\.\.\) must be a word"),
        ({"on": ()}, r"Retry\(on=\.\.\.\) names nothing"),
        ({"deadline": 0}, r"Retry\(deadline=\.\.\.\)"),
        ({"deadline": "1"}, r"Retry\(deadline=\.\.\.\)"),
    ],
)
def test_bad_retry_fields_are_named(keywords, words):
    """Retry checks itself."""
    with pytest.raises((ValueError, TypeError), match=words):
        Retry(**keywords)


def test_unknown_keywords_of_a_call_are_named(pool):
    """A typing error must not be swallowed."""
    with pytest.raises(TypeError, match="on_deth"):
        pool.map(tasks.same, [1], on_deth="skip")
