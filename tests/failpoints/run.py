"""Failpoints: at every point of src/sys/failpoint_table.hpp a process is killed, stopped or delayed, and the promises are looked at.

    run.py DRIVER kill [stop delay ...]     one program for each point and action (make test)
    run.py DRIVER --full [--jobs 4]         all programs and policies that reach a point, its first, middle and last time, once and always
    run.py DRIVER --case worker_claimed:kill:3 --program jobs --policy retry

First each program runs unharmed: that tells which points it passes, and a point that none passes fails the test. Then the runs proper. What is
judged: inside, by the driver (outcomes, results, losses, leaks); here, that it ends, in the right way, and that nothing outlives it.
"""

from __future__ import annotations

import argparse
import itertools
import random
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import programs
from programs import Point, Ran

ACTIONS = ("kill", "stop", "delay", "exit")
POLICIES = ("raise", "skip", "retry")
EXIT_CODE = 77  # src/sys/failpoint.cpp, kExitCode
KILLED = -9
ORPHANED = ("orphaned", "orphaned_alone")  # programs that kill their own pool's process
MANY = 1_000_000
OFTEN = 8
LOOKS = 3  # a point that a program passes each of so many times is one that it passes
REFUSED = 2


@dataclass(frozen=True)
class Case:
    point: Point
    action: str
    at: int
    always: bool
    program: str
    policy: str
    others: tuple[str, ...] = ()  # programs for when this one does not come by this time
    must_act: bool = True

    @property
    def orders(self) -> str:
        return f"{self.point.name}:{self.action}:{self.at}" + (":always" if self.always else "")

    def words(self) -> list[str]:
        """The driver's arguments: what may come of it."""
        words = [self.program, f"policy={self.policy}"]
        deadly = self.action in ("kill", "exit")
        if self.always:
            words += ["repeated", "broken", f"lost={MANY}"]
        elif deadly and self.point.side == "item":
            words.append("lost=1")
        if self.action == "stop" and self.point.side != "parent":
            words.append("stops")
        return words

    def right_code(self, acted: bool) -> int:
        if acted and self.point.side == "parent" and self.action in ("kill", "exit"):
            return KILLED if self.action == "kill" else EXIT_CODE
        return KILLED if self.program in ORPHANED else 0

    def may_leave_one(self) -> bool:
        """Parent, zygote and worker are ended by three different hands: nobody is left who knows of the rest."""
        if self.action == "delay" or self.program not in ORPHANED:
            return False
        if self.action == "stop" and self.point.name == "zygote_left":
            return True  # the zygote, when all but itself is dead
        # worker_born: stopped before it has asked to die with its zygote
        alone = self.program == "orphaned_alone"
        return alone and (self.point.side == "parent" or self.point.name in ("worker_orphaned", "worker_born"))

    def by_hand(self) -> str:
        return f"HOLDFAST_FAILPOINT={self.orders} hf_failpoint_driver {' '.join(self.words())}"


def complaints(case: Case, ran: Ran) -> list[str]:
    found = []
    if ran.code is None:
        found.append(f"P1/P4: it did not end in {programs.LIMIT_S:g} s (stacks above)")
    elif ran.code != case.right_code(ran.acts > 0) and not (case.program in ORPHANED and ran.code in (0, KILLED)):
        found.append(f"exit code {ran.code}, expected {case.right_code(ran.acts > 0)}")
    if ran.left and not case.may_leave_one():
        found.append(f"P5: left behind:\n{ran.left}")
    if ran.acts == 0 and case.must_act:
        found.append("the point was not reached")
    if found and ran.stderr:
        found.append(ran.stderr.rstrip())
    return found


def passed_points(driver: str, names: list[str], points: list[Point], jobs: int) -> dict[str, list[int]]:
    """Program -> how often it passes each point at least, unharmed. The check that there is no dead point."""
    hits: dict[str, list[int]] = {}
    with ThreadPoolExecutor(jobs) as pool:
        for name, ran in pool.map(lambda name: (name, programs.run(driver, [name])), names * LOOKS):
            right = KILLED if name in ORPHANED else 0
            if ran.code != right or ran.left:
                sys.exit(f"{name} fails without any failpoint: code {ran.code}\n{ran.stderr}{ran.left}")
            hits[name] = list(map(min, ran.hits, hits.get(name, ran.hits)))
    dead = [point.name for point in points if not any(count[point.index] for count in hits.values())]
    if dead:
        sys.exit("no program reaches, each time it runs: " + ", ".join(dead))
    return hits


def check_page(points: list[Point]) -> None:
    """docs/testing.md lists the points."""
    page = (programs.ROOT / "docs" / "testing.md").read_text(encoding="utf-8")
    if missing := [point.name for point in points if f"`{point.name}`" not in page]:
        sys.exit("docs/testing.md, Failpoints, does not name: " + ", ".join(missing))


