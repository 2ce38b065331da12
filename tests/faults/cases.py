"""One case of the matrix, run in this process: open the pool, bring the fault about, judge every item's outcome.

Each moment has a row in EXPECTED: which outcomes the items may have. "lost" is the number of items that may be anything but done:
(least, most) under the policy raise; skip turns died into skipped, retry turns it into done.
"""

from __future__ import annotations

import time
from typing import Any

from faults import control, drive, worker_side
from faults.matrix import WRITE_DELAYS_US
from support.patience import Stopwatch

ITEMS, POISON, WORKERS = 7, 3, 2
BIG = 64 << 20
# How each cause must be reported: exit code and signal (SIGSTOP then SIGKILL is a SIGKILL).
REPORTED = {
    "sigkill": (-9, 9), "sigterm": (-15, 15), "sigsegv": (-11, 11), "abort": (-6, 6), "exit0": (0, None), "exit1": (1, None),
    "stop_kill": (-9, 9),
}  # fmt: skip
# Whether a method tells of a lost item as soon as it is known; the map family tells when the whole map is done.
TELLS_AT_ONCE = {
    "apply": True, "apply_async": True, "imap": True, "imap_unordered": True, "map": False, "map_async": False, "starmap": False,
}  # fmt: skip
# moment: (least, most) items lost. 0 to 1: the death races with the commit, or with the hand-over of an item; both orders are right.
LOST = {
    "idle": (0, 0), "before_first": (0, 1), "unpickling": (1, 1), "reading_64m": (1, 1), "running": (1, 1), "pickling": (1, 1),
    "writing_64m": (0, 1), "after_commit": (0, 1), "init_once": (0, 0), "all_at_once": (WORKERS, WORKERS),
}  # fmt: skip


class Judge:
    """Collects what went wrong; empty at the end = the case held."""

    def __init__(self) -> None:
        self.problems: list[str] = []

    def check(self, holds: bool, problem: str) -> None:
        if not holds:
            self.problems.append(problem)


def open_for(case: dict[str, Any], stdlib: bool) -> Any:
    """The pool of the case, with the initializer that the moment needs."""
    cause, moment, grandchild = case["cause"], case["moment"], case["grandchild"]
    arguments: dict[str, Any] = {}
    if moment in ("idle", "before_first"):
        arguments = {"initializer": worker_side.init_plain, "initargs": (cause, grandchild)}
    elif moment == "init_always":
        arguments = {"initializer": worker_side.init_dies, "initargs": (cause, grandchild, 1 << 30)}
    elif moment == "init_once":
        arguments = {"initializer": worker_side.init_dies, "initargs": (cause, grandchild, 1)}
    own = drive.policy_arguments(case["policy"]) | {"max_restarts": 3, "grace": 2.0}
    return drive.open_pool(stdlib, case["start"], WORKERS, own=own, **arguments)


def items_for(case: dict[str, Any]) -> list[Any]:
    """The arguments: ITEMS tuples for worker_side.star, the poisoned one at POISON."""
    cause, moment, grandchild, seed = case["cause"], case["moment"], case["grandchild"], case["seed"]
    where = {"idle": "none", "before_first": "none", "unpickling": "none", "reading_64m": "none"}.get(moment, moment)
    where = "none" if moment.startswith("init") else where
    items: list[Any] = [
        (index, "none" if moment != "all_at_once" else where, cause, grandchild, None) for index in range(ITEMS)
    ]
    payload: Any = None
    if moment == "unpickling":
        payload = worker_side.Unpickled(cause, grandchild)
    elif moment == "reading_64m":
        half = b"x" * worker_side.HALF
        second: Any = worker_side.OutOfBand(bytearray(half)) if seed % 2 else half
        delay_us = seed % 4 * 500 if killed_from_outside(case) else -1
        payload = (half, worker_side.Unpickled(cause, grandchild, delay_us), second)
    elif moment == "writing_64m":
        payload = "out_of_band" if seed % 2 else "in_band"
    if moment != "all_at_once":
        items[POISON] = (POISON, where, cause, grandchild, payload)
    return items


def bring_about(case: dict[str, Any], pool: Any, judge: Judge) -> None:
    """The faults that come from outside before the items are submitted."""
    cause, moment = case["cause"], case["moment"]
    words = control.page()
    words[control.GATHER] = WORKERS
    words[control.DELAY_US] = WRITE_DELAYS_US[case["seed"] % len(WRITE_DELAYS_US)]
    if moment not in ("idle", "before_first"):
        return
    if moment == "idle":
        judge.check(
            [value for _, value in pool.map(worker_side.square, range(4), 1)] == [0, 1, 4, 9], "warm-up map is wrong"
        )
    if cause.startswith("exit") or case["grandchild"] != "none":
        control.wait_armed(WORKERS)
    pid = pool._pool[0].pid
    words[control.VICTIM], words[control.FIRED] = pid, 1
    if cause == "stop_kill":
        control.order(control.STOP_THEN_KILL, pid)
    else:
        control.order(control.KILL, pid, worker_side.outside_signal(cause))
    if case["seed"] % 2:  # the news has had time to arrive; else the items meet the dying worker
        control.wait_slot(control.EXIT_NS, 1)


