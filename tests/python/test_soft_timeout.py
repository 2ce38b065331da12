"""soft_timeout: SoftTimeoutError is raised inside the task that is over its limit, once, and nowhere else."""

import signal
import warnings

import pytest
import soft_tasks as tasks

import holdfast
from holdfast import SoftTimeoutError, TaskTimeoutError

METHODS = ["fork", "forkserver", "spawn"]
LONG = 30  # no task that is interrupted runs so long
ENOUGH = 1  # for what has to be done within it, such as to get into one's `try`: a busy machine must not make it late


# --- in the task ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "task",
    [tasks.asleep, tasks.busy, tasks.at_a_lock, tasks.in_a_program, tasks.in_an_event_loop, tasks.with_threads],
)
def test_it_ends_a_task(task):
    """Whatever it does; the traceback shows where; the worker stays."""
    with holdfast.Pool(1) as pool:
        worker = pool.apply(tasks.pid)
        with pytest.raises(SoftTimeoutError, match=r"soft_timeout of 0\.1 s") as caught:
            pool.apply(task, (LONG,), soft_timeout=0.1)
        assert isinstance(caught.value, TimeoutError)
        assert f"in {task.__name__}" in str(caught.value.__cause__)
        assert pool.apply(tasks.pid) == worker and not pool.deaths()


@pytest.mark.parametrize("method", METHODS)
def test_each_start_method_has_it(method):
    """Pool-wide, and the workers go on."""
    with holdfast.Pool(1, context=method, soft_timeout=ENOUGH) as pool:
        pool.apply(tasks.asleep, (0,), soft_timeout=None)  # the first item of a function imports its module
        results = [pool.apply_async(tasks.asleep, (seconds,)) for seconds in (0, LONG, 0)]
        assert results[0].get() == 0
        with pytest.raises(SoftTimeoutError):
            results[1].get()
        assert results[2].get() == 0 and not pool.deaths()


def test_a_task_may_catch_it_and_return_a_value(pool):
    """That is its result then."""
    text = pool.apply(tasks.catches, (LONG,), soft_timeout=ENOUGH)
    assert text == "cleaned up: the task still ran when its soft_timeout of 1 s was over"


def test_finally_clauses_run(pool, tmp_path):
    """This is what it is for."""
    with pytest.raises(SoftTimeoutError):
        pool.apply(tasks.cleans_up, (tmp_path / "mark",), soft_timeout=ENOUGH)
    assert (tmp_path / "mark").read_text() == "clean"


def test_it_comes_once(pool):
    """A task that goes on is not interrupted again."""
    assert pool.apply(tasks.counts, (0.3,), soft_timeout=ENOUGH) == 1


def test_in_a_chunk_each_item_has_its_own_limit():
    """Only the slow ones are hit, and those behind them run."""
    with holdfast.Pool(1) as pool:
        items = [0, LONG, 0, 0.3, LONG, 0.3, 0.3, 0.3, 0]
        done = pool.map(tasks.asleep, items, 9, soft_timeout=ENOUGH, on_error="skip", skip_value="late")
        assert done == [0, "late", 0, 0.3, "late", 0.3, 0.3, 0.3, 0]


CALLS = {
    "apply": lambda pool, seconds, **k: pool.apply(tasks.either, (seconds,), **k),
    "apply_async": lambda pool, seconds, **k: pool.apply_async(tasks.either, (), {"left": seconds}, **k).get(),
    "map": lambda pool, seconds, **k: pool.map(tasks.either, [seconds], **k)[0],
    "map_async": lambda pool, seconds, **k: pool.map_async(tasks.either, [seconds], **k).get()[0],
    "starmap": lambda pool, seconds, **k: pool.starmap(tasks.either, [(0, seconds)], **k)[0],
    "starmap_async": lambda pool, seconds, **k: pool.starmap_async(tasks.either, [(0, seconds)], **k).get()[0],
    "imap": lambda pool, seconds, **k: next(pool.imap(tasks.either, [seconds], **k)),
    "imap_unordered": lambda pool, seconds, **k: next(pool.imap_unordered(tasks.either, [seconds], **k)),
}


@pytest.mark.parametrize("call", CALLS)
def test_each_method_takes_it(pool, call):
    """Per call; the next call has no limit."""
    with pytest.raises(SoftTimeoutError):
        CALLS[call](pool, LONG, soft_timeout=0.1)
    assert CALLS[call](pool, 0.3) == 0.3


@pytest.mark.parametrize("call", CALLS)
def test_each_method_has_the_pools(call):
    """Pool-wide; None per call takes it off."""
    with holdfast.Pool(1, soft_timeout=0.1) as pool:
        with pytest.raises(SoftTimeoutError):
            CALLS[call](pool, LONG)
        assert CALLS[call](pool, 0.3, soft_timeout=None) == 0.3