def check_refusals(driver: str) -> None:
    """An order that makes no sense ends the program with a word that names it."""
    for orders, named in (
        ("nowhere:kill", '"nowhere"'),
        ("worker_takes:hurt", '"hurt"'),
        ("worker_takes:kill:0", '"0"'),
        ("worker_takes:kill:1x", '"1x"'),
        ("worker_takes:kill:1:twice", '"twice"'),
        ("worker_takes", '""'),
    ):
        ran = programs.run(driver, ["jobs"], orders)
        if ran.code != REFUSED or named not in ran.stderr:
            sys.exit(f"HOLDFAST_FAILPOINT={orders} is not refused: code {ran.code}, {ran.stderr}")


def short_cases(points: list[Point], hits: dict[str, list[int]], actions: list[str]) -> list[Case]:
    """Each point and action once; programs and policies in turn, by the table's order."""
    cases = []
    for action, point in itertools.product(actions, points):
        reaching = [name for name, count in hits.items() if count[point.index]]
        # Points that one run passes and the next may not (who sleeps when) are tried where they are passed often.
        most = max(hits[name][point.index] for name in reaching)
        sure = [name for name in reaching if hits[name][point.index] >= min(OFTEN, most)]
        turn = point.index + ACTIONS.index(action)
        first = sure[turn % len(sure)]
        others = tuple(name for name in reaching if name != first)
        cases.append(Case(point, action, 1, False, first, POLICIES[turn % len(POLICIES)], others))
    return cases


def full_cases(points: list[Point], hits: dict[str, list[int]], actions: list[str]) -> list[Case]:
    cases = []
    for action, point, (program, count), policy in itertools.product(actions, points, hits.items(), POLICIES):
        times = count[point.index]
        for at in sorted({1, times // 2, times} - {0} if times else ()):
            cases.append(Case(point, action, at, False, program, policy, must_act=False))
        # The orphans' items hang unless one of them ends it all, which always fails where its worker always dies.
        if times and point.side != "parent" and action != "stop" and program not in ORPHANED:
            cases.append(Case(point, action, 1, True, program, policy, must_act=False))
    return cases


def run_cases(driver: str, cases: list[Case], jobs: int) -> int:
    """Prints what is wrong and a summary; returns the number of failures."""
    began, failures, missed, slowest = time.monotonic(), 0, 0, 0.0

    def run(case: Case) -> tuple[Case, Ran]:
        ran = programs.run(driver, case.words(), case.orders)
        if ran.acts != 0 or ran.code is None or ran.left or not case.others:
            return case, ran
        return run(replace(case, program=case.others[0], others=case.others[1:]))

    with ThreadPoolExecutor(jobs) as pool:
        for case, ran in pool.map(run, cases):
            missed += ran.acts == 0
            slowest = max(slowest, 0 if case.may_leave_one() else ran.gone_after)
            found = complaints(case, ran)
            failures += bool(found)
            if found:
                print(f"FAILED {case.by_hand()}\n    " + "\n    ".join(found), flush=True)
    print(
        f"failpoints: {len(cases)} runs, {failures} failed, {missed} did not come to their point, "
        f"all gone after {slowest:.2f} s at most; {time.monotonic() - began:.0f} s"
    )
    return failures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("driver")
    parser.add_argument("actions", nargs="*", choices=[[], *ACTIONS], help="default: kill stop delay")
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--sample", type=int, help="so many of the full product, chosen by --seed")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=4, help="runs at a time; most of them sleep")
    parser.add_argument("--case", help="point:action[:n[:always]], with --program and --policy")
    parser.add_argument("--points", help="only those whose name contains this")
    parser.add_argument("--program", default="jobs")
    parser.add_argument("--policy", default="raise", choices=POLICIES)
    parser.add_argument("--repeat", type=int, default=1)
    arguments = parser.parse_args()
    actions = arguments.actions or ["kill", "stop", "delay"]
    points = programs.table()
    if arguments.case:
        name, action, at, always = (arguments.case.split(":") + ["", "1", ""][arguments.case.count(":") :])[:4]
        point = next((each for each in points if each.name == name), None)
        if point is None or action not in ACTIONS:
            parser.error(f"--case: no such point or action: {arguments.case}")
        cases = [Case(point, action, int(at), always == "always", arguments.program, arguments.policy)]
    else:
        names = subprocess.run([arguments.driver, "--list"], capture_output=True, text=True, check=True).stdout.split()
        check_page(points)
        check_refusals(arguments.driver)
        hits = passed_points(arguments.driver, names, points, arguments.jobs)
        chosen = [point for point in points if (arguments.points or "") in point.name]
        cases = (full_cases if arguments.full or arguments.sample else short_cases)(chosen, hits, actions)
        if arguments.sample:
            cases = random.Random(arguments.seed).sample(cases, min(arguments.sample, len(cases)))
    return 1 if run_cases(arguments.driver, cases * arguments.repeat, arguments.jobs) else 0


if __name__ == "__main__":
    sys.exit(main())
