"""The soak: for so many seconds random jobs under random kills, stops, Ctrl-Cs, terminates and new pools, all from one seed.

    python -m faults.soak --seconds 60 --seed 1         (from tests/; make soak SECONDS=60 SEED=1)

The main thread opens pools and runs jobs; a tormentor thread does to them what the world does. Every outcome is compared with what the tasks
themselves marked in a shared page. At the end nothing may be left: no process, descriptor, thread, memfd, and no growth of memory.
A round that takes longer than ROUND_LIMIT_S ends the program with all stacks. Exit code 0: clean.
"""

from __future__ import annotations

import argparse
import ctypes
import faulthandler
import gc
import mmap
import os
import random
import signal
import sys
import tempfile
import threading
import time
import uuid
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import holdfast
from faults import look, soak_tasks
from support.patience import until

ROUND_LIMIT_S = 60.0
FAULTS_PER_POOL = 30  # a pool whose workers are killed faster than they can start makes no progress, and rightly so
GROWTH_LIMIT = 8 << 20  # bytes of resident memory between a third of the time and the end
SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV, signal.SIGINT, signal.SIGSTOP)


class Tormentor(threading.Thread):
    """Hurts the pool that it is shown, now and then."""

    def __init__(self, seed: int) -> None:
        super().__init__(name="tormentor", daemon=True)
        self.source = random.Random(seed)
        self.pool: holdfast.Pool | None = None
        self.left = 0  # faults for this pool
        self.pressing = False  # whether the main thread can take a Ctrl-C now
        self.pause = 0.02
        self.done = threading.Event()
        self.count: Counter[str] = Counter()
        self.stopped: list[Any] = []

    def run(self) -> None:
        while not self.done.wait(self.source.random() * self.pause):
            pool = self.pool
            if pool is None:
                continue
            if self.left > 0:
                self.left -= 1
                self.hurt(pool)
            else:
                self.let_go()

    def hurt(self, pool: holdfast.Pool) -> None:
        handles = [handle for handle in pool._pool if handle.is_alive()]
        dice = self.source.random()
        if dice < 0.1 and self.pressing:
            self.count["Ctrl-C"] += 1
            os.kill(os.getpid(), signal.SIGINT)
        elif dice < 0.12:
            self.kill_zygote(handles)
        elif dice < 0.3:
            self.let_go()
        elif handles:
            handle, number = self.source.choice(handles), self.source.choice(SIGNALS)
            handle._popen.send(number)
            if number == signal.SIGSTOP:
                self.stopped.append(handle)
            self.count[signal.Signals(number).name] += 1

    def let_go(self) -> None:
        """Stopped workers go on."""
        for handle in self.stopped:
            handle._popen.send(signal.SIGCONT)
        self.stopped.clear()

    def kill_zygote(self, handles: list[Any]) -> None:
        for handle in handles:
            parent = look.stat_fields(handle.pid or 0)[1:2]
            if (
                parent
                and look.name(int(parent[0])) == "hf-zygote"
                and look.stat_fields(int(parent[0]))[1] == str(os.getpid())
            ):
                os.kill(int(parent[0]), signal.SIGKILL)
                self.count["zygote"] += 1
                return


