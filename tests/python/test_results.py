"""Results, callbacks, handles: lifetimes, threads, warnings, nesting."""

import contextlib
import gc
import multiprocessing
import threading
import warnings
import weakref
from pathlib import Path

import pool_tasks as tasks
import pytest

import holdfast
from conftest import eventually


class Payload:
    """Something a weak reference can point to."""


def test_a_raising_callback_becomes_a_warning(pool):
    """The result still becomes ready, and later callbacks still run."""

    def explode(_value):
        raise SystemExit("from a callback")

    seen = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert pool.apply_async(tasks.same, (1,), callback=explode).get(30) == 1
        assert pool.apply_async(tasks.same, (2,), callback=seen.append).get(30) == 2
    assert seen == [2]
    assert [warning.category for warning in caught] == [RuntimeWarning]
    assert "SystemExit: from a callback" in str(caught[0].message)


def test_a_callback_may_use_the_pool(pool):
    """Submit, even terminate, from the dispatcher's thread."""
    box = []

    def callback(value):
        box.append(pool.apply_async(tasks.square, (value,)))

    pool.apply_async(tasks.same, (3,), callback=callback).get(30)
    assert box[0].get(30) == 9
    done = threading.Event()

    def end(_value):
        pool.terminate()
        pool.join()
        done.set()

    pool.apply_async(tasks.same, (3,), callback=end)
    assert done.wait(20)


def test_callbacks_of_killed_tasks(pool):
    """error_callback gets the WorkerDiedError."""
    errors = []
    pool.apply_async(tasks.die_by, ("SIGKILL",), error_callback=errors.append).wait(30)
    pool.map_async(tasks.kill_on_three, range(5), error_callback=errors.append).wait(30)
    assert [type(error) for error in errors] == [holdfast.WorkerDiedError] * 2
    assert errors[1].partial == {0: 0, 1: 1, 2: 4, 4: 16}


def test_a_result_with_a_callback_may_be_dropped(pool):
    """The callback runs all the same."""
    called = threading.Event()
    pool.apply_async(tasks.same, (1,), callback=lambda _value: called.set())
    gc.collect()
    assert called.wait(20)


def test_dropped_results_free_what_they_held(pool):
    """Function, callback and value go with the result."""

    class Callback:
        def __call__(self, value):
            self.value = value

    callback = Callback()
    gone = weakref.ref(callback)
    pool.apply_async(tasks.same, (1,), callback=callback).get(30)
    del callback
    eventually(lambda: (gc.collect(), gone())[1] is None, "the callback is still referenced")


def test_a_dropped_pool_is_collected_and_its_workers_end():
    """No close, no terminate: a ResourceWarning, and nothing stays."""
    pool = holdfast.Pool(2)
    pids = [handle.pid for handle in pool._pool]
    gone = weakref.ref(pool)
    with pytest.warns(ResourceWarning, match="unclosed running multiprocessing pool"):
        del pool
        gc.collect()
    assert gone() is None
    eventually(lambda: not any(_alive(pid) for pid in pids), "workers left")


