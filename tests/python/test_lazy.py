"""imap and imap_unordered: laziness, backpressure, and inputs that behave oddly."""

import gc
import itertools
import multiprocessing
import os
import signal
import threading
import time
import weakref
from pathlib import Path

import pool_tasks as tasks
import pytest

import holdfast
from conftest import eventually

METHODS = ["imap", "imap_unordered"]


class Counter:
    """An endless input that counts what was taken."""

    def __init__(self, limit=None):
        self.taken = 0
        self.limit = limit

    def __iter__(self):
        return self

    def __next__(self):
        if self.taken == self.limit:
            raise StopIteration
        self.taken += 1
        return self.taken


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("chunksize", "window", "limit"), [(1, None, 8), (5, None, 40), (1, 3, 3), (4, 2, 8)])
def test_input_is_taken_within_the_window(pool, method, chunksize, window, limit):
    """P9: an endless input is read only as far as results are consumed; a default window may grow while everybody waits for it."""
    source = Counter()
    keywords = {} if window is None else {"window": window}
    iterator = getattr(pool, method)(tasks.same, source, chunksize, **keywords)
    eventually(lambda: source.taken == limit, lambda: f"{source.taken} taken")
    time.sleep(0.05)  # it must not go on: there is no event for what does not happen
    assert source.taken == limit
    widest = limit if window else 32 * limit
    for consumed in range(1, 60):
        next(iterator)
        assert source.taken <= widest + consumed
    pool.terminate()


@pytest.mark.parametrize("method", METHODS)
def test_the_window_of_large_results_does_not_grow(pool, method):
    """Short tasks whose results are large: what is held stays within the default window."""
    source = Counter()
    iterator = getattr(pool, method)(tasks.mebibytes, source)
    next(iterator)  # before it the pool cannot know how large they are
    for consumed in range(2, 60):
        assert len(next(iterator)) == 1 << 20
        assert source.taken <= 8 + consumed
    pool.terminate()


@pytest.mark.parametrize("method", METHODS)
def test_close_lifts_the_window(pool, method):
    """The input is read to its end and results are kept, as in the standard pool."""
    source = Counter(500)
    iterator = getattr(pool, method)(tasks.same, source)
    pool.close()
    pool.join()
    assert source.taken == 500
    assert sorted(iterator) == list(range(1, 501))


@pytest.mark.parametrize("method", METHODS)
def test_a_dropped_iterator_still_runs_everything(pool, method, tmp_path):
    """imap(...) for its side effects only, then close and join: nothing is left out."""
    getattr(pool, method)(tasks.touch, [str(tmp_path / str(n)) for n in range(50)])
    pool.close()
    pool.join()
    assert len(list(tmp_path.iterdir())) == 50


@pytest.mark.parametrize("method", METHODS)
def test_a_generator_may_wait_for_earlier_results(pool, method):
    """Item n is made from result n - 1: an input read ahead of hand-over would deadlock."""
    results = []
    arrived = threading.Condition()

    def numbers():
        yield 2
        for count in range(1, 6):
            with arrived:
                assert arrived.wait_for(lambda count=count: len(results) >= count, 20)
                value = results[-1]
            yield value

    for value in getattr(pool, method)(tasks.square, numbers()):
        with arrived:
            results.append(value)
            arrived.notify()
    assert results == [4, 16, 256, 65536, 65536**2, 65536**4]


def test_two_generators_that_wait_for_each_other(pool):
    """One feeder per job: the second job's input waits for the first job's results."""
    first = pool.imap(tasks.square, iter([1, 2, 3]))
    second = pool.imap(tasks.same, first)
    third = pool.imap(tasks.square, second)
    assert list(third) == [1, 16, 81]


def test_results_come_while_the_input_is_still_open(pool):
    """The first result does not wait for the second item."""
    gate = threading.Event()

    def numbers():
        yield 5
        assert gate.wait(20)
        yield 6

    iterator = pool.imap(tasks.square, numbers())
    assert iterator.next(timeout=20) == 25
    with pytest.raises(multiprocessing.TimeoutError):
        iterator.next(timeout=0.05)
    gate.set()
    assert iterator.next(timeout=20) == 36