class Soak:
    """The main thread's work."""

    def __init__(self, seed: int, page_path: str) -> None:
        self.source = random.Random(seed)
        self.page_path = page_path
        with open(page_path, "r+b") as file:  # noqa: PTH123
            self.page = mmap.mmap(file.fileno(), soak_tasks.SLOTS)
        self.tormentor = Tormentor(seed + 1)
        self.outcomes: Counter[str] = Counter()
        self.problems: list[str] = []
        self.rounds = 0
        self.next_slot = 0
        self.most = 400  # items of a job

    # --- one pool ---------------------------------------------------------------------------------------------------------

    def options(self) -> dict[str, Any]:
        """A pool as somebody might open it."""
        choose = self.source.choice
        return {
            "processes": choose([1, 2, 2, 3, 5]),
            "context": choose(["fork"] * 18 + ["forkserver", "spawn"]),
            "maxtasksperchild": choose([None, None, 5, 20]),
            "on_death": choose(["raise", "raise", "skip", "retry"]),
            "task_timeout": choose([None, None, 5.0]),
            "grace": choose([0, 0.05, 0.5]),
            "max_restarts": 1000,
            "initializer": soak_tasks.open_page,
            "initargs": (self.page_path,),
        }

    def round(self) -> None:
        """One pool, from its opening to its end."""
        options = self.options()
        self.tormentor.pause = self.source.choice([0.005, 0.02, 0.1])
        with holdfast.Pool(**options) as pool:
            # Where a worker takes long to start, fewer of them are lost.
            self.most = 400 if options["context"] == "fork" else 40
            self.tormentor.left = self.source.randrange(FAULTS_PER_POOL if options["context"] == "fork" else 5)
            self.tormentor.pool = pool
            try:
                for _ in range(self.source.randrange(1, 8)):
                    self.job(pool, options)
                self.end(pool)
            finally:
                self.tormentor.pool = None
        self.rounds += 1

    def end(self, pool: holdfast.Pool) -> None:
        """In one of the ways there are; the rest is left to the end of the block."""
        how = self.source.choice(["close_join", "terminate", "kill", "leave", "terminate_while_waiting"])
        if how == "close_join":
            pool.close()
            self.interruptible(pool.join)
        elif how == "terminate_while_waiting":
            items = self.items(self.most)
            result = pool.map_async(soak_tasks.run, items)
            timer = threading.Timer(self.source.random() * 0.05, pool.terminate)
            timer.start()
            self.interruptible(lambda: self.ignore_errors(result.get))
            timer.join()
        elif how != "leave":
            getattr(pool, how)()

    # --- one job ----------------------------------------------------------------------------------------------------------

    def items(self, most: int) -> list[tuple[int, str]]:
        """In slots that no other job of the last time has used: one that was dropped may still run."""
        count = self.source.randrange(1, most)
        kinds = self.source.choices(soak_tasks.KINDS, soak_tasks.WEIGHTS, k=count)
        if self.next_slot + count > soak_tasks.SLOTS:
            self.next_slot = 0
        first, self.next_slot = self.next_slot, self.next_slot + count
        self.page[first : first + count] = bytes(count)
        return list(enumerate(kinds, first))

    def job(self, pool: holdfast.Pool, options: dict[str, Any]) -> None:
        """Submit, collect each outcome, compare."""
        items = self.items(self.most)
        form = self.source.choice(["apply_async", "map", "imap", "imap_unordered", "dropped"])
        collected: dict[int, Any]
        if form == "apply_async":
            results = [pool.apply_async(soak_tasks.run, (item,)) for item in items]
            collected = {slot: self.outcome(result.get) for (slot, _), result in zip(items, results, strict=True)}
        elif form == "map":
            result = pool.map_async(soak_tasks.run, items, chunksize=self.source.choice([None, 1, 7]))
            whole = self.outcome(result.get)
            values = dict(enumerate(whole)) if isinstance(whole, list) else result.partial or {}
            collected = {slot: values.get(index, whole) for index, (slot, _) in enumerate(items)}
        elif form == "dropped":
            pool.imap(soak_tasks.run, items)
            return
        else:
            iterator = getattr(pool, form)(soak_tasks.run, items)
            # No Ctrl-C here: one that comes when next() has just returned takes its value along, as with any iterator in Python.
            found = [self.outcome(iterator.next, interruptible=False) for _ in items]
            if form == "imap":
                collected = {slot: outcome for (slot, _), outcome in zip(items, found, strict=True)}
            else:
                self.compare_unordered(items, found, options)
                return
        for slot, kind in items:
            self.compare(slot, kind, collected[slot], options)

    def outcome(self, get: Callable[[], Any], *, interruptible: bool = True) -> Any:
        """The value or the exception; a Ctrl-C meanwhile only means to ask again."""
        while True:
            try:
                return self.interruptible(get) if interruptible else get()
            except KeyboardInterrupt as error:  # a task's own, by the SIGINT that a worker got
                return error
            except Exception as error:
                return error

    def interruptible(self, call: Callable[[], Any]) -> Any:
        """Call it where a Ctrl-C may come; that of the main thread (it has no cause) is answered by calling it again."""
        while True:
            self.tormentor.pressing = True
            try:
                return call()
            except KeyboardInterrupt as error:
                if error.__cause__ is not None:
                    raise
                self.outcomes["interrupted"] += 1
            finally:
                self.tormentor.pressing = False

    @staticmethod
    def ignore_errors(call: Callable[[], Any]) -> None:
        try:
            call()
        except Exception:
            pass

    # --- what came of it --------------------------------------------------------------------------------------------------

    def compare(self, slot: int, kind: str, outcome: Any, options: dict[str, Any]) -> None:
        """One item's outcome against what is possible."""
        runs = self.page[slot]
        most = 4 if options["on_death"] == "retry" else 1
        if runs > most:
            self.problems.append(f"item {slot} ({kind}) ran {runs} times")
        self.outcomes[type(outcome).__name__ if isinstance(outcome, BaseException) else "value"] += 1
        if isinstance(outcome, holdfast.HoldfastError):
            return  # a death, a time-out, a broken pool: the tormentor's work
        if isinstance(outcome, KeyboardInterrupt | soak_tasks.Planned):
            if isinstance(outcome, soak_tasks.Planned) and kind != "raises":
                pass  # of a map that failed: the error stands for all items without a result
            return
        if isinstance(outcome, BaseException):
            self.problems.append(f"item {slot} ({kind}): {outcome!r}")
            return
        want = soak_tasks.expected(slot, kind)
        if outcome != want and not (outcome is None and options["on_death"] == "skip"):
            self.problems.append(f"item {slot} ({kind}) returned {str(outcome)[:60]}")
        if runs == 0 and outcome is not None:
            self.problems.append(f"item {slot} ({kind}) has a result and never ran")

    def compare_unordered(self, items: list[tuple[int, str]], found: list[Any], options: dict[str, Any]) -> None:
        """As many outcomes as items; the values are some of the right ones, none twice."""
        wanted = Counter(str(soak_tasks.expected(slot, kind)) for slot, kind in items)
        for outcome in found:
            self.outcomes[type(outcome).__name__ if isinstance(outcome, BaseException) else "value"] += 1
            if isinstance(outcome, StopIteration):
                self.problems.append("imap_unordered ended before its last item")
            elif not isinstance(outcome, BaseException) and outcome is not None:
                wanted[str(outcome)] -= 1
        if min(wanted.values(), default=0) < 0:
            self.problems.append(f"imap_unordered gave a value twice, or a wrong one: {-wanted}")
        for slot, kind in items:
            if self.page[slot] > (4 if options["on_death"] == "retry" else 1):
                self.problems.append(f"item {slot} ({kind}) ran {self.page[slot]} times")

    # --- the whole --------------------------------------------------------------------------------------------------------

    def run(self, seconds: float) -> None:
        """Rounds until the time is over."""
        tag = os.environ[look.TAG_NAME]
        gc.collect()
        before = look.holdings(tag)
        self.tormentor.start()
        began, reference = time.monotonic(), 0
        while time.monotonic() - began < seconds and not self.problems:
            faulthandler.dump_traceback_later(ROUND_LIMIT_S, exit=True)
            try:
                self.round()
            except KeyboardInterrupt:
                self.outcomes["interrupted"] += 1
            if not reference and time.monotonic() - began > seconds / 3:
                reference = resident()
        faulthandler.cancel_dump_traceback_later()
        self.tormentor.done.set()
        self.tormentor.join()
        self.tormentor.stopped.clear()
        growth = resident() - reference
        if seconds >= 30 and growth > GROWTH_LIMIT:
            self.problems.append(f"memory grew by {growth >> 10} KiB")
        self.problems += look.wait_without_leaks(before, tag)
        print(
            f"{self.rounds} pools, outcomes {dict(self.outcomes)}, faults {dict(self.tormentor.count)}, growth {growth >> 10} KiB"
        )


