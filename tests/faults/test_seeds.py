"""Each script of examples/seeds: ends with holdfast and says the right thing; hangs with the standard pool.

The hang is shown, not guessed from the clock alone: for a second, longer than any pause of a story, nothing of its process tree uses the processor
or waits for it, then its main thread waits inside the standard library's pool (its stack, by SIGUSR1), and no result has come.
All of the standard halves run at the same time, and each is looked at until it has come to its hang. Measured on CPython 3.11.7, 3.12.1 and 3.13.0: every one of them hangs on all three
(sigalrm_while_idle in 24 runs of 24; it is a race that 20,000 tasks make certain), so there is no exception to list.
"""

# Files are opened by name, as the kernel gives them (/proc, descriptors):
from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import IO

import pytest

from faults import look
from support.patience import Stopwatch, seconds_left, until

SCRIPTS = Path(__file__).resolve().parents[2] / "examples" / "seeds"
STILL_S = 1.0
BUSY_S = 2.5  # without an end, for those that hang without being still

# script: what must be in the output with holdfast (regular expressions, in this order)
HOLDFAST = {
    "sys_exit_in_task": [r"WorkerDiedError: .+", r"exit code 1, finished all the same: \{0: 'hi'\}", r"still good: \[1, 2\]"],
    "sigterm_to_itself": [r"WorkerDiedError: .*SIGTERM", r"signal 15, .*\{0: 'OK 1', 2: 'OK 3'\}", r"still good"],
    "sigkill_to_itself": [r"all of them: \[0, 1, 4, 9, 16\]"],
    "sigsegv_to_itself": [r"result: \[0, 1, 4, None, 16, 25, 36, 49, 64, 81\]", r"killed tasks: \[\(<function square .*>, \(3,\)\)\]", r"children left: \[\]"],
    "busy_worker_killed": [r"WorkerDiedError after \d+\.\d ms: .*SIGKILL", r"signal 9: True", r"still good: 1"],
    "idle_worker_killed": [r"a new one: True"],
    "sigterm_handler_raises": [r"raised: CleanUp\('oh no'\)", r"end of `with`"],
    "sigalrm_while_idle": [r"in all 20000 of 20000"],
    "deaf_to_sigterm": [r"timed out", r"terminated; children left: \[\]"],
    "ctrl_c_once": [r"KeyboardInterrupt in the parent", r"outcome is KeyboardInterrupt; finished all the same: \{2: 2, 3: 3\}"],
    "ctrl_c_twice": [r"KeyboardInterrupt in the parent", r"KeyboardInterrupt in join", r"children left: \[\]"],
}  # fmt: skip

# script: the function of the standard library in which the main thread waits for ever
STDLIB = {
    "sys_exit_in_task": "in get", "sigterm_to_itself": "in get", "sigkill_to_itself": "in get", "sigsegv_to_itself": "in get",
    "busy_worker_killed": "in get", "idle_worker_killed": "in get", "sigterm_handler_raises": "in _terminate_pool",
    "sigalrm_while_idle": "in ", "deaf_to_sigterm": "in _terminate_pool", "ctrl_c_once": "in join", "ctrl_c_twice": "in join",
}  # fmt: skip
BUSY = {"sigalrm_while_idle"}  # its workers die and are replaced for ever: a hang that is not idle


def start(script: str, tag: str, log: IO[bytes], *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, str(SCRIPTS / f"{script}.py"), *arguments],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        env=os.environ | {look.TAG_NAME: tag},
        start_new_session=True,
    )


def kill_tree(process: subprocess.Popen[bytes], tag: str) -> None:
    """Everything that carries this test's tag, until nothing does."""
    deadline = time.monotonic() + 10
    while (left := look.tagged(tag)) and time.monotonic() < deadline:
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        time.sleep(0.01)
    process.kill()
    process.wait()


def text(log: IO[bytes]) -> str:
    log.seek(0)
    return log.read().decode(errors="replace")


def test_every_script_has_both_expectations() -> None:
    """A script without an expectation would not be tested."""
    scripts = {path.stem for path in SCRIPTS.glob("*.py") if not path.stem.startswith("_")}
    assert scripts == set(HOLDFAST) == set(STDLIB)


