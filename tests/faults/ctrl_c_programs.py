"""Programs of test_ctrl_c.py and their tasks. Tasks write one line per SIGINT that reached them into the test's folder."""

# Files are opened by name, as the kernel gives them (/proc, descriptors):
from __future__ import annotations

import asyncio
import os
import signal
import threading
import time

import holdfast
from faults import control
from faults.programs import main, note, say
from faults.waits import WAITS, be_deaf, same, sleep

# --- tasks ----------------------------------------------------------------------------------------------------------------


def count_interrupts(seconds: float) -> int:
    """Cleans up for a while after the first interrupt; returns how many there were."""
    count = 0

    def handler(_number: int, _frame: object) -> None:
        nonlocal count
        count += 1
        note("interrupt")
        if count == 1:
            raise KeyboardInterrupt

    old = signal.signal(signal.SIGINT, handler)
    try:
        control.armed()
        time.sleep(1000)
    except KeyboardInterrupt:
        end = time.monotonic() + float(seconds)
        while (left := end - time.monotonic()) > 0:
            time.sleep(left)
    finally:
        signal.signal(signal.SIGINT, old)
    note(f"cleaned {count}")
    return count


def swallow(seconds: float) -> str:
    """Goes on as if nothing had been; tells its result when the file `go` is there."""
    interrupts = noted = 0
    while True:
        try:  # armed and noted in here: an interrupt that answers to it meets this `try`
            if interrupts == 0:
                control.armed()
            if noted < interrupts:
                noted = interrupts
                note("swallowed")
            while not os.path.exists(f"{control.folder()}/go"):  # noqa: PTH110
                time.sleep(0.01)
            return f"done {interrupts}"
        except KeyboardInterrupt:
            interrupts += 1


def ignore_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


# --- programs -------------------------------------------------------------------------------------------------------------


def waits(method: str, grace: str = "5") -> None:
    """Says when the interrupt came (seconds of the monotonic clock), then leaves `with`."""
    try:
        with holdfast.Pool(2, grace=float(grace)) as pool:
            pool.map(same, range(4))
            say("ready")
            try:
                WAITS[method](pool)
            except KeyboardInterrupt:
                say(time.monotonic())
                raise
    except KeyboardInterrupt:
        say("left with")


def interrupts_are_single(leave: str) -> None:
    """Each task gets one SIGINT for one Ctrl-C, also while it cleans up and the pool is left or joined."""
    pool = holdfast.Pool(2, grace=20)
    if leave == "close_join":
        result = pool.map_async(count_interrupts, [0.5, 0.5], chunksize=1)
        say("ready")
        try:
            result.get()
        except KeyboardInterrupt:
            pool.close()
            pool.join()
            say("left", result.get())
        return
    results = [pool.apply_async(count_interrupts, (0.5,)) for _ in range(2)]
    say("ready")
    if leave == "with":
        try:
            with pool:
                results[0].get()
        except KeyboardInterrupt:
            say("left")
    elif leave == "join":
        pool.close()
        try:
            pool.join()
        except KeyboardInterrupt:
            say("left")


def only_the_job_waited_for() -> None:
    """A Ctrl-C in one job's get() is none of another job's business."""
    with holdfast.Pool(2) as pool:
        other = pool.apply_async(swallow, (0,))
        mine = pool.apply_async(sleep)
        say("ready")
        try:
            mine.get()
        except KeyboardInterrupt:
            say("interrupted")
        say(other.get())


def twice_with_deaf_workers() -> None:
    """SIGKILL at the second one: the grace period would be far too long."""
    try:
        with holdfast.Pool(2, be_deaf, grace=300) as pool:
            result = pool.map_async(sleep, range(2), chunksize=1)
            say("ready")
            try:
                result.get()
            except KeyboardInterrupt:
                say("interrupted")
                raise
    except KeyboardInterrupt:
        say("left")


def get_again_after_swallowing(method: str) -> None:
    """Workers that swallow it finish, get() again works, the pool is good for more, and its zygote is the one it was."""
    with holdfast.Pool(2, context=method) as pool:
        zygote = pool.apply(os.getppid)
        results = pool.map_async(swallow, [0, 0], chunksize=1)
        say("ready")
        for _ in range(3):
            try:
                results.get()
            except KeyboardInterrupt:
                say("interrupted")
        say(results.get())
        say(pool.map(same, [1, 2]))
        say(pool.apply(os.getppid) == zygote)