def test_it_is_an_error_of_the_task_for_the_policies(pool, tmp_path):
    """on_error decides, and a second run has a whole limit of its own."""
    once = str(tmp_path / "once")
    assert pool.apply(tasks.slow_at_first, (once,), soft_timeout=ENOUGH, on_error="retry") == "second run"
    with pytest.raises(SoftTimeoutError):
        pool.apply(
            tasks.asleep, (LONG,), soft_timeout=0.1, on_error="retry", on_timeout="skip", retry=holdfast.Retry(1)
        )


# --- the hard limit behind it -----------------------------------------------------------------------------------------------


def test_a_task_that_does_not_heed_it_meets_the_hard_limit(pool):
    """It swallows the error and goes on."""
    with pytest.raises(TaskTimeoutError):
        pool.apply(tasks.counts, (1000,), soft_timeout=ENOUGH, task_timeout=ENOUGH + 0.5)


def test_c_code_that_holds_the_gil_meets_the_hard_limit(pool):
    """Python runs no handler there."""
    with pytest.raises(TaskTimeoutError):
        pool.apply(tasks.hold_the_gil, (10**11,), soft_timeout=0.1, task_timeout=0.4)


def test_c_code_that_comes_back_is_interrupted_then(pool):
    """At the first bytecode after it."""
    with pytest.raises(SoftTimeoutError):
        pool.apply(tasks.hold_the_gil, (2 * 10**8,), soft_timeout=0.1)


def test_a_stopped_worker_meets_the_hard_limit(pool):
    """SIGSTOP: no handler runs."""
    with pytest.raises(TaskTimeoutError):
        pool.apply(tasks.stops_itself, soft_timeout=0.1, task_timeout=0.4)


# --- never anywhere else ----------------------------------------------------------------------------------------------------