def _alive(pid):
    try:
        with Path(f"/proc/{pid}/stat").open() as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_result_keeps_its_pool_alive():
    """Pool(1).apply_async(...).get() must not lose its pool in the middle."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        assert holdfast.Pool(1).apply_async(tasks.sleep, (0.1,)).get(30) == 0.1
        gc.collect()


def test_results_stay_readable_after_terminate():
    """What was there stays; what was not is PoolTerminatedError, at once."""
    with holdfast.Pool(1) as pool:
        done = pool.apply_async(tasks.same, (1,))
        done.wait(30)
        waiting = pool.apply_async(tasks.sleep, (60,))
        queued = pool.map_async(tasks.same, range(5))
    assert done.get(0) == 1
    for result in (waiting, queued):
        with pytest.raises(holdfast.PoolTerminatedError):
            result.get(0)


def test_terminate_wakes_threads_that_wait(pool):
    """P4: none is left behind."""
    result = pool.apply_async(tasks.sleep, (60,))
    outcomes = []

    def wait():
        try:
            result.get()
        except holdfast.HoldfastError as error:
            outcomes.append(type(error))

    threads = [threading.Thread(target=wait) for _ in range(3)]
    for thread in threads:
        thread.start()
    pool.terminate()
    for thread in threads:
        thread.join(20)
    assert outcomes == [holdfast.PoolTerminatedError] * 3


def test_many_threads_use_one_pool(pool):
    """Each gets its own answers."""
    failures = []

    def work(base):
        try:
            for step in range(20):
                assert pool.map(tasks.square, range(base, base + 10)) == [n * n for n in range(base, base + 10)]
                assert pool.apply(tasks.add, (base, step)) == base + step
                assert list(pool.imap(tasks.same, range(5))) == list(range(5))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(100 * n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(50)
    assert not failures and not any(thread.is_alive() for thread in threads)


def test_threads_read_one_result(pool):
    """It is unpickled once: all see the same object."""
    result = pool.apply_async(list, ((1, 2),))
    seen = []
    threads = [threading.Thread(target=lambda: seen.append(result.get(30))) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(seen) == 5 and all(value is seen[0] for value in seen)


@pytest.mark.parametrize("class_name", ["Pool", "SafePool"])
def test_pools_may_be_nested(pool, class_name):
    """A task may have a pool of its own, in a daemonic worker."""
    assert pool.map(tasks.nested_map_of, [(class_name, [1, 2]), (class_name, [3])]) == [[1, 4], [9]]


def test_a_function_s_later_change_is_seen(pool):
    """Closures go by value, at each call."""
    box = [1]

    def read(_item):
        return box[0]

    assert pool.map(read, [0]) == [1]
    box[0] = 2
    assert pool.map(read, [0]) == [2]


def test_lambdas_and_local_classes(pool):
    """Through cloudpickle, both ways."""

    class Local:
        def __init__(self, value):
            self.value = value

    assert pool.map(lambda number: number + 1, range(3)) == [1, 2, 3]
    assert pool.apply(lambda: Local(5)).value == 5
    assert type(pool.apply(tasks.same, (Local(1),))) is Local


def test_results_of_importable_functions_must_be_picklable(either_pool):
    """As in the standard pool: cloudpickle takes results only of tasks that came through it."""
    with pytest.raises(multiprocessing.pool.MaybeEncodingError):
        either_pool.apply(tasks.make_lambda)


def test_bound_methods_and_builtins(pool):
    """As with the standard pool; a bound method goes with the state it has at the call."""
    items = [1]
    assert pool.apply(items.count, (1,)) == 1
    items.append(1)
    assert pool.apply(items.count, (1,)) == 2
    assert pool.map(str.upper, ["a"]) == ["A"] and pool.map(len, ["ab"]) == [2] and pool.map(int, ["5"]) == [5]


@pytest.mark.parametrize("size", [0, 1, 32 * 1024 - 1, 32 * 1024, 32 * 1024 + 1, 1 << 20, 64 << 20])
def test_payloads_of_any_size(pool, size):
    """There and back."""
    data = bytes(size)
    assert pool.apply(tasks.same, (data,)) == data


def test_large_items_in_a_map(pool):
    """More than the rings hold, out-of-band buffers among them."""
    numpy = pytest.importorskip("numpy")
    items = [numpy.full(100_000, n) for n in range(20)]
    for n, back in enumerate(pool.map(tasks.same, items, chunksize=3)):
        assert (back == n).all() and back.flags.writeable


def test_results_are_made_by_pools_only():
    """A bare AsyncResult would point nowhere."""
    for cls in (holdfast.AsyncResult, holdfast.MapResult, holdfast.IMapIterator, holdfast.IMapUnorderedIterator):
        with pytest.raises(TypeError, match="made by a Pool"):
            cls()


def test_every_name_of_a_result_can_be_read(pool_class, tmp_path):
    """Managers do that with each result that they give out, also before it is there."""
    with pool_class(1) as pool:
        go = tmp_path / "go"
        pending = pool.apply_async(tasks.wait_for_file, (str(go),))
        results = [pending, pool.map_async(tasks.square, [1, 2])]
        for result in results:
            assert not result.ready()
            assert {name for name in dir(result) if not hasattr(result, name)} == set()
        go.touch()
        for result in results:
            result.wait(30)
            assert {"_success", "_value"} <= set(dir(result))
            assert {name for name in dir(result) if not hasattr(result, name)} == set()


@pytest.mark.parametrize("timeout", ["soon", object(), [1]])
def test_bad_timeouts(pool, timeout):
    """TypeError, and nothing is lost."""
    result = pool.apply_async(tasks.same, (1,))
    with pytest.raises(TypeError):
        result.get(timeout)
    with pytest.raises(TypeError):
        result.wait(timeout)
    with pytest.raises(TypeError):
        pool.imap(tasks.same, []).next(timeout)
    assert result.get(-1 if result.ready() else 30) == 1


@pytest.mark.parametrize("method", ["get", "wait"])
def test_get_and_wait_take_one_timeout(pool, method):
    """By place or by name, as the standard result's; the error for anything else says what it was."""
    result = pool.apply_async(tasks.same, (1,))
    wait = getattr(result, method)
    expected = {"get": 1, "wait": None}[method]
    assert [wait(), wait(None), wait(30), wait(timeout=30)] == [expected] * 4
    for arguments, named in [((1, 2), {}), ((1,), {"timeout": 2}), ((1,), {"patience": 2})]:
        with pytest.raises(TypeError, match=rf"{method}\(\) takes at most 1 argument \(2 given\)"):
            wait(*arguments, **named)
    with pytest.raises(TypeError, match="patience"):
        wait(patience=1)
    with pytest.raises(TypeError, match="timeout must be a number of seconds or None, not str"):
        wait("30")
    with pytest.raises(ValueError, match="timeout must be a number of seconds or None, not nan"):
        wait(float("nan"))


def test_handles_tell_how_a_worker_ended(pool):
    """exitcode and report of the dead; active_children lists the replacement."""
    victim = pool._pool[0]
    # It must have run something: one that is killed before its initializer is done is a failed start.
    eventually(lambda: victim.pid in set(pool.map(tasks.pid, range(8), 1)), "the worker never ran a task")
    victim.kill()
    victim.join(20)
    eventually(lambda: not victim.is_alive(), "still alive")
    assert victim.exitcode == -9 and victim.report.cause == "killed_by_unknown"
    eventually(lambda: len([h for h in pool._pool if h.is_alive()]) == 2, "no replacement")
    alive = {handle.pid for handle in pool._pool}
    assert alive <= {child.pid for child in multiprocessing.active_children()} and victim.pid not in alive


def test_sentinels_of_handles(pool):
    """multiprocessing.connection.wait knows them."""
    victim = pool._pool[0]
    sentinel = victim.sentinel
    victim.terminate()
    assert multiprocessing.connection.wait([sentinel], 20) == [sentinel]
    with contextlib.suppress(ValueError):
        victim.terminate()


def test_stats_count(pool):
    """Submitted, settled, done, raised, died."""
    pool.map(tasks.same, range(10))
    pool.map(tasks.fail_on_three, range(5), on_error="skip")
    stats = pool.stats()
    assert stats["items_submitted"] == stats["items_settled"] == 15
    assert stats["items_raised"] == 1 and stats["workers_started"] == 2
