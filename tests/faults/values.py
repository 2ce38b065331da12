"""Odd exceptions and values, callbacks, generators, forks and stubborn workers: one function per case, looked up by name.

Each takes (open, judge): open(processes, **arguments) gives the pool under test, ended by the runner's caller; judge.check collects problems.
"""

# Files are opened by name, as the kernel gives them (/proc, descriptors):
from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from faults import control, drive, value_tasks
from faults.cases import Judge
from faults.drive import Outcome, attempt
from support.patience import Stopwatch

Open = Callable[..., Any]
CASES: dict[str, Callable[[Open, Judge], None]] = {}


def case(function: Callable[[Open, Judge], None]) -> Callable[[Open, Judge], None]:
    CASES[function.__name__] = function
    return function


def outcomes_of(pool: Any, function: Any, items: list[Any]) -> list[Outcome]:
    """One apply_async per item, then get each."""
    results = [pool.apply_async(function, (item,)) for item in items]
    return [attempt(result.get) for result in results]


def expect(judge: Judge, outcomes: list[Outcome], index: int, kind: str, *words: str) -> None:
    """Outcome *index* is of the kind and says the words; all others are done with their index."""
    for number, outcome in enumerate(outcomes):
        if number == index:
            text = f"{outcome.how.get('type', '')} {outcome.how.get('text', '')}"
            judge.check(
                outcome.kind == kind and all(word in text for word in words),
                f"item {index}: {outcome}, expected {kind} with {words}",
            )
        else:
            judge.check(outcome.kind == "done" and outcome.value == number, f"item {number}: {outcome}, expected done")


@case
def exception_cannot_be_pickled(open: Open, judge: Judge) -> None:
    with open(2) as pool:
        expect(judge, outcomes_of(pool, value_tasks.raises_cannot_pickle, [0, 1, 2]), 1, "raised", "CannotPickle")
        imap = pool.imap(value_tasks.raises_cannot_pickle, range(3))
        expect(judge, [attempt(imap.__next__) for _ in range(3)], 1, "raised", "CannotPickle")


@case
def exception_cannot_be_rebuilt(open: Open, judge: Judge) -> None:
    with open(2) as pool:
        expect(judge, outcomes_of(pool, value_tasks.raises_cannot_rebuild, [0, 1, 2]), 1, "raised", "CannotRebuild")
        whole = attempt(lambda: pool.map(value_tasks.raises_cannot_rebuild, range(3)))
        judge.check(whole.kind == "raised" and "CannotRebuild" in str(whole.how), f"map: {whole}")


@case
def base_exceptions(open: Open, judge: Judge) -> None:
    with open(2) as pool:
        for name in value_tasks.RAISED:
            for method in ("apply_async", "map"):
                if method == "map":
                    outcome = attempt(lambda name=name: pool.map(value_tasks.raises, [name]))  # type: ignore[misc]
                else:
                    outcome = attempt(pool.apply_async(value_tasks.raises, (name,)).get)
                judge.check(outcome.kind == "raised" and outcome.how["type"] == name, f"{name} by {method}: {outcome}")
        judge.check(pool.apply(abs, (-3,)) == 3, "the pool is not usable any more")


@case
def base_exceptions_in_imap(open: Open, judge: Judge) -> None:
    """Also there the item after the failed one can be read."""
    with open(2) as pool:
        for name in ("KeyboardInterrupt", "GeneratorExit", "CancelledError", "OwnBaseException"):
            iterator = pool.imap(value_tasks.raises, [name, name])
            outcomes = [attempt(iterator.__next__) for _ in range(2)]
            judge.check(all(o.kind == "raised" and o.how["type"] == name for o in outcomes), f"{name}: {outcomes}")


@case
def system_exit(open: Open, judge: Judge) -> None:
    """sys.exit in a task ends the worker: died, with the exit code that sys.exit has."""
    with open(2) as pool:
        for code, expected in ((0, 0), (1, 1), (15, 15), (None, 0), ("some text", 1)):
            outcome = attempt(pool.apply_async(value_tasks.exits, (code,)).get)
            judge.check(
                outcome.kind == "died" and outcome.how["exitcode"] == expected, f"sys.exit({code!r}): {outcome}"
            )
        judge.check(pool.apply(abs, (-3,)) == 3, "the pool is not usable any more")