def get_again_with_ignoring_workers() -> None:
    with holdfast.Pool(2, ignore_interrupts) as pool:
        result = pool.map_async(swallow, [0, 0], chunksize=1)
        say("ready")
        try:
            result.get()
        except KeyboardInterrupt:
            say("interrupted")
        say(result.get())


def shielded() -> None:
    """The caller ignores SIGINT: nobody is interrupted, tasks included."""
    ignore_interrupts()
    with holdfast.Pool(2) as pool:
        result = pool.map_async(swallow, [0, 0], chunksize=1)
        say("ready")
        say(result.get())


def seed_001() -> None:
    """`except KeyboardInterrupt: close(); join()`: what was queued still runs, interrupted tasks tell their outcome."""
    pool = holdfast.Pool(2)
    interrupted = pool.map_async(sleep, range(2), chunksize=1)
    queued = [pool.apply_async(same, (n,)) for n in range(3)]
    say("ready")
    try:
        interrupted.get()
    except KeyboardInterrupt:
        pool.close()
        pool.join()
        say([result.get() for result in queued])
        try:
            interrupted.get()
        except KeyboardInterrupt as error:
            say(f"{type(error).__name__} of a task" if error.__cause__ else "of the caller")


def in_another_thread() -> None:
    """The thread that waits is not the main one: the main thread decides, terminate() wakes the other."""
    pool = holdfast.Pool(2)

    def wait() -> None:
        try:
            pool.map(sleep, range(4), chunksize=1)
        except holdfast.PoolTerminatedError:
            say("the thread was told")

    thread = threading.Thread(target=wait)
    thread.start()
    # Joined in steps, before and after: a signal that comes while Python's join() gives the GIL up is not seen until it returns
    # (CPython 3.11 to 3.13), and up to 3.12 the join() after an interrupted one may return at once (os-mechanisms.md, section 4).
    try:
        say("ready")
        join_in_steps(thread)
    except KeyboardInterrupt:
        say("interrupted")
        pool.terminate()
        say("terminated")
    join_in_steps(thread)


def join_in_steps(thread: threading.Thread) -> None:
    while thread.is_alive():
        thread.join(0.1)


def own_handler() -> None:
    """A handler of the user's that does not raise: the wait goes on, and tasks are left alone."""
    read, write = os.pipe()
    os.set_blocking(write, False)
    signal.set_wakeup_fd(write)
    signal.signal(signal.SIGINT, lambda _number, _frame: say("handled"))
    with holdfast.Pool(2) as pool:
        result = pool.map_async(swallow, [0, 0], chunksize=1)
        say("ready")
        say(result.get())
    say("wakeup bytes", list(os.read(read, 100)))


async def _in_asyncio(pool: holdfast.Pool) -> None:
    loop = asyncio.get_running_loop()
    waiting = loop.run_in_executor(None, pool.apply, sleep)
    say("ready")
    try:
        await waiting
    except asyncio.CancelledError:
        say("cancelled")
        pool.terminate()
        raise


def in_asyncio() -> None:
    """asyncio's own handler cancels the main task; the pool's thread is woken by terminate()."""
    pool = holdfast.Pool(2)
    try:
        asyncio.run(_in_asyncio(pool))
    except KeyboardInterrupt:
        say("KeyboardInterrupt out of asyncio.run")
    pool.join()


def at_any_time() -> None:
    """Work without an end; a Ctrl-C anywhere must end it."""
    say("begun")
    with holdfast.Pool(2, grace=1) as pool:
        while True:
            pool.map(same, range(100), chunksize=1)
            list(pool.imap(same, range(20)))


def opens(method: str) -> None:
    """Is interrupted while it opens, or a little later."""
    say("opening")
    try:
        with holdfast.Pool(2, context=method, grace=1) as pool:
            pool.map(sleep, range(2))
    except KeyboardInterrupt:
        say("left")


def ticks() -> None:
    """Tasks that count in a file, for Ctrl-Z; ended by SIGINT."""
    try:
        with holdfast.Pool(2, grace=1) as pool:
            say("workers", *[handle.pid for handle in pool._pool])
            pool.map(tick, range(2), chunksize=1)
    except KeyboardInterrupt:
        say("left")


def tick(_: object) -> None:
    control.armed()
    while True:
        time.sleep(0.01)


def timed(seconds: str) -> None:
    """A task that would be over its time limit of *seconds* if the pause counted; it is done when the file `go` is there."""
    with holdfast.Pool(1) as pool:
        say("workers", *[handle.pid for handle in pool._pool])
        say(pool.apply(swallow, (0,), task_timeout=float(seconds)))


if __name__ == "__main__":
    main(globals())
