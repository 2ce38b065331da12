"""P4 from within one program: terminate, kill and join with their time limits, from every thread, and what waiting threads are told."""

import math
import os
import signal
import threading
import time

import pool_tasks as tasks
import pytest
import signal_tasks

import holdfast
from conftest import eventually
from support.patience import Stopwatch, seconds_left

FOREVER = 300.0  # a grace period that no test can wait for


def deaf():
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def open_busy(tmp_path, **options):
    """A pool with one worker in a task that nothing but SIGKILL ends, and its result."""
    started = str(tmp_path / "started")
    pool = holdfast.Pool(2, deaf, grace=FOREVER, **options)
    result = pool.apply_async(signal_tasks.swallows, (started,))
    tasks.wait_for_file(started)
    return pool, result


def check_time(call, promised, at_least=0.0):
    """The call takes as long as promised (P4), and no less than it must."""
    watch = Stopwatch()
    call()
    assert time.monotonic() - watch.began >= at_least
    watch.check(promised)


def join_all(threads):
    """Each ends; a hang is the outer limit's."""
    for thread in threads:
        thread.join(seconds_left())
    assert not any(thread.is_alive() for thread in threads)


# --- time limits of one call ----------------------------------------------------------------------------------------------


def test_terminate_has_a_grace_period_of_its_own(tmp_path):
    """terminate(grace=...) against the pool's."""
    pool, result = open_busy(tmp_path)
    check_time(lambda: pool.terminate(grace=0.3), 0.3 + 1, at_least=0.3)
    with pytest.raises(holdfast.PoolTerminatedError):
        result.get(5)
    assert pool.join() is True


@pytest.mark.parametrize("stop", [lambda pool: pool.kill(), lambda pool: pool.terminate(0)])
def test_kill_is_at_once(tmp_path, stop):
    """Without a grace period, stopped workers too."""
    pool, _ = open_busy(tmp_path)
    for handle in pool._pool:
        os.kill(handle.pid, signal.SIGSTOP)
    check_time(lambda: stop(pool), 1)
    pool.join()


@pytest.mark.parametrize("stop", [lambda pool: pool.kill(), lambda pool: pool.terminate(grace=0)])
def test_kill_ends_a_terminate_that_still_waits(tmp_path, stop):
    """Called by another thread."""
    pool, _ = open_busy(tmp_path)
    thread = threading.Thread(target=pool.terminate)
    thread.start()
    eventually(lambda: pool._state == "TERMINATE", "not begun")
    assert thread.is_alive()
    check_time(lambda: stop(pool), 1)
    join_all([thread])
    pool.join()


def test_join_with_a_time_limit_says_whether_it_ended(tmp_path):
    """False, and the pool goes on; True once it has ended."""
    go, started = tmp_path / "go", tmp_path / "started"
    with holdfast.Pool(1) as pool:
        result = pool.apply_async(tasks.announce_and_wait, ((str(started), str(go)),))
        tasks.wait_for_file(started)
        pool.close()
        assert pool.join(timeout=0) is False
        check_time(lambda: pool.join(timeout=0.1), 1, at_least=0.1)
        go.touch()
        assert pool.join(timeout=20) is True
        assert result.get(0) == str(go)
        assert pool.join(0) is True


def test_join_with_a_time_limit_waits_no_longer_for_a_callback(tmp_path):
    """A callback of the user's that takes its time."""
    go = threading.Event()
    with holdfast.Pool(1) as pool:
        result = pool.apply_async(tasks.same, (1,), callback=lambda _: go.wait())
        pool.close()
        try:
            assert pool.join(timeout=0.2) is False
        finally:
            go.set()
        assert pool.join(timeout=20) is True
        assert result.get(0) == 1


@pytest.mark.parametrize("value", [-1, math.nan, "soon"])
def test_time_limits_are_checked(pool, value):
    """Before anything happens."""
    with pytest.raises((ValueError, TypeError), match="grace"):
        pool.terminate(grace=value)
    assert pool.map(tasks.same, [1]) == [1]
    pool.close()
    with pytest.raises((ValueError, TypeError), match="timeout"):
        pool.join(timeout=value)


# --- threads that wait ----------------------------------------------------------------------------------------------------

