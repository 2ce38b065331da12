"""Handlers in workers that raise, exit or ignore (seed 000): P7, each exception stays with the task it hit; P4, terminate ends all the same."""

import os
import signal
import warnings

import pool_tasks as tasks
import pytest
import signal_tasks

import holdfast
from conftest import eventually
from faults.programs import sleeps
from support.patience import Stopwatch

TERM, ALARM = signal.SIGTERM, signal.SIGALRM


def open_pool(processes, kind, *numbers, **options):
    return holdfast.Pool(processes, signal_tasks.handle, (kind, *numbers), **options)


# --- where it belongs -----------------------------------------------------------------------------------------------------


def test_an_exception_out_of_a_handler_is_the_outcome_of_the_task_it_hit():
    """The worker and its other tasks go on."""
    with open_pool(1, "raises") as pool:
        worker = pool.apply(signal_tasks.pid)
        results = pool.map_async(signal_tasks.signal_self, [TERM], chunksize=1)
        after = pool.apply_async(signal_tasks.pid)
        with pytest.raises(signal_tasks.Raised) as caught:
            results.get(20)
        assert caught.value.args == (TERM,) and "in raise_it" in str(caught.value.__cause__)
        assert after.get(20) == worker


def test_an_exception_out_of_a_handler_from_outside(tmp_path):
    """SIGTERM by somebody else, the task asleep."""
    started = str(tmp_path / "started")
    with open_pool(1, "raises") as pool:
        result = pool.apply_async(signal_tasks.asleep, (started,))
        tasks.wait_for_file(started)
        os.kill(pool._pool[0].pid, TERM)
        with pytest.raises(signal_tasks.Raised):
            result.get(20)


def test_an_exception_out_of_a_handler_in_an_idle_worker_is_a_warning():
    """It belongs to no task; the worker stays."""
    with open_pool(1, "raises") as pool:
        worker = pool.apply(signal_tasks.pid)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            os.kill(worker, TERM)
            eventually(lambda: caught, "no warning")
        assert "between two tasks" in str(caught[0].message) and "Raised" in str(caught[0].message)
        assert pool.apply(signal_tasks.pid) == worker


def test_a_handler_that_exits_ends_the_worker_and_is_the_outcome_of_its_task():
    """SystemExit keeps its meaning."""
    with open_pool(1, "exits") as pool:
        worker = pool.apply(signal_tasks.pid)
        with pytest.raises(holdfast.WorkerDiedError) as caught:
            pool.apply(signal_tasks.signal_self, (TERM,))
        assert caught.value.exitcode == 21 and caught.value.pid == worker
        assert pool.apply(signal_tasks.pid) != worker


def test_a_handler_that_exits_in_an_idle_worker_costs_nothing():
    """A new worker; no task hears of it."""
    with open_pool(1, "exits") as pool:
        worker = pool.apply(signal_tasks.pid)
        os.kill(worker, TERM)
        eventually(lambda: [handle.pid for handle in pool._pool] not in ([], [worker], [None]), "no replacement")
        assert pool.apply(signal_tasks.pid) != worker
        assert not pool.deaths()


def test_an_interrupt_of_an_idle_worker_is_nothing():
    """A Ctrl-C for a task that has just ended."""
    with holdfast.Pool(1) as pool:
        worker = pool.apply(signal_tasks.pid)
        # Between its last look for signals and its sleep the next task would get it.
        eventually(lambda: sleeps(worker), "the worker does not sleep")
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            os.kill(worker, signal.SIGINT)
            assert pool.map(signal_tasks.same, range(100)) == list(range(100))
        assert pool.apply(signal_tasks.pid) == worker and not caught


@pytest.mark.parametrize("kind", ["raises", "raises_base"])
def test_a_signal_while_an_argument_is_unpickled(kind):
    """Unpickling is not disturbed; the exception is the task's."""
    with open_pool(1, kind) as pool:
        with pytest.raises((signal_tasks.Raised, GeneratorExit)):
            pool.apply(signal_tasks.same, (signal_tasks.SignalsWhileUnpickled(TERM),))
        assert pool.apply(signal_tasks.same, (3,)) == 3


def test_a_signal_while_a_result_is_pickled():
    """Pickling is not disturbed: the result arrives whole, and the exception, which hit no task's code, is a warning."""
    with open_pool(1, "raises") as pool:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            assert pool.apply(signal_tasks.make_signals_while_pickled, (TERM,)) == "pickled under signal 15"
            eventually(lambda: caught, "no warning")
        assert "Raised" in str(caught[0].message)
        assert pool.map(signal_tasks.same, range(10)) == list(range(10))


# --- the storm ------------------------------------------------------------------------------------------------------------


def settle_all(pool, function, items):
    """The outcome of each item: its value, or the handler's exception."""
    outcomes = []
    iterator = pool.imap(function, items, chunksize=50)
    while True:
        try:
            outcomes.append(next(iterator))
        except StopIteration:
            return outcomes
        except (signal_tasks.Raised, GeneratorExit) as error:
            outcomes.append(error)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:in worker:RuntimeWarning")
