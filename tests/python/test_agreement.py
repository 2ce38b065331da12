"""What must be the same in holdfast's Pool and in the standard one: each test runs with both."""

import multiprocessing
import threading
import time
from multiprocessing.pool import MaybeEncodingError, RemoteTraceback

import pool_tasks as tasks
import pytest

import holdfast


def test_apply_returns_the_result(either_pool):
    """apply passes positional and keyword arguments."""
    assert either_pool.apply(tasks.add, (1, 2), {"scale": 10}) == 30
    assert either_pool.apply(tasks.add, [1]) == 1
    assert either_pool.apply(dict, (), {"a": 1}) == {"a": 1}


@pytest.mark.parametrize("chunksize", [None, 1, 3, 100])
def test_map_keeps_the_order(either_pool, chunksize):
    """Element i of the result belongs to item i, however the items are cut."""
    assert either_pool.map(tasks.square, range(50), chunksize) == [n * n for n in range(50)]
    assert either_pool.map(tasks.square, (n for n in range(50)), chunksize) == [n * n for n in range(50)]
    assert either_pool.map(tasks.square, list(range(50)), chunksize=chunksize) == [n * n for n in range(50)]


@pytest.mark.parametrize("empty", [[], (), {}, iter([])])
def test_map_of_nothing_is_an_empty_list(either_pool, empty):
    """No item, no task, no wait; and no callback, as in the standard pool."""
    called = []
    assert either_pool.map(tasks.square, empty) == []
    result = either_pool.map_async(tasks.square, [], callback=called.append)
    assert result.ready() and result.successful() and result.get() == [] and not called


def test_starmap_unpacks_each_item(either_pool):
    """Items may be any iterables."""
    assert either_pool.starmap(tasks.add, [(1, 2), [3, 4], iter((5,))]) == [3, 7, 5]
    assert either_pool.starmap_async(tasks.add, [(1, 2)]).get(10) == [3]


@pytest.mark.parametrize("method", ["imap", "imap_unordered"])
@pytest.mark.parametrize("chunksize", [1, 7])
def test_imap_gives_every_result_once(either_pool, method, chunksize):
    """Both lazy methods give all results; imap in input order."""
    results = list(getattr(either_pool, method)(tasks.square, iter(range(40)), chunksize))
    assert (results if method == "imap" else sorted(results)) == [n * n for n in range(40)]


def test_imap_goes_on_after_an_item_that_raised(either_pool):
    """The error stands at its item's place."""
    iterator = either_pool.imap(tasks.fail_on_three, range(5))
    assert [next(iterator) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="three"):
        next(iterator)
    assert next(iterator) == 4
    with pytest.raises(StopIteration):
        next(iterator)


@pytest.mark.parametrize("method", ["imap", "imap_unordered"])
def test_an_input_that_raises_is_told_after_its_items(either_pool, method):
    """What a generator raises comes out of the iterator, after the results of what it gave."""

    def numbers():
        yield 1
        yield 2
        raise KeyError("no third")

    iterator = getattr(either_pool, method)(tasks.square, numbers())
    results = []
    with pytest.raises(KeyError, match="no third"):
        for value in iterator:
            results.append(value)
    assert sorted(results) == [1, 4] or method == "imap_unordered"


def test_an_input_that_raises_within_a_chunk_loses_that_chunk(either_pool):
    """What was read of it is not run."""

    def numbers():
        yield from range(7)
        raise KeyError("no eighth")

    iterator = either_pool.imap(tasks.square, numbers(), 3)
    assert [next(iterator) for _ in range(6)] == [0, 1, 4, 9, 16, 25]
    with pytest.raises(KeyError, match="no eighth"):
        next(iterator)
    with pytest.raises(StopIteration):
        next(iterator)


@pytest.mark.parametrize("chunksize", [2**61, 2**61 + 1, 2**63 - 1])
def test_a_chunk_may_be_larger_than_any_input(pool, chunksize):
    """The window is so many chunks: that number is not counted in 64 bits."""
    assert list(pool.imap(tasks.square, [1, 2, 3], chunksize=chunksize)) == [1, 4, 9]


def test_an_input_that_is_no_iterable_is_told_by_the_iterator(either_pool):
    """imap(f, 5) itself does not raise: the iterator does."""
    iterator = either_pool.imap(tasks.square, 5)
    with pytest.raises(TypeError):
        next(iterator)


def test_map_input_that_raises_is_told_by_map(either_pool):
    """map reads its input in the caller."""

    def numbers():
        yield 1
        raise KeyError("no second")

    with pytest.raises(KeyError, match="no second"):
        either_pool.map(tasks.square, numbers())


def test_next_with_timeout_raises_and_the_result_still_comes(either_pool, tmp_path):
    """A time-out loses nothing."""
    started, go = str(tmp_path / "started"), str(tmp_path / "go")
    iterator = either_pool.imap(tasks.announce_and_wait, [(started, go)])
    with pytest.raises(multiprocessing.TimeoutError):
        iterator.next(timeout=0.05)
    tasks.touch(go)
    assert iterator.next(timeout=30) == go


