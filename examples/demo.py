#!/usr/bin/env python3
"""`make demo`: parse every Python file of the running interpreter's standard library in a pool whose workers are killed all the time.

A second program (demo_killer.py) kills a worker from outside again and again, with SIGKILL, SIGSEGV or SIGTERM. The pool is told
on_death="retry": each lost file is parsed once more by another worker. At the end the totals are compared with those of a sequential run,
and what was killed, why, and how fast the news came is printed. Exit code 1 when the totals differ.
"""

from __future__ import annotations

import ast
import json
import statistics
import subprocess
import sys
import sysconfig
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from holdfast import Pool, Retry, WorkerDiedError

KILL_EVERY_S = 0.25
KILLER = Path(__file__).with_name("demo_killer.py")


class Count(NamedTuple):
    """What one file, or all of them, hold."""

    files: int = 0
    unparsable: int = 0
    functions: int = 0
    classes: int = 0
    lines: int = 0

    def plus(self, other: Count) -> Count:
        return Count(*(mine + theirs for mine, theirs in zip(self, other, strict=True)))

    def __str__(self) -> str:
        return (
            f"{self.files:,} files ({self.unparsable} of them do not parse: test data), "
            f"{self.functions:,} functions, {self.classes:,} classes, {self.lines:,} lines"
        )


def count(path: str) -> Count:
    """Parse one file. What does not parse (bad encodings, bad syntax: the standard library's test data) counts as such."""
    source = Path(path).read_bytes()
    lines = source.count(b"\n")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the sources' own making: invalid escapes and the like
            kinds = [type(statement) for statement in statements(ast.parse(source))]
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return Count(files=1, unparsable=1, lines=lines)
    functions = kinds.count(ast.FunctionDef) + kinds.count(ast.AsyncFunctionDef)
    return Count(1, 0, functions, kinds.count(ast.ClassDef), lines)


def statements(module: ast.Module) -> Iterator[ast.AST]:
    """All statements, however deep. Expressions are left out: no function or class statement is in one, and they are nine of ten nodes."""
    waiting: list[ast.AST] = [module]
    while waiting:
        node = waiting.pop()
        yield node
        for field in ("body", "orelse", "finalbody", "handlers", "cases"):
            waiting += getattr(node, field, ())


def wait_for_a_bullet(seconds: float) -> None:
    """The task of the last act."""
    time.sleep(seconds)


def sources() -> list[str]:
    """Every .py file of the standard library, without what is installed beside it."""
    root = Path(sysconfig.get_path("stdlib"))
    return sorted(str(path) for path in root.rglob("*.py") if "site-packages" not in path.parts)


def bar(items: Iterable[Count], total: int, title: str) -> Iterator[Count]:
    """A progress bar: tqdm's on a terminal where it is installed, else a plain one (one line in a log)."""
    try:
        if not sys.stderr.isatty():
            raise ImportError
        from tqdm import tqdm
    except ImportError:
        yield from plain_bar(items, total, title)
    else:
        yield from tqdm(items, desc=title, total=total, unit="file", ncols=100)


def plain_bar(items: Iterable[Count], total: int, title: str) -> Iterator[Count]:
    began = drawn = time.monotonic()
    for number, item in enumerate(items, 1):
        now = time.monotonic()
        if number == total or (now - drawn > 0.1 and sys.stderr.isatty()):
            drawn = now
            done = 40 * number // total
            print(
                f"\r{title}: |{'#' * done}{'.' * (40 - done)}| {number}/{total} {now - began:4.1f} s",
                end="",
                file=sys.stderr,
            )
        yield item
    print(file=sys.stderr)


def add_up(counts: Iterable[Count]) -> Count:
    total = Count()
    for one in counts:
        total = total.plus(one)
    return total


def start_killer() -> subprocess.Popen[str]:
    """The program outside; one line of JSON per kill on its standard output, and it ends when its standard input does."""
    command = [sys.executable, str(KILLER), str(KILL_EVERY_S)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def timed(action: Callable[[], Count]) -> tuple[Count, float]:
    began = time.monotonic()
    return action(), time.monotonic() - began


def under_fire(files: list[str]) -> Count:
    """The main job: all files through the pool while workers are shot; prints what happened to whom."""
    with Pool(on_death="retry", retry=Retry(max_retries=20)) as pool:
        killer = start_killer()
        total, seconds = timed(
            lambda: add_up(bar(pool.imap_unordered(count, files, chunksize=8), len(files), "holdfast  "))
        )
        kills = [json.loads(line) for line in killer.communicate()[0].splitlines()]
        deaths = pool.deaths()
    print(f"in the pool:   {total}  [{seconds:.1f} s]")
    print(f"killed from outside meanwhile: {len(kills)} workers")
    for death in deaths[:4]:
        under = "" if death.item is None else f" while parsing {Path(files[death.item]).name}: run again"
        print(f"    worker {death.pid} {death.describe()}{under}")
    if len(deaths) > 4:
        print(f"    ... and {len(deaths) - 4} more")
    news = [death.news_ns / 1e6 for death in deaths if death.news_ns is not None]
    if news:
        print(
            f"from the first sign of a death to the pool's decision: median {statistics.median(news):.2f} ms, most {max(news):.2f} ms"
        )
    return total


def one_bullet() -> None:
    """Without on_death="retry": what the caller gets, and how long after the kill."""
    with Pool(1) as pool:
        killer = start_killer()
        try:
            pool.apply(wait_for_a_bullet, (60,))
        except WorkerDiedError as error:
            known = time.monotonic_ns()
            killed = json.loads(killer.communicate()[0].splitlines()[0])
            after_ms = (known - killed["sent_ns"]) / 1e6
            print(
                f"without a retry the caller gets, {after_ms:.2f} ms after the kill (a process needs about 1 ms to end):"
            )
            print(f"    {type(error).__name__}: {error}")


def main() -> int:
    files = sources()
    print(
        f"{len(files):,} Python files under {sysconfig.get_path('stdlib')}; somebody kills a worker every {KILL_EVERY_S} s"
    )
    total = under_fire(files)
    sequential, seconds = timed(lambda: add_up(bar(map(count, files), len(files), "sequential")))
    print(f"one by one:    {sequential}  [{seconds:.1f} s]")
    one_bullet()
    same = total == sequential
    print("The totals are equal: nothing was lost, nothing was counted twice." if same else "THE TOTALS DIFFER")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
