"""The matrix: cause x moment x method x policy x grandchild x start method, in full and as a pairwise-covering part.

A case is a plain dict, so that it travels as JSON and a failing one can be pasted into `run_all.py --case`.
"""

from __future__ import annotations

import itertools
import random
from typing import Any

from faults.worker_side import CAUSES

MOMENTS = (
    "idle", "before_first", "unpickling", "reading_64m", "running", "pickling", "writing_64m", "after_commit",
    "init_always", "init_once", "all_at_once",
)  # fmt: skip
METHODS = (
    "apply/1", "apply_async/1", "map/1", "map/3", "map_async/1", "map_async/3", "starmap/1", "starmap/3",
    "imap/1", "imap/3", "imap_unordered/1", "imap_unordered/3",
)  # fmt: skip
POLICIES = ("raise", "skip", "retry")
GRANDCHILDREN = ("none", "group", "setsid")
STARTS = ("fork", "forkserver", "spawn")
DIMENSIONS = {
    "cause": CAUSES,
    "moment": MOMENTS,
    "method": METHODS,
    "policy": POLICIES,
    "grandchild": GRANDCHILDREN,
    "start": STARTS,
}

# Delays between "about to return 64 MiB" and the kill: from before the first byte to after the last, so that the sweep hits the middle.
WRITE_DELAYS_US = (0, 2_000, 8_000, 20_000, 35_000, 60_000, 100_000)


def case(seed: int, **choice: str) -> dict[str, Any]:
    """One case; *seed* turns the small wheels (delays, in-band or out-of-band, how the pool is ended)."""
    return {"kind": "matrix", "seed": seed, **choice}


def name(choice: dict[str, Any]) -> str:
    """How a case is called in reports."""
    if choice["kind"] != "matrix":
        return ":".join(
            str(choice[key]) for key in ("kind", "name", "start", "policy", "cause", "method") if key in choice
        )
    return "-".join(str(choice[key]) for key in DIMENSIONS) + f"#{choice['seed']}"


def full_product(starts: tuple[str, ...] = ("fork",)) -> list[dict[str, Any]]:
    """Every cause x moment x method x grandchild, under each start method asked for; the policy goes round."""
    cases = []
    product = itertools.product(starts, CAUSES, MOMENTS, METHODS, GRANDCHILDREN)
    for seed, (start, cause, moment, method, grandchild) in enumerate(product):
        policy = POLICIES[(seed + seed // 3 + seed // 36) % 3]  # each policy meets each pair of the others
        cases.append(
            case(seed, cause=cause, moment=moment, method=method, policy=policy, grandchild=grandchild, start=start)
        )
    return cases


def pairwise(seed: int = 20) -> list[dict[str, Any]]:
    """A small set in which every two values of every two dimensions meet at least once (greedy, repeatable)."""
    rng = random.Random(seed)
    keys = list(DIMENSIONS)
    missing = {
        ((a, x), (b, y)) for a, b in itertools.combinations(keys, 2) for x in DIMENSIONS[a] for y in DIMENSIONS[b]
    }
    cases = []
    while missing:
        best: dict[str, str] = {}
        best_covers: set[Any] = set()
        for _ in range(60):
            row = dict(rng.choice(sorted(missing)))  # a pair not met yet, the rest at random
            for key in keys:
                row.setdefault(key, rng.choice(DIMENSIONS[key]))
            covers = {((a, row[a]), (b, row[b])) for a, b in itertools.combinations(keys, 2)} & missing
            if len(covers) > len(best_covers):
                best, best_covers = row, covers
        missing -= best_covers
        cases.append(case(len(cases), **{key: best[key] for key in keys}))
    return cases
