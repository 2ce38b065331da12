"""The harness must be able to fail: on a hang, on a leak, on a runner's death; and the cases hang on the standard pool."""

# Files are opened by name, as the kernel gives them (/proc, descriptors):
from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from faults import harness, look, matrix

STDLIB_HANGS = [
    matrix.case(0, cause="sigkill", moment="running", method="map/1", policy="raise", grandchild="none", start="fork"),
    matrix.case(
        2, cause="sigkill", moment="init_always", method="apply/1", policy="raise", grandchild="none", start="fork"
    ),
    matrix.case(
        2, cause="exit0", moment="unpickling", method="apply_async/1", policy="raise", grandchild="none", start="fork"
    ),
    matrix.case(2, cause="exit1", moment="running", method="imap/1", policy="raise", grandchild="none", start="fork"),
    {"kind": "value", "name": "exception_cannot_be_rebuilt"},
]


@pytest.fixture(scope="module")
def stdlib_answers() -> list[dict[str, object]]:
    return harness.Batch(jobs=len(STDLIB_HANGS), limit_s=4.0, stdlib=True).run(STDLIB_HANGS)


@pytest.mark.parametrize("number", range(len(STDLIB_HANGS)), ids=[matrix.name(case) for case in STDLIB_HANGS])
def test_case_hangs_on_the_standard_pool(stdlib_answers: list[dict[str, object]], number: int) -> None:
    """The case is real: the standard pool hangs in it, and the harness reports stacks of the waiting threads."""
    answer = stdlib_answers[number]
    assert answer.get("hang"), answer
    assert "wait" in str(answer["problems"]), answer


def test_runner_that_dies_is_an_answer_and_its_processes_go() -> None:
    """A runner that ends without answering is reported with its log, and what it started is killed."""
    runner = harness.Runner(stdlib=True)
    try:
        answer = runner.ask({"kind": "no such kind", "start": "fork"}, 10)
        assert "no such kind" in str(answer["problems"])
        runner.process.kill()
        assert runner.ask({"kind": "value", "name": "base_exceptions"}, 10).get("died")
    finally:
        runner.end()
    assert not look.tagged(runner.tag)


def test_leaks_are_seen() -> None:
    """A descriptor, a thread, a child and a memfd mapping left behind are each named."""
    tag = "leaks-of-this-test"
    before = look.holdings(tag)
    descriptor = os.memfd_create("holdfast-leak")
    child = subprocess.Popen([sys.executable, "-c", "import sys; print(flush=True); sys.stdin.read()"],
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ | {look.TAG_NAME: tag})  # fmt: skip
    try:
        assert child.stdout is not None
        child.stdout.readline()
        left = "\n".join(look.leaks(before, look.holdings(tag)))
        assert "memfd:holdfast-leak" in left
        assert "children left" in left
        assert f"processes left: pid {child.pid}" in left
    finally:
        child.communicate()
        os.close(descriptor)
    assert look.leaks(before, look.holdings(tag)) == []


def test_no_source_makes_a_name_in_shared_memory() -> None:
    """P5: nothing in /dev/shm, ever. The look at /dev/shm after each case can only tell names that carry ours: so no code may make any."""
    root = Path(__file__).resolve().parents[2]
    sources = [
        path
        for folder in ("src", "include", "python")
        for path in (root / folder).rglob("*")
        if path.suffix in (".cpp", ".hpp", ".py")
    ]
    assert len(sources) > 50
    guilty = [str(path) for path in sources if re.search(r"\bshm_open\(|/dev/shm/|shared_memory", path.read_text())]
    assert not guilty, guilty