@case
def result_cannot_be_pickled(open: Open, judge: Judge) -> None:
    with open(2) as pool:
        expect(judge, outcomes_of(pool, value_tasks.returns_lock, [0, 1, 2]), 1, "raised", "lock")


@case
def result_misbehaves_in_the_caller(open: Open, judge: Judge) -> None:
    """LookupError arrives; SystemExit and KeyboardInterrupt out of unpickling are wrapped, never raised raw."""
    with open(2) as pool:
        for what in ("raise", "exit", "interrupt"):
            for call in (
                lambda what=what: pool.apply(value_tasks.returns_hostile, (what,)),
                lambda what=what: pool.map(value_tasks.returns_hostile, [what]),
                lambda what=what: pool.imap(value_tasks.returns_hostile, [what]).__next__(),
            ):
                outcome = attempt(call)
                judge.check(
                    outcome.kind == "raised" and outcome.how["type"] not in ("SystemExit", "KeyboardInterrupt"),
                    f"{what}: {outcome}",
                )
        judge.check(pool.apply(abs, (-3,)) == 3, "the pool is not usable any more")


@case
def argument_fails_in_the_worker(open: Open, judge: Judge) -> None:
    with open(2) as pool:
        for what, kinds in (("raise", ("raised",)), ("exit", ("raised", "died")), ("interrupt", ("raised",))):
            outcome = attempt(pool.apply_async(type, (value_tasks.Hostile(what),)).get)
            judge.check(outcome.kind in kinds, f"{what}: {outcome}")
            several = pool.imap(str, ["a", value_tasks.Hostile(what), "c"])
            outcomes = [attempt(several.__next__) for _ in range(3)]
            judge.check(
                [o.kind in ("done", *kinds) for o in outcomes] == [True] * 3 and outcomes[2].value == "c",
                f"{what}: {outcomes}",
            )


@case
def callback_raises(open: Open, judge: Judge) -> None:
    """A raising callback is its author's; the results after it come all the same, and their callbacks too."""
    seen: list[int] = []
    done = threading.Event()

    def raising(value: int) -> None:
        seen.append(value)
        raise ValueError("from the callback")

    def last(value: int) -> None:
        seen.append(value)
        done.set()

    hook, threading.excepthook = threading.excepthook, lambda _: None
    try:
        with open(2) as pool:
            first = pool.apply_async(value_tasks.negative, (1,), callback=raising)
            judge.check(attempt(first.get).value == -1, "the result behind the raising callback is lost")
            second = pool.apply_async(value_tasks.negative, (2,), callback=last)
            judge.check(attempt(second.get).value == -2, "the next result is lost")
            done.wait()
            judge.check(seen == [-1, -2], f"callbacks seen: {seen}")
            done.clear()
            errors: list[BaseException] = []
            failed = pool.map_async(
                value_tasks.raises_at_one, range(3), error_callback=lambda e: (errors.append(e), done.set())
            )
            judge.check(attempt(failed.get).how.get("type") == "ValueError", "map_async lost its error")
            done.wait()
            judge.check(len(errors) == 1, f"error_callback seen: {errors}")
    finally:
        threading.excepthook = hook


@case
def generator_raises_midway(open: Open, judge: Judge) -> None:
    def numbers() -> Iterator[int]:
        yield from range(5)
        raise LookupError("the input broke")

    with open(2) as pool:
        for method in (pool.imap, pool.imap_unordered):
            for chunksize in (1, 3):
                iterator = method(value_tasks.negative, numbers(), chunksize)
                outcomes = []
                while not outcomes or outcomes[-1].kind == "done":
                    outcomes.append(attempt(iterator.__next__))
                values = sorted(o.value for o in outcomes[:-1])
                least = 5 if chunksize == 1 else 3  # the standard pool drops a chunk that could not be filled
                judge.check(
                    values[::-1][:least] == [0, -1, -2, -3, -4][:least] and len(values) >= least,
                    f"values before the error: {values}",
                )
                judge.check(outcomes[-1].how.get("type") == "LookupError", f"the generator's error: {outcomes[-1]}")
        judge.check(attempt(lambda: pool.map(value_tasks.negative, numbers())).how.get("type") == "LookupError", "map")
        judge.check(pool.map(value_tasks.negative, [1, 2]) == [-1, -2], "the pool is not usable any more")


