"""The pairwise-covering part of the matrix, the odd values and the crowds, on holdfast; and that the harness itself can fail.

The cases run in batches (runners in processes of their own, two at a time, see harness.py); each then is a test of its own, so that a
failure carries its case. `make faults` runs the full product (run_all.py).
"""

from __future__ import annotations

import functools
import json
from typing import Any

import pytest

from faults import crowd, harness, matrix, values

SHORT_CROWDS = [case for case in crowd.all_cases() if case.get("cause", "sigkill") == "sigkill"]
# Which descriptors go through an exec of a task depends on how the worker itself was started.
EXECS = [case for case in values.all_cases(matrix.STARTS[1:]) if case["name"] == "task_becomes_another_program"]
BATCHES = {"matrix": matrix.pairwise(), "value": values.all_cases() + EXECS, "crowd": SHORT_CROWDS}


@functools.cache
def answers(batch: str) -> dict[str, dict[str, Any]]:
    """All answers of one batch by the name of the case; run when its first test asks."""
    return {matrix.name(answer["case"]): answer for answer in harness.Batch().run(BATCHES[batch])}


def held(batch: str, case: dict[str, Any]) -> None:
    answer = answers(batch)[matrix.name(case)]
    again = f"again: python tests/faults/run_all.py --case '{json.dumps(case)}'"
    assert not answer["problems"], "\n".join([*answer["problems"], again])


def named(cases: list[dict[str, Any]]) -> list[Any]:
    return [pytest.param(case, id=matrix.name(case)) for case in cases]


@pytest.mark.limit(240)
@pytest.mark.parametrize("case", named(BATCHES["matrix"]))
def test_every_item_has_its_outcome_and_nothing_is_left(case: dict[str, Any]) -> None:
    """A death by this cause at this moment costs what it may cost, no more, and the pool goes on."""
    held("matrix", case)


@pytest.mark.limit(240)
@pytest.mark.parametrize("case", named(BATCHES["value"]))
def test_odd_values_stay_with_their_task(case: dict[str, Any]) -> None:
    """What misbehaves in, on the way to or on the way from a task is the outcome of that task alone."""
    held("value", case)


@pytest.mark.limit(240)
@pytest.mark.parametrize("case", named(BATCHES["crowd"]))
def test_crowds_settle_each_task_once(case: dict[str, Any]) -> None:
    """Many tasks under many deaths."""
    held("crowd", case)


def test_pairwise_part_covers_every_pair_of_values() -> None:
    """Every two values of every two dimensions meet in at least one case."""
    keys = list(matrix.DIMENSIONS)
    cases = matrix.pairwise()
    for i, a in enumerate(keys):
        for b in keys[i + 1 :]:
            met = {(case[a], case[b]) for case in cases}
            assert len(met) == len(matrix.DIMENSIONS[a]) * len(matrix.DIMENSIONS[b]), f"{a} x {b}"