def test_a_result_is_pickled_in_peace():
    """The task has returned: its limit is over, and it has its value. The signal comes after it, and is no exception between two tasks either."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with holdfast.Pool(1) as pool:
            assert pool.apply(tasks.slow_to_pickle, (2 * ENOUGH,), soft_timeout=ENOUGH) == "a value"
            assert pool.apply(tasks.asleep, (0,)) == 0
            pool.close()
            pool.join()
    assert not [str(warning.message) for warning in caught]


def test_a_limit_that_is_over_before_the_task_begins_is_told_in_the_task(pool):
    """The clock starts with the item, whose arguments are unpickled then."""
    with pytest.raises(SoftTimeoutError) as caught:
        pool.apply(tasks.is_there, (tasks.SlowToUnpickle(1),), soft_timeout=0.1)
    assert "in is_there" in str(caught.value.__cause__)


def test_the_signal_alone_does_nothing():
    """Whoever sends it: it is not said in shared memory that this item is over its limit."""
    with holdfast.Pool(1) as pool:
        assert pool.apply(tasks.raise_them) == 0  # nothing is installed before it is needed
        assert pool.apply(tasks.raise_them, soft_timeout=LONG) == 1
        with pytest.raises(SoftTimeoutError):
            pool.apply(tasks.asleep, (LONG,), soft_timeout=0.1)
        assert pool.apply(tasks.raise_them, soft_timeout=LONG) == 1
        assert pool.apply(tasks.raise_them) == 1
        assert not pool.deaths()


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_a_storm_of_items_that_run_about_as_long_as_their_limit(method):
    """Each has its value or SoftTimeoutError: nothing else, nothing lost, nothing twice."""
    count = 2000 if method == "fork" else 600
    page = tasks.make_page(count)
    # A page is not pickled: spawn and forkserver have one per worker, where an item is still marked once, by one of them.
    with (
        holdfast.Pool(6, tasks.share_page, (page,))
        if method == "fork"
        else holdfast.Pool(6, tasks.share_page, (bytearray(count),), context=method)
    ) as pool:
        results = pool.imap(tasks.about_as_long_as_its_limit, range(count), 8, soft_timeout=0.02)
        outcomes = []
        for _ in range(count):
            try:
                outcomes.append(next(results).number)
            except SoftTimeoutError:
                outcomes.append("interrupted")
        with pytest.raises(StopIteration):
            next(results)
        assert not pool.deaths()
    # One that catches it may be hit in the lines around its `try`.
    assert not [
        (n, what) for n, what in enumerate(outcomes) if what not in (n, "interrupted") and (what != -n or n % 3 != 2)
    ]
    ended = outcomes.count("interrupted")
    caught = sum(1 for outcome in outcomes if outcome != "interrupted" and outcome < 0)
    assert ended and caught and ended + caught < count, (ended, caught)
    if method == "fork":
        # On a busy machine a limit can be over before the first line of the task.
        assert not [n for n in range(count) if page[n] != 1 and (page[n] or outcomes[n] != "interrupted")]


# --- other users of signals -------------------------------------------------------------------------------------------------


def test_a_program_that_takes_the_signal_over_keeps_it():
    """The pool takes another one for the next item."""
    with holdfast.Pool(1, soft_timeout=LONG) as pool:
        pool.apply(tasks.take_them_over)
        with pytest.raises(SoftTimeoutError):
            pool.apply(tasks.asleep, (LONG,), soft_timeout=0.2)
        assert pool.apply(tasks.heard) == ([], 1)


def test_a_program_that_resets_all_handlers_is_not_killed():
    """The signal is sent to nobody who does not catch it; the item is then left to the hard limit."""
    with holdfast.Pool(1) as pool:
        worker = pool.apply(tasks.pid)
        assert pool.apply(tasks.reset_them_all, (ENOUGH + 0.5,), soft_timeout=ENOUGH) == ENOUGH + 0.5
        with pytest.raises(SoftTimeoutError):
            pool.apply(tasks.asleep, (LONG,), soft_timeout=0.1)
        assert pool.apply(tasks.pid) == worker


def test_the_programs_own_alarm_goes_on(pool):
    """An alarm every millisecond, and one SoftTimeoutError."""
    assert pool.apply(tasks.alarm_and_limit, soft_timeout=ENOUGH) is True


def test_programs_that_a_task_starts_see_nothing_of_it():
    """Signals blocked, ignored, caught: as without a limit."""
    with holdfast.Pool(1) as pool:
        before = pool.apply(tasks.masks_of_a_program)
        assert pool.apply(tasks.masks_of_a_program, soft_timeout=LONG) == before


def test_a_caller_that_blocks_all_signals():
    """Workers have its mask, but for the one signal."""
    old = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        with holdfast.Pool(1) as pool, pytest.raises(SoftTimeoutError):
            pool.apply(tasks.asleep, (LONG,), soft_timeout=0.1)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, old)


def test_recycle_after_async_exception_counts_it():
    """It hits any instruction, as an alarm does. A task that catches it has dealt with it."""
    with holdfast.Pool(1, recycle_after_async_exception=True) as pool:
        worker = pool.apply(tasks.pid)
        assert "cleaned up" in pool.apply(tasks.catches, (LONG,), soft_timeout=ENOUGH)
        assert pool.apply(tasks.pid) == worker
        with pytest.raises(LookupError):
            pool.apply(tasks.converts, soft_timeout=ENOUGH)
        second = pool.apply(tasks.pid)
        with pytest.raises(SoftTimeoutError):
            pool.apply(tasks.asleep, (LONG,), soft_timeout=0.1)
        assert worker != second != pool.apply(tasks.pid) and not pool.deaths()


# --- arguments --------------------------------------------------------------------------------------------------------------

BAD = [
    ({"soft_timeout": 0}, ValueError, "soft_timeout must be above 0"),
    ({"soft_timeout": -1}, ValueError, "soft_timeout must be above 0"),
    ({"soft_timeout": float("nan")}, ValueError, "soft_timeout must be above 0"),
    ({"soft_timeout": float("inf")}, ValueError, "soft_timeout must be above 0"),
    ({"soft_timeout": True}, TypeError, "soft_timeout must be a number, not bool"),
    ({"soft_timeout": "1"}, TypeError, "soft_timeout must be a number, not str"),
    ({"soft_timeout": 2, "task_timeout": 2.0}, ValueError, "soft_timeout must be less than task_timeout"),
    ({"soft_timeout": 3, "task_timeout": 2}, ValueError, r"not 3 with a task_timeout of 2\b"),
]


@pytest.mark.parametrize(("keywords", "error", "words"), BAD)
def test_bad_values_are_named(pool, keywords, error, words):
    """For the pool and per call."""
    with pytest.raises(error, match=words):
        holdfast.Pool(1, **keywords)
    with pytest.raises(error, match=words):
        pool.map(tasks.asleep, [0], **keywords)
    with pytest.raises(error, match=words):
        pool.imap(tasks.asleep, [0], **keywords)


def test_a_calls_limit_is_compared_with_the_pools():
    """What is not given per call is the pool's."""
    with holdfast.Pool(1, soft_timeout=5) as pool:
        with pytest.raises(
            ValueError, match="soft_timeout must be less than task_timeout, not 5 with a task_timeout of 3"
        ):
            pool.apply(tasks.asleep, (0,), task_timeout=3)
        assert pool.apply(tasks.asleep, (0,), task_timeout=3, soft_timeout=None) == 0