@case
def task_forks_and_child_returns(open: Open, judge: Judge) -> None:
    """Only the worker answers; the child is stopped before it can run a task in the worker's name."""
    with open(2) as pool:
        for function in (value_tasks.forks_and_both_return, value_tasks.forks_and_child_raises):
            for _ in range(5):
                values = attempt(lambda function=function: pool.map(function, range(6), 1))  # type: ignore[misc]
                judge.check(values.value == [(i, i * i) for i in range(6)], f"{function.__name__}: {values}")
        judge.check(pool.map(value_tasks.negative, range(4)) == [0, -1, -2, -3], "the pool is not usable any more")


@case
def task_closes_every_descriptor(open: Open, judge: Judge) -> None:
    with open(2) as pool:
        expect(judge, outcomes_of(pool, value_tasks.closes_everything, [0, 1, 2]), 1, "done")
        judge.check(
            pool.map(value_tasks.negative, range(20), 1) == [-i for i in range(20)], "the pool is not usable any more"
        )


@case
def task_becomes_another_program(open: Open, judge: Judge) -> None:
    with open(2) as pool:
        outcomes = outcomes_of(pool, value_tasks.becomes_another_program, [0, 1, 2])
        expect(judge, outcomes, 1, "died")
        judge.check(outcomes[1].how.get("cause") == "protocol_error", f"cause: {outcomes[1]}")


@case
def initializer_raises(open: Open, judge: Judge) -> None:
    with open(2, initializer=value_tasks.init_raises, own={"max_restarts": 3}) as pool:
        # Broken before the submit or after it: either way the caller is told, and why.
        outcome = attempt(lambda: pool.apply_async(abs, (-1,)).get())
        judge.check(outcome.kind == "broken" and "does not like it here" in outcome.how["text"], f"{outcome}")


def _bounded_end(open: Open, judge: Judge, function: Any) -> None:
    """P4: terminate() and join() within the grace period plus one second, waiters woken with PoolTerminatedError."""
    pool = open(2, own={"grace": 0.5})
    results = [pool.apply_async(function, (number,)) for number in range(3)]
    control.wait_armed(2)
    woken: list[Outcome] = []
    waiter = threading.Thread(target=lambda: woken.append(attempt(results[2].get)))
    waiter.start()
    watch = Stopwatch()
    pool.terminate()
    pool.join()
    late = watch.late(1.5)
    judge.check(not late, f"terminate and join {late}, with a grace of 0.5 s")
    waiter.join()
    judge.check([o.kind for o in woken] == ["terminated"], f"the waiting thread got {woken}")
    judge.check(not multiprocessing.active_children(), "children are left")


for _task in ("ignores_everything", "stops_itself", "holds_the_gil", "swallows_everything", "swallows_with_handler"):
    CASES[f"end_while_task_{_task}"] = lambda open, judge, task=_task: _bounded_end(
        open, judge, getattr(value_tasks, task)
    )


def run_value(case: dict[str, Any], stdlib: bool) -> dict[str, Any]:
    """The case by name; its pools are ended by `with` or by the case."""
    control.reset()
    judge, began = Judge(), time.monotonic()
    start = case.get("start", "fork")

    def open(processes: int, *, own: dict[str, Any] | None = None, **arguments: Any) -> Any:
        return drive.open_pool(stdlib, start, processes, own=own, **arguments)

    maker = os.getpid()
    CASES[case["name"]](open, judge)
    if os.getpid() != maker:
        os._exit(99)  # a forked task came back to here: never answer in the runner's name
    return {"problems": judge.problems, "outcomes": [], "seconds": round(time.monotonic() - began, 3)}


def all_cases(starts: tuple[str, ...] = ("fork",)) -> list[dict[str, Any]]:
    return [{"kind": "value", "name": name, "start": start} for start in starts for name in CASES]
