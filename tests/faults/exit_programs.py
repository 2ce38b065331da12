"""Programs of test_interpreter_exit.py: ways to leave a program with a pool in it."""

from __future__ import annotations

import atexit
import gc
import multiprocessing.resource_tracker
import os
import signal
import sys
import threading
import time
from typing import Any

import holdfast
from faults import control, look
from faults.programs import main, note, say
from faults.waits import WAITS, be_deaf, same, sleep
from support.patience import until

# --- tasks ----------------------------------------------------------------------------------------------------------------


def until_told(_: object = None) -> str:
    """Until the program goes on."""
    control.armed()
    while not os.path.exists(f"{control.folder()}/go"):  # noqa: PTH110
        time.sleep(0.005)
    return "told"


def go_on() -> None:
    """Tells them."""
    with open(f"{control.folder()}/go", "w"):  # noqa: PTH123
        pass


# --- threads that wait ----------------------------------------------------------------------------------------------------


def daemon_threads(method: str) -> None:
    """Four of them are in the call when the interpreter ends."""
    pool = holdfast.Pool(2, grace=0.5)
    threads = 1 if method == "close_join" else 4
    threading.excepthook = lambda arguments: None  # those that are told in time say so on stderr otherwise
    for _ in range(threads):
        threading.Thread(target=WAITS[method], args=(pool,), daemon=True).start()
    say("ready")
    sys.stdin.readline()


def thread_that_waits() -> None:
    """Not a daemon: the program lives until it has its result, and the pool with it."""
    pool = holdfast.Pool(1, grace=0.5)
    threading.Thread(target=lambda: say("got", pool.apply(until_told))).start()
    control.wait_armed(1)


# --- ways to leave --------------------------------------------------------------------------------------------------------


def busy_pool(**options: Any) -> holdfast.Pool:
    """Both workers are in a task that does not end."""
    pool = holdfast.Pool(2, grace=1.0, **options)
    pool.map_async(sleep, range(8), chunksize=1)
    control.wait_armed(2)
    return pool


class Holder:
    """Does something with its pool when it is collected."""

    def __init__(self, pool: holdfast.Pool, act: Any) -> None:
        self.pool, self.act = pool, act

    def __del__(self) -> None:
        self.act(self.pool)


def from_del(what: str) -> None:
    """A module global's __del__ while the interpreter takes modules apart."""
    acts = {
        "terminate": lambda pool: pool.terminate(),
        "close_join": lambda pool: (pool.terminate(), pool.close(), pool.join()),
        "nothing": lambda pool: None,
    }
    globals()["HOLDER"] = Holder(busy_pool(), acts[what])
    say("ready")


def from_atexit(what: str) -> None:
    """Functions registered after the pool was opened run before its own end."""
    pool = busy_pool() if what == "terminate" else holdfast.Pool(2, grace=1.0)
    acts = {
        "use": lambda: say(pool.map(same, [1, 2])),
        "terminate": pool.terminate,
        "close_join": lambda: (pool.close(), pool.join(), say("joined")),
        "open": open_late,
    }
    atexit.register(acts[what])
    say("ready")


def open_late() -> None:
    """A pool that is opened while the interpreter ends: it works (3.11) or says that there are no threads any more (3.12 on)."""
    try:
        with holdfast.Pool(1, grace=1.0) as pool:
            say(pool.map(same, [1, 2]))
    except RuntimeError as error:
        say("refused", error)


def with_exception() -> None:
    pool = busy_pool()
    say("ready")
    raise ValueError(repr(pool))


def deaf_workers() -> None:
    """Nothing but SIGKILL ends them."""
    globals()["POOL"] = busy_pool(initializer=be_deaf)
    say("ready")


def exit_in_callback() -> None:
    """sys.exit in a callback is that callback's own affair; the program ends by itself."""
    pool = holdfast.Pool(2, grace=1.0)
    pool.apply_async(same, (1,), callback=sys.exit).wait()
    say("ready")


def opened_in_a_thread() -> None:
    """The thread that opened it is gone; the pool works."""
    pools: list[holdfast.Pool] = []
    thread = threading.Thread(target=lambda: pools.append(holdfast.Pool(2, grace=1.0)))
    thread.start()
    thread.join()
    time.sleep(0.1)  # a parent-death signal of that thread would come now
    say(pools[0].map(same, [1, 2]), len([handle for handle in pools[0]._pool if handle.is_alive()]))


def collected(how: str) -> None:
    """Dropped with running tasks: its workers go without anybody's word."""
    pool: Any = busy_pool()
    workers = [handle.pid for handle in pool._pool]
    if how == "cycle":
        pool.myself = pool
    del pool
    gc.collect()
    until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in workers))  # noqa: PTH110
    say("gone")