@pytest.mark.parametrize("script", HOLDFAST)
def test_seed_ends_with_holdfast(script: str) -> None:
    """The script ends by itself, with exit code 0 and the outcome that its seed asks for; nothing is left of it."""
    tag = uuid.uuid4().hex
    with tempfile.TemporaryFile() as log:
        process = start(script, tag, log)
        try:
            try:
                code = process.wait(seconds_left())
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGUSR1)
                time.sleep(0.3)
                pytest.fail(f"{script} hangs:\n{text(log)}")
            watch = Stopwatch()
            output = text(log)
            assert code == 0, output
            assert re.search(".*".join(HOLDFAST[script]), output, re.DOTALL), output
            assert until(lambda: not look.tagged(tag)), "processes are left"
            watch.check(1)
        finally:
            kill_tree(process, tag)


def test_the_shell_s_list_of_them_runs_each_one() -> None:
    """`python examples/seeds/*.py` gives the first file the others as arguments: it runs them, and counts those that fail."""
    first, *others = sorted(SCRIPTS.glob("*.py"))
    assert first.stem == "_story" and len(others) == len(HOLDFAST)
    arguments = [
        str(SCRIPTS / "sys_exit_in_task.py"),
        str(SCRIPTS / "missing.py"),
        str(SCRIPTS / "sigkill_to_itself.py"),
    ]
    done = subprocess.run(
        [sys.executable, str(first), *arguments], capture_output=True, text=True, timeout=50, check=False
    )
    assert done.returncode == 1, done.stderr
    assert re.search(
        "still good.*--- missing.*all of them: .*2 of 3 stories ended well; not missing", done.stdout, re.DOTALL
    )


class Hang:
    """One standard half: started, watched until the limit, asked for its stacks, killed."""

    def __init__(self, script: str) -> None:
        self.script, self.tag, self.log = script, uuid.uuid4().hex, tempfile.TemporaryFile()  # noqa: SIM115 - closed in end()
        self.process = start(script, self.tag, self.log, "--stdlib")
        self.began = time.monotonic()

    def ended(self) -> bool:
        return self.process.poll() is not None or "the program ends" in text(self.log)

    def rest(self) -> tuple[int, bool]:
        """Processor time used so far by its tree, and whether none of its threads wants any now."""
        tree = look.tagged(self.tag)
        return sum(map(look.cpu_ticks, tree)), not any(map(look.wants_processor, tree))

    def main_stack(self) -> str:
        """What faulthandler says of its main thread, the last in its list."""
        start = len(text(self.log))
        self.process.send_signal(signal.SIGUSR1)
        until(lambda: "in <module>" in text(self.log)[start:] or self.ended())
        said = text(self.log)
        return said[said.rfind("(most recent call first)") :]

    def verdict(self, rested: tuple[int, bool]) -> str:
        """ "" when it hangs as expected; *rested*: its rest() of STILL_S ago."""
        if self.ended():
            return f"it ended:\n{text(self.log)}"
        if self.script in BUSY:
            if time.monotonic() - self.began < BUSY_S:
                return "it has not run for long"
        elif not rested[1] or self.rest() != rested:
            return f"it still computes:\n{text(self.log)}"
        stack = self.main_stack()
        return "" if STDLIB[self.script] in stack else f"the main thread does not wait where expected:\n{stack}"

    def end(self) -> None:
        kill_tree(self.process, self.tag)
        self.log.close()


@pytest.fixture(scope="module")
def hangs() -> dict[str, str]:
    """For each script: "" when it hangs as expected, else what it did."""
    running = {script: Hang(script) for script in STDLIB}
    found: dict[str, str] = {}
    try:
        left = list(running.values())
        while left and seconds_left():
            rested = {hang.script: hang.rest() for hang in left}
            time.sleep(STILL_S)  # nothing to wait for: a hang has no event
            found |= {hang.script: hang.verdict(rested[hang.script]) for hang in left}
            left = [hang for hang in left if found[hang.script] and not hang.ended()]
        return found
    finally:
        for hang in running.values():
            hang.end()


@pytest.mark.limit(240)
@pytest.mark.parametrize("script", STDLIB)
def test_seed_hangs_with_the_standard_pool(hangs: dict[str, str], script: str) -> None:
    """The failure that the seed describes is there: the standard pool waits for ever, idle, in the named function."""
    assert not hangs[script], hangs[script]
