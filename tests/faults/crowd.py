"""Many tasks under many deaths: 1,000 tasks of which one in ten kills its worker; 20,000 small ones under 20 random kills."""

# Files are opened by name, as the kernel gives them (/proc, descriptors):
from __future__ import annotations

import collections
import random
import shutil
import signal
import tempfile
import threading
import time
from typing import Any

from faults import control, drive, value_tasks
from faults.cases import REPORTED, Judge

TASKS, KILLED_TASKS, KILLS = 1_000, 20_000, 20


def one_in_ten(case: dict[str, Any], stdlib: bool, judge: Judge) -> list[str]:
    """Exactly the 100 killers are lost (raise, skip) or none is (retry); nobody else is touched."""
    policy, cause = case["policy"], case["cause"]
    folder = tempfile.mkdtemp() if policy == "retry" else ""
    own = drive.policy_arguments(policy) | {"max_restarts": 3}
    try:
        with drive.open_pool(stdlib, "fork", 2, own=own) as pool:
            items = [(index, cause, folder) for index in range(TASKS)]
            if policy == "raise":
                results = [pool.apply_async(value_tasks.one_in_ten_star, (item,)) for item in items]
                outcomes = [drive.attempt(result.get) for result in results]
            else:
                whole = drive.attempt(lambda: pool.map(value_tasks.one_in_ten_star, items, 7))
                judge.check(whole.kind == "done", f"map: {whole.kind} {whole.how}")
                outcomes = [drive.Outcome("skipped" if v == drive.SKIPPED else "done", v) for v in whole.value or []]
            if policy == "skip":
                judge.check(
                    len(pool.get_killed_tasks()) == TASKS // 10, f"{len(pool.get_killed_tasks())} killed tasks listed"
                )
    finally:
        if folder:
            shutil.rmtree(folder)
    wanted = {"raise": "died", "skip": "skipped", "retry": "done"}[policy]
    for index, outcome in enumerate(outcomes):
        killer = index % 10 == 3
        judge.check(outcome.kind == (wanted if killer else "done"), f"task {index}: {outcome.kind} {outcome.how}")
        if outcome.kind == "done":
            judge.check(outcome.value == index * index, f"task {index}: value {outcome.value}")
        elif outcome.kind == "died":
            judge.check(
                (outcome.how["exitcode"], outcome.how["signal"]) == REPORTED[cause], f"task {index}: {outcome.how}"
            )
    judge.check(len(outcomes) == TASKS, f"{len(outcomes)} outcomes")
    return [f"{kind} {count}" for kind, count in collections.Counter(o.kind for o in outcomes).items()]


def random_kills(case: dict[str, Any], stdlib: bool, judge: Judge) -> list[str]:
    """Each of 20,000 tasks settles once, whoever is shot meanwhile; with retry all are done."""
    policy, rng = case["policy"], random.Random(case["seed"])
    settled: collections.Counter[int] = collections.Counter()
    ended = threading.Event()
    kills = 0

    def shoot(pool: Any) -> None:
        nonlocal kills
        while kills < KILLS and not ended.is_set():
            victims = pool._pool
            if victims:
                control.order(
                    control.KILL, rng.choice(victims).pid, rng.choice((signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV))
                )
                kills += 1
            seen = len(settled)
            ended.wait(rng.random() * 0.01)
            # Work was done in between: else, on a busy machine, no worker would live to its first task, nor a retried task to its end.
            while len(settled) == seen and not ended.is_set():
                ended.wait(0.001)

    with drive.open_pool(stdlib, "fork", 3, own=drive.policy_arguments(policy)) as pool:
        shooter = threading.Thread(target=shoot, args=(pool,))
        shooter.start()
        outcomes: dict[int, drive.Outcome] = {}
        if case["method"] == "apply_async":
            count = lambda index: lambda _: settled.update([index])  # noqa: E731
            results = [
                pool.apply_async(value_tasks.negative, (i,), callback=count(i), error_callback=count(i))
                for i in range(KILLED_TASKS)
            ]
            outcomes = {index: drive.attempt(result.get) for index, result in enumerate(results)}
        else:
            iterator = pool.imap_unordered(value_tasks.negative, range(KILLED_TASKS), 5)
            for _ in range(KILLED_TASKS):
                outcome = drive.attempt(iterator.__next__)
                index = -outcome.value if outcome.kind == "done" else -len(outcomes) - 1
                settled.update([index])
                outcomes[index] = outcome
        ended.set()
        shooter.join()
        pool.close()
        pool.join()
    kinds = collections.Counter(outcome.kind for outcome in outcomes.values())
    judge.check(
        len(outcomes) == KILLED_TASKS and all(n == 1 for n in settled.values()),
        f"settled: {len(outcomes)} tasks, most times {max(settled.values())}",
    )
    judge.check(len(settled) == KILLED_TASKS, f"callbacks for {len(settled)} of {KILLED_TASKS} tasks")
    judge.check(all(o.value == -index for index, o in outcomes.items() if o.kind == "done"), "a wrong value")
    lost = KILLED_TASKS - kinds["done"]
    judge.check(lost <= (0 if policy == "retry" else KILLS), f"{kinds} after {kills} kills")
    judge.check(policy == "retry" or set(kinds) <= {"done", "died"}, f"{kinds}")
    return [f"{kind} {count}" for kind, count in kinds.items()] + [f"kills {kills}"]


def run_crowd(case: dict[str, Any], stdlib: bool) -> dict[str, Any]:
    control.reset()
    judge, began = Judge(), time.monotonic()
    function = {"one_in_ten": one_in_ten, "random_kills": random_kills}[case["name"]]
    outcomes = function(case, stdlib, judge)
    return {"problems": judge.problems[:5], "outcomes": outcomes, "seconds": round(time.monotonic() - began, 3)}


def all_cases() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for number, policy in enumerate(("raise", "skip", "retry")):
        for cause in ("sigkill", "exit1", "sigsegv"):
            found.append(
                {"kind": "crowd", "name": "one_in_ten", "policy": policy, "cause": cause, "seed": number, "limit_s": 60}
            )
    for seed, (policy, method) in enumerate(
        (p, m) for p in ("raise", "retry") for m in ("apply_async", "imap_unordered")
    ):
        found.append(
            {"kind": "crowd", "name": "random_kills", "policy": policy, "method": method, "seed": seed, "limit_s": 60}
        )
    return found
