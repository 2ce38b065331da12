"""The harness must be able to fail: on a hang, on a leak, on a runner's death; and the cases hang on the standard pool."""

# Files are opened by name, as the kernel gives them (/proc, descriptors):
from __future__ import annotations

import os
import re
import subprocess
import sys
import uuid
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
        answer = runner.ask({"kind": "no such kind", "start": "fork"}, harness.LIMIT_S)
        assert "no such kind" in str(answer["problems"])
        runner.process.kill()
        assert runner.ask({"kind": "value", "name": "base_exceptions"}, harness.LIMIT_S).get("died")
    finally:
        runner.end()
    assert not look.tagged(runner.tag)


def test_leaks_are_seen() -> None:
    """A descriptor, a thread, a child and a memfd mapping left behind are each named."""
    tag = uuid.uuid4().hex
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


@pytest.mark.parametrize("start", matrix.STARTS)
def test_processes_of_every_start_method_carry_the_tag(start: str) -> None:
    """Workers, their zygote and a grandchild that left the session: what stays of them after a case would be seen."""
    tag = f"tag-of-{start}-{os.getpid()}"
    program = f"""
import subprocess, time
from multiprocessing import resource_tracker
from faults import look
import holdfast
if __name__ == "__main__":
    resource_tracker.ensure_running()
    while resource_tracker._resource_tracker._pid not in look.tagged({tag!r}):
        time.sleep(0.01)  # it has no environment in the middle of its exec
    before = look.holdings({tag!r})
    with holdfast.Pool(2, context={start!r}) as pool:
        workers = {{handle.pid for handle in pool._pool}}
        zygotes = {{int(look.stat_fields(pid)[1]) for pid in workers}}
        stray = pool.apply(subprocess.getoutput, ("setsid sleep 60 >/dev/null 2>&1 & echo $!",))
        while int(stray) not in look.tagged({tag!r}):
            time.sleep(0.01)  # as above
        seen = look.leaks(before, look.holdings({tag!r}))
        print(len(zygotes), workers | zygotes | {{int(stray)}} <= look.tagged({tag!r}) - before.tagged)
        kinds = ("descriptors", "threads", "memfd mappings", "processes", "children")
        print([kind for kind in kinds if f"{{kind}} left" not in str(seen)])
    pool.join()
    del pool
    print(look.wait_without_leaks(before, {tag!r}))
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {look.TAG_NAME: tag, "PYTHONPATH": os.pathsep.join([str(harness.TESTS), *filter(None, [os.environ.get("PYTHONPATH")])])},
        capture_output=True, text=True, timeout=50, check=False,
    )  # fmt: skip
    assert done.stdout == "1 True\n[]\n[]\n", done.stdout + done.stderr


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
    guilty = [str(path) for path in sources if re.search(r"\bshm_open\(|/dev/shm/|\bshared_memory\b", path.read_text())]
    assert not guilty, guilty