def right(outcome: drive.Outcome, index: int) -> bool:
    """Done with the right value."""
    if outcome.kind != "done" or outcome.value[0] != index:
        return False
    value = outcome.value[1]
    if isinstance(value, worker_side.OutOfBand):
        return len(value.data) == BIG
    return len(value) == BIG if isinstance(value, bytes) else bool(value == index * index)


def killed_from_outside(case: dict[str, Any]) -> bool:
    """reading_64m: stop_kill, and every third of the signals, come from the agent while the second half is read; the others, between the halves."""
    by_agent = case["cause"] == "stop_kill" or (
        case["cause"] in ("sigkill", "sigsegv", "abort") and case["seed"] % 3 == 0
    )
    return case["moment"] == "reading_64m" and by_agent


def sys_exit_is_an_exception(case: dict[str, Any]) -> bool:
    """sys.exit ends the worker when the task calls it; while an argument or a result is on its way it is an exception of that task."""
    return case["cause"] == "exit1" and case["moment"] in ("unpickling", "reading_64m", "pickling")


def judge_outcomes(case: dict[str, Any], outcomes: list[drive.Outcome], judge: Judge) -> list[drive.Outcome]:
    """Compare with the row of the moment; returns the lost ones."""
    lost = [outcome for index, outcome in enumerate(outcomes) if not right(outcome, index)]
    if case["moment"] == "init_always":
        judge.check(
            len(lost) == ITEMS and all(o.kind == "broken" for o in lost),
            "workers cannot start: every item must be told PoolBrokenError",
        )
        return lost
    least, most = LOST[case["moment"]]
    if killed_from_outside(case) or (
        case["cause"] == "sigterm" and case["moment"] in ("pickling", "unpickling", "reading_64m")
    ):
        least = 0  # the kill may come late; SIGTERM is blocked while pickling and taken after the commit
    if case["moment"] == "idle" and case["seed"] % 2 == 0:
        most = 1  # nobody waited for the exit: the kill may find the worker with an item
    if case["policy"] == "retry":
        least = most = 0
    if sys_exit_is_an_exception(case):
        most = 1  # raised, which on_death does not retry
    judge.check(least <= len(lost) <= most, f"{len(lost)} items lost, expected {least} to {most}")
    wanted = {"raise": "died", "skip": "skipped", "retry": "done"}[case["policy"]]
    for outcome in lost:
        if sys_exit_is_an_exception(case) and outcome.kind == "raised" and "SystemExit" in str(outcome.how):
            continue
        judge.check(outcome.kind == wanted, f"a lost item is {outcome.kind} ({outcome.how}), expected {wanted}")
        if outcome.kind == "died":
            reported = (outcome.how["exitcode"], outcome.how["signal"])
            judge.check(
                reported == REPORTED[case["cause"]],
                f"reported as {outcome.how}, expected exit code and signal {REPORTED[case['cause']]}",
            )
    return lost


def still_good(case: dict[str, Any], pool: Any, judge: Judge) -> None:
    """After the fault the pool works as before."""
    outcome = drive.attempt(lambda: pool.map(worker_side.square, range(9), 2))
    judge.check(
        outcome.kind == "done" and outcome.value == [(i, i * i) for i in range(9)],
        f"the pool is not usable any more: {outcome.kind} {outcome.how}",
    )


def wait_for_late_death(case: dict[str, Any]) -> None:
    """A kill that was ordered and has not come yet belongs to this case, not to the next map."""
    words = control.page()
    if words[control.FIRED] and words[control.VICTIM] and not sys_exit_is_an_exception(case):
        control.wait_slot(control.EXIT_NS, 1)


def run_matrix(case: dict[str, Any], stdlib: bool) -> dict[str, Any]:
    """One case from opening to ending; the caller looks for leaks."""
    judge, began = Judge(), time.monotonic()
    control.reset()
    pool = open_for(case, stdlib)
    try:
        bring_about(case, pool, judge)
        at_once = case["moment"] == "all_at_once"
        outcomes = drive.run(pool, case["method"], worker_side.star, items_for(case), at_once=at_once)
        lost = judge_outcomes(case, outcomes, judge)
        if case["moment"] != "init_always":
            wait_for_late_death(case)
            still_good(case, pool, judge)
    finally:
        watch = Stopwatch()
        if case["seed"] % 2 and case["grandchild"] == "none":  # a clean end leaves what healthy workers started alone
            pool.close()
        else:
            pool.terminate()
        pool.join()
        late = watch.late(3)  # a grace of 2 s
    judge.check(not late, f"ending the pool {late}")
    return {
        "problems": judge.problems,
        "outcomes": [o.kind for o in outcomes],
        "news_us": news(lost) if TELLS_AT_ONCE[case["method"].partition("/")[0]] else {},
        "seconds": round(time.monotonic() - began, 3),
    }


def news(lost: list[drive.Outcome]) -> dict[str, float]:
    """From the victim's exit (and from just before its last act) to the caller's knowing, for the first loss."""
    words = control.page()
    told = [outcome.known_ns for outcome in lost if outcome.kind in ("died", "skipped")]
    if not told:
        return {}
    start = words[control.DEATH_NS] or words[control.KILLED_NS]
    result = {"from_death": (min(told) - start) / 1e3} if start else {}
    if words[control.EXIT_NS]:
        result["from_exit"] = max(0.0, (min(told) - words[control.EXIT_NS]) / 1e3)
    return result