@pytest.mark.parametrize("kind", ["raises", "raises_base", "ignores"])
@pytest.mark.parametrize("plain", [True, False])
def test_nothing_is_lost_and_nothing_runs_twice_under_a_storm_of_alarms(kind, plain):
    """10,000 tasks, a handler every millisecond: idle, in unpickling, in the task, in pickling."""
    count = 10_000
    page = signal_tasks.make_page(count)
    with holdfast.Pool(2, signal_tasks.storm, (page, kind, 0.001), context="fork") as pool:
        function = signal_tasks.mark_plain if plain else signal_tasks.mark
        items = range(count) if plain else map(signal_tasks.Slow, range(count))
        outcomes = settle_all(pool, function, items)
    assert len(outcomes) == count
    raised = [index for index, outcome in enumerate(outcomes) if isinstance(outcome, BaseException)]
    for index, outcome in enumerate(outcomes):
        runs = page[index]
        if isinstance(outcome, BaseException):
            assert runs <= 1, f"item {index} ran {runs} times"
        else:
            assert (outcome if plain else outcome.value) == index
            assert runs == 1, f"item {index} ran {runs} times"
    if kind == "ignores":
        assert not raised
    else:
        assert len(raised) < count / 2
        assert plain or raised, "the storm hit nothing: the test shows nothing"
    page.close()


# --- the end --------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("kind", signal_tasks.HANDLERS)
@pytest.mark.parametrize("state", ["asleep", "busy", "swallows", "in_c_with_the_gil", "asleep_in_c", None])
def test_terminate_ends_whatever_the_handler_does(tmp_path, kind, state):
    """Within the grace period, and the waiting call is told."""
    started = tmp_path / "started"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what a handler raises in an idle worker
        with open_pool(2, kind, grace=0.3) as pool:
            result = None
            if state is None:
                pool.map(signal_tasks.same, range(10))
            else:
                result = pool.apply_async(getattr(signal_tasks, state), (str(started),))
                tasks.wait_for_file(started)
            pids = [handle.pid for handle in pool._pool]
            watch = Stopwatch()
            pool.terminate()
            watch.check(0.3 + 1)
            assert not any(map(tasks.is_alive, pids))
            if result is not None:
                with pytest.raises(holdfast.PoolTerminatedError):
                    result.get(5)
            pool.join()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:in worker:RuntimeWarning")
@pytest.mark.parametrize("kind", ["raises", "exits", "raises_base"])
def test_terminate_under_a_storm(kind):
    """The handler of the storm runs in whatever the end runs."""
    page = signal_tasks.make_page(1)
    with holdfast.Pool(
        2, signal_tasks.storm, (page, kind, 0.001), context="fork", grace=1.0, max_restarts=1000
    ) as pool:
        pool.map_async(signal_tasks.same_in_the_storm, range(10_000), chunksize=1)
        eventually(lambda: pool.stats()["items_settled"] > 100, "no work was done")
        watch = Stopwatch()
        pool.terminate()
        watch.check(1 + 1)
    page.close()


# --- recycle_after_async_exception ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", signal_tasks.INSTALLED)
@pytest.mark.parametrize("task", ["limited", "limited_in_python"])
def test_a_worker_that_a_handler_s_exception_went_through_is_replaced(kind, task):
    """The outcome is told, and the next task meets a fresh process; nobody calls it a death."""
    with holdfast.Pool(1, recycle_after_async_exception=True) as pool:
        worker = pool.apply(signal_tasks.pid)
        with pytest.raises(signal_tasks.Raised):
            pool.apply(getattr(signal_tasks, task), (kind,))
        assert pool.apply(signal_tasks.pid) != worker
        assert not pool.deaths()


@pytest.mark.parametrize("task, error", [("converted", LookupError), ("interrupted", KeyboardInterrupt)])
def test_so_is_one_with_another_exception_in_its_place(task, error):
    """Also after a KeyboardInterrupt, for the interpreter's own handler has no frame to be known by."""
    with holdfast.Pool(1, recycle_after_async_exception=True) as pool:
        worker = pool.apply(signal_tasks.pid)
        with pytest.raises(error):
            pool.apply(getattr(signal_tasks, task))
        assert pool.apply(signal_tasks.pid) != worker


@pytest.mark.parametrize("task", ["handled", "fails_by_itself"])
def test_other_tasks_keep_their_worker(task):
    """A task that deals with it, and one that fails by itself."""
    with holdfast.Pool(1, recycle_after_async_exception=True) as pool:
        worker = pool.apply(signal_tasks.pid)
        try:
            assert pool.apply(getattr(signal_tasks, task)) == "handled"
        except signal_tasks.Raised:
            pass
        assert pool.apply(signal_tasks.pid) == worker


def test_by_default_the_worker_stays():
    """As in the standard pool."""
    with holdfast.Pool(1) as pool:
        worker = pool.apply(signal_tasks.pid)
        with pytest.raises(signal_tasks.Raised):
            pool.apply(signal_tasks.limited, ("function",))
        assert pool.apply(signal_tasks.pid) == worker


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:in worker:RuntimeWarning")
def test_nothing_is_lost_while_workers_are_replaced():
    """Chunks of fifty, a raise every 20 ms, a new worker after each: every item has its one outcome, and ran at most once."""
    count = 400
    page = signal_tasks.make_page(count)
    options = {"recycle_after_async_exception": True, "context": "fork"}
    with holdfast.Pool(2, signal_tasks.storm, (page, "raises", 0.02), **options) as pool:
        outcomes = settle_all(pool, signal_tasks.slow_mark, range(count))
        assert pool.stats()["workers_started"] > 10
    assert len(outcomes) == count
    for index, outcome in enumerate(outcomes):
        assert page[index] <= 1 if isinstance(outcome, signal_tasks.Raised) else (outcome == index and page[index] == 1)
    page.close()