def forked_child(how: str) -> None:
    """A child that the user's code forked leaves by the interpreter's own end, with the pool in its memory: the parent's goes on."""
    pool = holdfast.Pool(2, grace=1.0)
    result = pool.apply_async(until_told)
    iterator = pool.imap(until_told, [None])
    control.wait_armed(2)
    if how == "process":
        child = multiprocessing.get_context("fork").Process(target=use_inherited_pool, args=(pool, result, iterator))
        child.start()
        child.join()
        code = child.exitcode
    else:
        pid = os.fork()
        if pid == 0:
            if how == "exit":
                sys.exit(3)
            use_inherited_pool(pool, result, iterator)
            sys.exit(3)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    say("child ended with", code)
    go_on()  # not before: a child that waits for them would never end
    say(result.get(), pool.map(same, [1, 2]))


def use_inherited_pool(pool: holdfast.Pool, pending: Any, iterator: Any) -> None:
    """Every call says what is wrong, and none waits."""
    calls = {
        "apply": lambda: pool.apply(same, (1,)),
        "map": lambda: pool.map(same, [1]),
        "apply_async": lambda: pool.apply_async(same, (1,)),
        "imap": lambda: pool.imap(same, [1]),
        "get": pending.get,
    }
    for name, call in calls.items():
        try:
            call()
            note(f"{name}: no error")
        except Exception as error:
            note(f"{name}: {type(error).__name__}: {error}")
    pool.close()
    pool.join()
    pool.terminate()
    pool.kill()


def becomes_another_program() -> None:
    """exec: the pid lives on, the pool must not."""
    busy_pool()
    say("ready")
    os.execv("/bin/sleep", ["sleep", "1000"])


def left_by(how: str) -> None:
    """Without the interpreter's own end."""
    busy_pool()
    say("ready")
    if how == "_exit":
        os._exit(5)
    if how == "abort":
        os.abort()
    os.kill(os.getpid(), getattr(signal, how))
    time.sleep(1000)


class Alarm(BaseException):
    """Out of a handler in the caller, like a KeyboardInterrupt."""


def raise_alarm(_number: int, _frame: object) -> None:
    raise Alarm


OPENINGS = 80


def interrupted_at_any_moment() -> None:
    """A pool's whole life under an alarm that comes a little later each time."""
    signal.signal(signal.SIGALRM, raise_alarm)
    before = look.holdings(os.environ[look.TAG_NAME])
    interrupted = 0
    for round_ in range(80):
        try:
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.0002 + 0.0003 * round_)
                with holdfast.Pool(2, grace=0.5) as pool:
                    pool.map(same, range(4))
                    list(pool.imap(same, range(4)))
                    pool.close()
                    pool.join()
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
        except Alarm:
            interrupted += 1
        pool = None  # type: ignore[assignment]
        gc.collect()
    say("interrupted", interrupted > 10)
    say("left", look.wait_without_leaks(before, os.environ[look.TAG_NAME]))


def interrupted_while_opening(method: str) -> None:
    """An alarm somewhere in the opening, also while that has all signals blocked: then another thread takes it, and the handler raises here."""
    signal.signal(signal.SIGALRM, raise_alarm)
    multiprocessing.resource_tracker.ensure_running()
    holdfast.Pool(1, context=method, grace=0.5).terminate()  # so that the moments below are not spent on imports
    threading.Thread(target=threading.Event().wait, daemon=True).start()
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    before = look.holdings(os.environ[look.TAG_NAME])
    interrupted = 0
    for round_ in range(OPENINGS):
        try:
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.0001 + 0.00008 * round_)
                pool = holdfast.Pool(1, context=method, grace=0.2)
                pool.kill()
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
        except Alarm:
            interrupted += 1
        pool = None  # type: ignore[assignment]
        assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == mask, "the main thread's mask was not put back"
    multiprocessing.active_children()  # forgets handles of ended workers, as it does of ended processes
    gc.collect()
    say("interrupted", interrupted > OPENINGS // 10)
    left = look.wait_without_leaks(before, os.environ[look.TAG_NAME])
    # An exception in the middle of the start of the service threads may keep their arguments, and so the memory of an engine; no more than that.
    say("left", [what for what in left if not what.startswith("memfd mappings")])


def nested() -> None:
    """A task that opens a pool and is in the middle of it when all ends."""
    globals()["POOL"] = holdfast.Pool(1, grace=1.0)
    globals()["POOL"].apply_async(open_and_wait)
    control.wait_armed(2)
    say("ready")


def open_and_wait() -> None:
    with holdfast.Pool(2, grace=1.0) as pool:
        pool.map(sleep, range(2), chunksize=1)


def never_closed(method: str) -> None:
    """What most scripts do."""
    pool = holdfast.Pool(2, context=method, grace=1.0)
    say(pool.map(same, [1, 2]))


if __name__ == "__main__":
    main(globals())