def test_get_with_timeout_raises_and_the_result_still_comes(either_pool, tmp_path):
    """The same for get and wait."""
    started, go = str(tmp_path / "started"), str(tmp_path / "go")
    result = either_pool.apply_async(tasks.announce_and_wait, ((started, go),))
    with pytest.raises(multiprocessing.TimeoutError):
        result.get(timeout=0.05)
    begun = time.monotonic()
    assert result.wait(0.05) is None
    assert time.monotonic() - begun >= 0.04
    assert not result.ready()
    with pytest.raises(ValueError, match="not ready"):
        result.successful()
    tasks.touch(go)
    assert result.get(timeout=30) == go
    assert result.ready() and result.successful() and result.get() == go


def test_a_task_s_exception_comes_back_with_its_remote_traceback(either_pool):
    """Type, message and the worker's traceback as __cause__."""
    result = either_pool.apply_async(tasks.raise_value_error, (5,))
    with pytest.raises(ValueError, match="no 5") as caught:
        result.get()
    assert isinstance(caught.value.__cause__, RemoteTraceback)
    assert "raise_value_error" in str(caught.value.__cause__)
    assert not result.successful()


def test_map_raises_the_error_after_all_items(either_pool):
    """One failed item fails the map."""
    with pytest.raises(ValueError, match="three"):
        either_pool.map(tasks.fail_on_three, range(8), chunksize=1)


def test_callbacks_run_before_the_result_is_ready(either_pool):
    """In a thread of the pool, with the value."""
    seen = []
    box = {}

    def callback(value):
        with lock:  # until the result has its name here
            seen.append((value, threading.current_thread() is threading.main_thread(), box["result"].ready()))

    lock = threading.Lock()
    with lock:
        box["result"] = either_pool.apply_async(tasks.square, (7,), callback=callback)
    box["result"].get(30)
    assert seen == [(49, False, False)]


def test_error_callback_gets_the_exception(either_pool):
    """callback is for values only, error_callback for exceptions only."""
    values, errors = [], []
    either_pool.apply_async(tasks.raise_value_error, (1,), callback=values.append, error_callback=errors.append).wait(
        30
    )
    either_pool.map_async(tasks.fail_on_three, range(5), callback=values.append, error_callback=errors.append).wait(30)
    either_pool.map_async(tasks.square, range(3), callback=values.append, error_callback=errors.append).wait(30)
    assert values == [[0, 1, 4]]
    assert [str(error) for error in errors] == ["no 1", "three"]


def test_a_result_that_cannot_be_pickled_is_an_error(either_pool):
    """MaybeEncodingError, for callbacks too."""
    errors = []
    result = either_pool.apply_async(tasks.make_unpicklable, error_callback=errors.append)
    with pytest.raises(MaybeEncodingError) as caught:
        result.get(30)
    assert "Unpicklable" in caught.value.value and "not me" in caught.value.exc
    assert isinstance(errors[0], MaybeEncodingError)


def test_arguments_that_cannot_be_pickled_fail_their_own_call(either_pool):
    """The call is accepted, its result is pickle's error, and the pool goes on."""
    result = either_pool.apply_async(tasks.same, (tasks.Unpicklable(),))
    with pytest.raises(RuntimeError, match="not me"):
        result.get(30)
    with pytest.raises(RuntimeError, match="inheritance"):
        either_pool.apply(tasks.same, (multiprocessing.Lock(),))
    assert either_pool.apply(tasks.same, (1,)) == 1


def test_an_unpicklable_item_fails_at_its_place(either_pool):
    """The others have their results."""
    iterator = either_pool.imap(tasks.same, [1, tasks.Unpicklable(), 3])
    assert next(iterator) == 1
    with pytest.raises(RuntimeError, match="not me"):
        next(iterator)
    assert next(iterator) == 3


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"processes": 0}, ValueError),
        ({"processes": -1}, ValueError),
        ({"processes": 2, "initializer": 3}, TypeError),
        ({"processes": 2, "maxtasksperchild": 0}, ValueError),
        ({"processes": 2, "maxtasksperchild": -1}, ValueError),
        ({"processes": 2, "maxtasksperchild": "5"}, ValueError),
        ({"processes": 2, "maxtasksperchild": 1.5}, ValueError),
    ],
)
def test_bad_arguments_raise_the_standard_errors(pool_class, arguments, error):
    """Before anything is started."""
    with pytest.raises(error):
        pool_class(**arguments)


@pytest.mark.parametrize("method", ["imap", "imap_unordered"])
@pytest.mark.parametrize("chunksize", [0, -1])
def test_bad_chunksize_of_lazy_methods(either_pool, method, chunksize):
    """With the standard pool's message."""
    with pytest.raises(ValueError, match=f"Chunksize must be 1\\+, not {chunksize}"):
        getattr(either_pool, method)(tasks.square, range(3), chunksize)


