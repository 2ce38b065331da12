"""The exceptions: bases, attributes, messages, pickling; and odd exceptions out of tasks."""

import asyncio
import concurrent.futures
import concurrent.futures.process
import multiprocessing
import multiprocessing.pool
import pickle

import pool_tasks as tasks
import pytest

import holdfast
from holdfast import ExitReport, Task

REPORT = ExitReport(cause="killed_by_unknown", pid=123, signal=9, runtime_s=1.5, attempts=2, job=1, item=3)


def test_the_tree():
    """Errors that users of the standard classes catch are of the standard types, too."""
    broken = concurrent.futures.process.BrokenProcessPool
    assert issubclass(holdfast.WorkerDiedError, (holdfast.HoldfastError, broken)) and issubclass(
        holdfast.WorkerDiedError, broken
    )
    assert issubclass(holdfast.OutOfMemoryError, holdfast.WorkerDiedError) and issubclass(
        holdfast.OutOfMemoryError, MemoryError
    )
    assert issubclass(holdfast.TaskTimeoutError, holdfast.WorkerDiedError) and issubclass(
        holdfast.TaskTimeoutError, TimeoutError
    )
    assert not issubclass(holdfast.TaskTimeoutError, multiprocessing.TimeoutError)
    assert issubclass(holdfast.SoftTimeoutError, TimeoutError)
    assert issubclass(holdfast.PoolBrokenError, broken)
    assert issubclass(holdfast.ResultDecodeError, multiprocessing.pool.MaybeEncodingError)
    assert holdfast.CancelledError is concurrent.futures.CancelledError
    for name in ("PoolAbortedError", "PoolTerminatedError", "PoolBrokenError", "ResultDecodeError", "SoftTimeoutError"):
        assert issubclass(getattr(holdfast, name), holdfast.HoldfastError)


@pytest.mark.parametrize("cls", [holdfast.WorkerDiedError, holdfast.OutOfMemoryError, holdfast.TaskTimeoutError])
@pytest.mark.parametrize("protocol", [2, 5])
def test_deaths_can_be_pickled(cls, protocol):
    """With all their attributes."""
    error = cls("what happened")
    error.report, error.task, error.attempts, error.partial = REPORT, Task("f", 3), 2, {0: 1}
    back = pickle.loads(pickle.dumps(error, protocol))
    assert type(back) is cls and str(back) == "what happened"
    assert (back.report, back.task, back.attempts, back.partial) == (REPORT, ("f", 3), 2, {0: 1})
    assert (back.cause, back.pid, back.exitcode, back.signal) == ("killed_by_unknown", 123, -9, 9)


@pytest.mark.parametrize(
    "error",
    [
        holdfast.PoolAbortedError("a"),
        holdfast.PoolTerminatedError("b"),
        holdfast.PoolBrokenError("c"),
        holdfast.SoftTimeoutError("d"),
        holdfast.ResultDecodeError("ValueError()", "the result of f"),
    ],
)
def test_the_others_can_be_pickled(error):
    """And copies of copies say the same."""
    back = pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(error))))
    assert type(back) is type(error) and str(back) == str(error) and back.args == error.args


def test_a_death_is_worded_when_it_is_asked_for():
    """The text says all that the attributes say, wherever people look for it; a copy says the same."""
    error = holdfast.WorkerDiedError()
    error.report, error.task, error.attempts = REPORT, Task("f", 3), 2
    text = str(error)
    for part in ("worker 123", "SIGKILL", "1.50 s", "f, item 3", "attempt 2", 'on_death="retry"'):
        assert part in text
    assert error.args == (text,) and repr(error) == f"WorkerDiedError({text!r})"
    back = pickle.loads(pickle.dumps(error))
    assert (str(back), back.args) == (text, (text,))
    error.args = ("other", 1)
    assert error.args == ("other", 1) and "on_timeout" in str(holdfast.TaskTimeoutError())


def test_a_report_describes_itself():
    """In words, without guessing."""
    assert REPORT.exitcode == -9 and REPORT.signal_name == "SIGKILL"
    assert REPORT.describe() == "was killed by SIGKILL, which the pool did not send"
    assert "exit code 3" in ExitReport(cause="exit_code", pid=1, exit_code=3).describe()
    assert (
        "SIGSEGV (core dumped): at 0x0"
        in ExitReport(cause="signal", pid=1, signal=11, core_dumped=True, detail="at 0x0").describe()
    )


