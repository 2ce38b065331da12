"""The news of a worker's death, and how soon its replacement runs the next task. All pools have one worker."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import select
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from peers import Unsupported
from workloads.base import Row, Setting, Value, Workload
from workloads.tasks import die, last_act, now, same, whoami

HANG_S = 2.0


def _watch_exits(requests: Any, answers: Any) -> None:
    """A process of its own that tells when a pid ended. At real-time priority where that is allowed: else its own late wake-up
    on a busy machine would make the news look faster than it is.
    """
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(10))
    except PermissionError:
        pass  # "from the last act" is the figure to go by then
    while True:
        pid = requests.recv()
        if pid is None:
            return
        descriptor = os.pidfd_open(pid)
        answers.send(None)
        select.select([descriptor], [], [])
        answers.send(time.monotonic_ns())
        os.close(descriptor)


@contextlib.contextmanager
def exit_watcher() -> Iterator[Callable[[int], Callable[[], int]]]:
    """Gives watch(pid), which returns a function that waits for the time of that process's end, in nanoseconds."""
    requests, to_watcher = multiprocessing.Pipe(False)
    from_watcher, answers = multiprocessing.Pipe(False)
    watcher = multiprocessing.get_context("fork").Process(target=_watch_exits, args=(requests, answers))
    watcher.start()

    def watch(pid: int) -> Callable[[], int]:
        to_watcher.send(pid)
        from_watcher.recv()
        return from_watcher.recv

    try:
        yield watch
    finally:
        to_watcher.send(None)
        watcher.join()


def death_to_caller(setting: Setting) -> dict[str, Value]:
    """A peer that a death breaks gets a new pool each time; the standard pool hangs in the first."""
    from_exit, from_act = [], []
    with exit_watcher() as watch:
        peer = setting.open(1)
        for number in range(setting.size["deaths"]):
            end_time = watch(peer.apply(whoami, ()))
            lost = peer.submit(die, (number % 2 == 0,))
            if not peer.death_errors:
                with contextlib.suppress(multiprocessing.TimeoutError):
                    raise AssertionError(f"the dead worker has answered {peer.wait(lost, HANG_S)!r}")
                peer.end()
                return {"death.exit": "hangs", "death.act": "hangs"}
            try:
                peer.wait(lost)
                raise AssertionError("the dead worker has answered")
            except peer.death_errors:
                known = time.monotonic_ns()
            from_exit.append(max(0, known - end_time()) / 1e3)
            from_act.append((known - last_act[0]) / 1e3)
            if peer.broken_by_death:
                peer.end()
                peer = setting.open(1)
        peer.end()
    return {
        "death.exit": from_exit,
        "death.act": from_act if peer.inherits else "no: its workers share no page with the caller",
    }


def death_to_replacement(setting: Setting, method: str) -> dict[str, Value]:
    """A second task waits behind the one that ends the worker: from the exit to its first instruction in the next worker."""
    times: list[float] = []
    with exit_watcher() as watch:
        peer = setting.open(1, method)
        if peer.broken_by_death:
            peer.end()
            raise Unsupported("broken by a death")
        for number in range(setting.size["deaths"]):
            victim = peer.apply(whoami, ())
            end_time = watch(victim)
            lost = peer.submit(die, (number % 2 == 0,))
            began = peer.wait(peer.submit(now, (number,)))
            times.append((began - end_time()) / 1e3)
            if peer.death_errors:  # else it never ends
                with contextlib.suppress(*peer.death_errors):
                    raise AssertionError(f"the dead worker has answered {peer.wait(lost)!r}")
            assert peer.apply(whoami, ()) != victim
        assert peer.apply(same, (1,)) == 1
        peer.end()
    return {f"replacement.{method}": times}


def _replacement(method: str, deaths: int) -> Workload:
    return Workload(
        partial(death_to_replacement, method=method),
        {f"replacement.{method}": Row(f"death -> replacement runs the next task, {method}", "us")},
        {"smoke": {"deaths": 2}, "quick": {"deaths": deaths}, "all": {"deaths": deaths}},
    )


WORKLOADS = {
    "death": Workload(
        death_to_caller,
        {
            "death.exit": Row("death -> caller told, from the exit, {deaths} deaths", "us"),
            "death.act": Row("death -> caller told, from the last act, {deaths} deaths", "us"),
        },
        {"smoke": {"deaths": 2}, "quick": {"deaths": 100}, "all": {"deaths": 100}},
    ),
    "replacement_fork": _replacement("fork", 30),
    "replacement_forkserver": _replacement("forkserver", 20),
}