def test_unordered_gives_the_quick_one_first(pool, tmp_path):
    """A slow first item does not hold up the others."""
    go = str(tmp_path / "go")
    iterator = pool.imap_unordered(tasks.wait_for_file, [go, str(tmp_path)])
    assert next(iterator) == str(tmp_path)
    tasks.touch(go)
    assert next(iterator) == go


def test_threads_share_an_iterator(pool):
    """Each result goes to exactly one reader."""
    iterator = pool.imap(tasks.same, range(400))
    seen = [[], [], []]

    def read(into):
        into.extend(iterator)

    threads = [threading.Thread(target=read, args=(into,)) for into in seen]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(itertools.chain(*seen)) == list(range(400))
    assert all(into == sorted(into) for into in seen)


@pytest.mark.parametrize("method", METHODS)
def test_a_signal_handler_may_read_what_it_interrupts(pool, method):
    """It runs inside the waiting next(): the handler must not wait for that one's end."""
    iterator = getattr(pool, method)(tasks.sleep, [0.4, 0.4])
    handled = []
    old = signal.signal(signal.SIGALRM, lambda *_: handled.append(iterator.next(20)))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        assert iterator.next(30) == 0.4
    finally:
        signal.signal(signal.SIGALRM, old)
    assert handled == [0.4]
    assert list(iterator) == []


@pytest.mark.parametrize("method", METHODS)
def test_threads_that_pause_between_reads_lose_nothing(pool, method):
    """One that waits for the other's read finds what that one has taken along for later."""
    iterator = getattr(pool, method)(tasks.same, range(3000), 10)
    found = [[], []]

    def read(into):
        for value in iterator:
            into.append(value)
            if value % 7 == 0:
                time.sleep(0)  # lets the GIL go: the other one becomes the reader with a batch half given

    threads = [threading.Thread(target=read, args=(into,)) for into in found]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    assert sorted(found[0] + found[1]) == list(range(3000))


@pytest.mark.parametrize("method", METHODS)
def test_terminate_wakes_the_reader(pool, method, tmp_path):
    """It gets PoolTerminatedError and not a silent end of the results."""
    go = str(tmp_path / "never")
    iterator = getattr(pool, method)(tasks.wait_for_file, itertools.repeat(go))
    outcome = []

    def read():
        try:
            outcome.append(list(iterator))
        except BaseException as error:
            outcome.append(error)

    thread = threading.Thread(target=read)
    thread.start()
    pool.terminate()
    thread.join(20)
    assert not thread.is_alive() and isinstance(outcome[0], holdfast.PoolTerminatedError)


def test_an_input_that_raises_base_exceptions(pool):
    """SystemExit out of a generator reaches the consumer and ends no thread in silence."""

    def numbers():
        yield 1
        raise SystemExit("enough")

    iterator = pool.imap(tasks.same, numbers())
    assert next(iterator) == 1
    with pytest.raises(SystemExit, match="enough"):
        next(iterator)
    with pytest.raises(StopIteration):
        next(iterator)


def test_the_generator_is_released_at_its_end(pool):
    """Neither iterator nor feeder keep it."""

    class Source:
        def __iter__(self):
            return iter([1, 2])

    source = Source()
    gone = weakref.ref(source)
    iterator = pool.imap(tasks.same, source)
    assert list(iterator) == [1, 2]
    del source
    eventually(lambda: (gc.collect(), gone())[1] is None, "the input is still referenced")


def test_memory_stays_flat_while_results_are_read_slowly(pool):
    """A long input through imap_unordered: what has been read is freed."""

    def rss():
        with Path("/proc/self/statm").open() as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    iterator = pool.imap_unordered(tasks.same, (b"x" * 1000 for _ in range(60_000)), chunksize=50)
    for _ in range(5_000):
        next(iterator)
    before = rss()
    for _ in range(55_000):
        next(iterator)
    assert rss() - before < 8 << 20