def test_join_before_close_is_refused(pool_class):
    """ValueError with the standard text; after close it returns."""
    pool = pool_class(1)
    try:
        with pytest.raises(ValueError, match="Pool is still running"):
            pool.join()
    finally:
        pool.close()
        pool.join()


@pytest.mark.parametrize("end", ["close", "terminate"])
def test_no_work_is_taken_after_the_end(pool_class, end):
    """Every submitting method says so, and so does `with`."""
    pool = pool_class(1)
    getattr(pool, end)()
    pool.join()
    for call in (
        lambda: pool.apply(tasks.same, (1,)),
        lambda: pool.apply_async(tasks.same, (1,)),
        lambda: pool.map(tasks.same, [1]),
        lambda: pool.map_async(tasks.same, [1]),
        lambda: pool.starmap(tasks.same, [(1,)]),
        lambda: pool.imap(tasks.same, [1]),
        lambda: pool.imap_unordered(tasks.same, [1]),
        pool.__enter__,
    ):
        with pytest.raises(ValueError, match="Pool not running"):
            call()


def test_close_and_join_run_what_was_submitted(pool_class):
    """Results stay readable after the end."""
    pool = pool_class(2)
    result = pool.map_async(tasks.square, range(200), chunksize=3)
    lazy = pool.imap_unordered(tasks.square, range(300))
    pool.close()
    pool.join()
    assert result.get(0) == [n * n for n in range(200)]
    assert sorted(lazy) == [n * n for n in range(300)]


def test_callbacks_have_run_when_join_returns(pool_class):
    """join waits for them, too."""
    seen = []
    pool = pool_class(2)
    for number in range(50):
        pool.apply_async(tasks.same, (number,), callback=seen.append)
    pool.close()
    pool.join()
    assert sorted(seen) == list(range(50))


def test_initializer_runs_in_each_worker(pool_class):
    """With its arguments, before the first task."""
    with pool_class(2, tasks.set_global, (17,)) as pool:
        assert set(pool.map(tasks.get_global, range(20))) == {17}


def test_maxtasksperchild_renews_workers(pool_class):
    """Chunks are counted, as in the standard pool: 20 chunks with 5 per worker need at least 4 workers."""
    with pool_class(2, maxtasksperchild=5) as pool:
        assert len(set(pool.map(tasks.pid, range(40), chunksize=2))) >= 4


def test_workers_look_like_the_standard_pool_s(pool_class):
    """Names, daemon flag and parent, as tasks see them."""
    with pool_class(2) as pool:
        name, daemon, parent = pool.apply(tasks.worker_view)
        assert name.startswith("ForkPoolWorker-") and daemon is True
        assert parent == tasks.pid()


def test_pools_cannot_be_pickled(either_pool):
    """NotImplementedError with the standard words."""
    with pytest.raises(NotImplementedError, match="cannot be passed between processes or pickled"):
        either_pool.__reduce__()


def test_worker_handles_read_like_processes(pool_class):
    """pid, exitcode, is_alive, name; dead after the end."""
    with pool_class(2) as pool:
        handles = list(pool._pool)
        assert len(handles) == 2 and all(handle.is_alive() for handle in handles)
        assert all(handle.pid and handle.exitcode is None and handle.daemon for handle in handles)
        assert len({handle.name for handle in handles}) == 2
        assert {handle.pid for handle in handles} <= {child.pid for child in multiprocessing.active_children()}
    for handle in handles:
        handle.join(10)
        assert not handle.is_alive() and handle.exitcode is not None


def test_an_unclosed_pool_warns(pool_class):
    """ResourceWarning with the pool's repr."""
    pool = pool_class(1)
    with pytest.warns(ResourceWarning, match=r"unclosed running multiprocessing pool <.*Pool state=RUN pool_size=1>"):
        pool.__del__()
    pool.terminate()
    pool.join()


def test_state_words(pool_class):
    """_state reads RUN, CLOSE, TERMINATE."""
    pool = pool_class(1)
    assert pool._state == "RUN"
    pool.close()
    assert pool._state == "CLOSE"
    pool.join()
    pool.terminate()
    assert pool._state == "TERMINATE"


def test_both_are_the_standard_class():
    """dask and others ask isinstance."""
    with holdfast.Pool(1) as pool:
        assert isinstance(pool, multiprocessing.pool.Pool)
        assert isinstance(pool.apply_async(tasks.same, (1,)), multiprocessing.pool.AsyncResult)
        assert isinstance(pool.map_async(tasks.same, [1]), multiprocessing.pool.MapResult)
        assert isinstance(pool.imap(tasks.same, [1]), multiprocessing.pool.IMapIterator)
        assert isinstance(pool.imap_unordered(tasks.same, [1]), multiprocessing.pool.IMapUnorderedIterator)