@pytest.mark.parametrize(
    "error",
    [
        KeyboardInterrupt("k"),
        GeneratorExit("g"),
        asyncio.CancelledError("c"),
        StopIteration("s"),
        concurrent.futures.CancelledError("f"),
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("method", ["apply", "map", "get"])
def test_any_exception_of_a_task_is_its_outcome(pool, error, method):
    """P7: it comes out of get() with its type, and the pool goes on."""
    call = {
        "apply": lambda: pool.apply(tasks.raise_this, (error,)),
        "map": lambda: pool.map(tasks.raise_this, [error]),
        "get": lambda: pool.apply_async(tasks.raise_this, (error,)).get(30),
    }[method]
    with pytest.raises(type(error)) as caught:
        call()
    assert caught.value.args == error.args and "raise_this" in str(caught.value.__cause__)
    assert pool.apply(tasks.same, (1,)) == 1


@pytest.mark.parametrize("method", ["imap", "imap_unordered"])
def test_stop_iteration_of_a_task_does_not_end_the_loop(pool, method):
    """It would look like the end of the results."""
    iterator = getattr(pool, method)(tasks.raise_this, [StopIteration(5), StopIteration(6)])
    for _ in range(2):
        with pytest.raises(RuntimeError, match="StopIteration") as caught:
            next(iterator)
        assert isinstance(caught.value.__cause__, StopIteration)
    with pytest.raises(StopIteration):
        next(iterator)


def test_an_exception_that_cannot_be_rebuilt_is_told_in_full(pool):
    """A MaybeEncodingError of ours with type, text and remote traceback."""
    with pytest.raises(multiprocessing.pool.MaybeEncodingError) as caught:
        pool.apply(tasks.raise_two_arguments)
    error = caught.value
    assert isinstance(error, holdfast.ResultDecodeError) and "TwoArguments" in error.type_name
    assert "1-2" in str(error) and "raise_two_arguments" in error.remote_traceback
    assert "raise_two_arguments" in str(error.__cause__)
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_an_exception_that_cannot_be_pickled_is_told(pool):
    """MaybeEncodingError as in the standard pool, naming it."""
    with pytest.raises(multiprocessing.pool.MaybeEncodingError, match=r"odd|UnpicklableError"):
        pool.apply(tasks.raise_unpicklable)


def test_partial_of_a_map_with_a_result_that_cannot_be_pickled(pool):
    """On the remote traceback, as for any error of a task."""
    with pytest.raises(multiprocessing.pool.MaybeEncodingError) as caught:
        pool.map(tasks.unpicklable_on_three, range(5))
    assert caught.value.__cause__.partial == {0: 0, 1: 1, 2: 2, 4: 4}


@pytest.mark.parametrize(
    "error", [ValueError("v"), SystemExit(3), KeyboardInterrupt("k")], ids=lambda error: type(error).__name__
)
def test_a_result_that_explodes_here_is_wrapped(pool, error):
    """P8: neither exits nor interrupts this process; the cause is kept, the other results of the map too."""
    with pytest.raises(holdfast.ResultDecodeError) as caught:
        pool.apply(tasks.make_grenade, (error,))
    assert type(caught.value.__cause__) in (type(error), holdfast.ResultDecodeError)
    assert type(error).__name__ in str(caught.value)
    results = []
    iterator = pool.imap(tasks.make_grenade, [error])
    with pytest.raises(holdfast.ResultDecodeError):
        results.append(next(iterator))
    assert pool.apply(tasks.same, (1,)) == 1


def test_an_argument_that_explodes_in_the_worker_is_its_task_s_error(pool):
    """At its own place in a map."""
    with pytest.raises(ValueError, match="boom"):
        pool.apply(tasks.same, (tasks.Grenade(ValueError("boom")),))
    iterator = pool.imap(tasks.same, [1, tasks.Grenade(ValueError("boom")), 3])
    assert next(iterator) == 1
    with pytest.raises(ValueError, match="boom"):
        next(iterator)
    assert next(iterator) == 3


def test_raising_the_same_error_twice(pool):
    """get() may be called again."""
    result = pool.apply_async(tasks.raise_value_error, (1,))
    for _ in range(2):
        with pytest.raises(ValueError, match="no 1"):
            result.get(30)


def test_messages_say_what_happened_the_evidence_and_what_to_do(pool):
    """Every part of style.md's rule."""
    with pytest.raises(holdfast.WorkerDiedError) as caught:
        pool.apply(tasks.die_by, ("sys.exit",))
    text = str(caught.value)
    assert f"worker {caught.value.pid} ended itself with exit code 15" in text
    assert "pool_tasks.die_by" in text and "no other task is affected" in text and 'on_death="retry"' in text