WAITS = {
    "apply": lambda pool, path: pool.apply(signal_tasks.swallows, (path,)),
    "map": lambda pool, path: pool.map(signal_tasks.swallows, [path] * 4, chunksize=1),
    "starmap": lambda pool, path: pool.starmap(signal_tasks.swallows, [(path,)] * 4, chunksize=1),
    "get": lambda pool, path: pool.apply_async(signal_tasks.swallows, (path,)).get(),
    "get_limited": lambda pool, path: pool.apply_async(signal_tasks.swallows, (path,)).get(200),
    "wait_get": lambda pool, path: wait_then_get(pool.apply_async(signal_tasks.swallows, (path,))),
    "next": lambda pool, path: next(pool.imap(signal_tasks.swallows, [path] * 4)),
    "next_limited": lambda pool, path: pool.imap(signal_tasks.swallows, [path] * 4).next(200),
    "next_unordered": lambda pool, path: next(pool.imap_unordered(signal_tasks.swallows, [path] * 4)),
}


def wait_then_get(result):
    result.wait()
    return result.get(0)


@pytest.mark.parametrize("method", WAITS)
@pytest.mark.parametrize("end", ["terminate", "kill"])
def test_threads_that_wait_are_told_before_the_workers_are_gone(tmp_path, method, end):
    """PoolTerminatedError at once, though the workers are deaf and the grace period is long."""
    started = str(tmp_path / "started")
    told = []

    def wait():
        try:
            WAITS[method](pool, started)
        except holdfast.PoolTerminatedError as error:
            told.append(error)

    pool = holdfast.Pool(2, deaf, grace=FOREVER)
    waiter, ender = threading.Thread(target=wait), threading.Thread(target=getattr(pool, end))
    try:
        waiter.start()
        tasks.wait_for_file(started)
        ender.start()
        join_all([waiter])
        assert told
        if end == "terminate":  # it waits for deaf workers, and will for long
            assert ender.is_alive() and any(map(tasks.is_alive, (handle.pid for handle in pool._pool)))
    finally:
        pool.kill()
    join_all([ender])


def test_a_thread_in_join_is_told_by_terminate(tmp_path):
    """close() and join() in one thread, terminate() in another."""
    pool, _ = open_busy(tmp_path)
    pool.close()
    thread = threading.Thread(target=pool.join)
    thread.start()
    pool.terminate(grace=0.1)
    join_all([thread])


def test_many_threads_end_the_pool_at_the_same_time(tmp_path):
    """terminate, kill, close and join in any order."""
    pool, result = open_busy(tmp_path)
    calls = [lambda: pool.terminate(grace=0.2), pool.kill, pool.close, lambda: (pool.close(), pool.join())] * 3
    threads = [threading.Thread(target=call) for call in calls]
    for thread in threads:
        thread.start()
    join_all(threads)
    with pytest.raises(holdfast.PoolTerminatedError):
        result.get(0)
    pool.join()


# --- from odd places ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["terminate", "kill", "close_join"])
def test_the_pool_is_ended_by_its_own_callback(end):
    """In the dispatcher's thread: no deadlock with itself."""
    done = threading.Event()
    pool = holdfast.Pool(2, grace=1)

    def callback(_value):
        if end == "close_join":
            pool.close()
            pool.join()
        else:
            getattr(pool, end)()
        done.set()

    result = pool.apply_async(tasks.same, (1,), callback=callback)
    assert done.wait(seconds_left())
    assert result.get(seconds_left()) == 1
    pool.join()


def test_the_pool_is_ended_by_its_own_input():
    """In a feeder's thread, by the generator that imap reads."""
    pool = holdfast.Pool(2, grace=1)

    def items():
        yield 1
        pool.terminate()
        yield 2

    iterator = pool.imap(tasks.same, items())
    with pytest.raises((holdfast.PoolTerminatedError, StopIteration)):
        for _ in range(3):
            next(iterator)
    pool.join()


def test_the_pool_is_ended_by_a_signal_handler_during_a_wait(tmp_path):
    """In the middle of get(), in the same thread."""
    started = str(tmp_path / "started")
    with holdfast.Pool(2, grace=0.2) as pool:
        old = signal.signal(signal.SIGALRM, lambda *_: pool.terminate())
        try:
            result = pool.apply_async(signal_tasks.asleep, (started,))
            tasks.wait_for_file(started)
            signal.setitimer(signal.ITIMER_REAL, 0.1)
            with pytest.raises(holdfast.PoolTerminatedError):
                result.get(seconds_left())
        finally:
            signal.signal(signal.SIGALRM, old)
        pool.join()


def test_a_terminated_pool_takes_no_work(pool):
    """As the standard one: ValueError; ending it again is nothing."""
    pool.terminate()
    for call in (
        lambda: pool.apply(tasks.same, (1,)),
        lambda: pool.map(tasks.same, [1]),
        lambda: pool.imap(tasks.same, [1]),
    ):
        with pytest.raises(ValueError, match="Pool not running"):
            call()
    pool.close()
    pool.kill()
    pool.terminate()
    pool.join()