def resident() -> int:
    """Bytes of resident memory once everything that can be freed has been."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return int(Path("/proc/self/statm").read_text().split()[1]) * mmap.PAGESIZE


def main() -> int:
    """Parse the arguments, run, tell."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    if look.TAG_NAME not in os.environ:  # found by its environment as it was at the exec: so once more, with it
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], os.environ | {look.TAG_NAME: uuid.uuid4().hex})
    warnings.simplefilter("ignore")
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored when started in the background by a shell
    multiprocessing_tracker()
    with tempfile.NamedTemporaryFile() as page:
        page.truncate(soak_tasks.SLOTS)
        soak = Soak(arguments.seed, page.name)
        soak.run(arguments.seconds)
    for problem in soak.problems:
        print(f"PROBLEM: {problem}")
    print(f"seed {arguments.seed}: {'clean' if not soak.problems else 'NOT clean'}")
    return 1 if soak.problems else 0


def multiprocessing_tracker() -> None:
    """Started now: it belongs to the interpreter, not to a pool, and stays. In the middle of its exec it would not be seen as ours."""
    from multiprocessing import resource_tracker

    resource_tracker.ensure_running()
    pid = resource_tracker._resource_tracker._pid  # type: ignore[attr-defined]  # not in typeshed
    until(lambda: pid in look.tagged(os.environ[look.TAG_NAME]))


if __name__ == "__main__":
    sys.exit(main())
