"""The bars of the project's speed, and whether a run meets them. Pure: from Results to verdicts (tests/tools/test_bench.py).

`met` and `missed` are said of what was measured. `not measurable here` has its reason: the machine was not quiet where the bar means a quiet one,
a peer has no number, the workload was not part of the run, or the product does not have the feature yet. A figure that holdfast
itself failed to give is a missed bar.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from peers import HOLDFAST, RAY, STANDARD
from results_file import Missing, Results, quantile
from workloads.base import RAW

MET, MISSED, NOT_HERE = "met", "missed", "not measurable here"
Judge = Callable[[Results], tuple[str, bool]]  # what was measured, in words; whether that is enough


@dataclass(frozen=True)
class Bar:
    work: str
    bar: str
    row: str
    judge: Judge | None  # None: `why` it cannot be judged yet
    why: str = ""
    quiet: bool = False  # means a quiet machine


@dataclass(frozen=True)
class Verdict:
    bar: Bar
    word: str
    measured: str


def times_better(row: str, times: float, peer: str = STANDARD) -> Judge:
    """The peer needs at least *times* as much as holdfast."""

    def judge(results: Results) -> tuple[str, bool]:
        ratio = results.median(row, peer) / results.median(row, HOLDFAST)
        return f"{ratio:.3g} x", ratio >= times

    return judge


def at_most(row: str, limit: float, unit: str, part: float = 0.5, scale: float = 1.0) -> Judge:
    """holdfast's quantile *part* of all samples, in *unit* (the row's own times *scale*), is no more than *limit*."""

    def judge(results: Results) -> tuple[str, bool]:
        value = quantile(results.values(row, HOLDFAST), part) * scale
        return f"{value:.3g} {unit}".strip(), value <= limit

    return judge


def at_most_times(row: str, limit: float, other: str, peer: str) -> Judge:
    """holdfast's row is no more than *limit* times another row of the same run."""

    def judge(results: Results) -> tuple[str, bool]:
        ratio = results.median(row, HOLDFAST) / results.median(other, peer)
        return f"{ratio:.3g} x", ratio <= limit

    return judge


def at_least_of_memcpy(mib: int, part: float) -> Judge:
    """holdfast's view of *mib* MiB comes at no less than *part* of the speed of one memcpy of that size, in the same run."""

    def judge(results: Results) -> tuple[str, bool]:
        speed = mib * 2**20 / (results.median(f"array_view.{mib}", HOLDFAST) * 1e6)  # GB/s
        ratio = speed / results.median(f"limit.memcpy.{mib}", RAW)
        return f"{ratio:.2g} x ({speed:.3g} GB/s)", ratio >= part

    return judge


def later(work: str, bar: str, why: str) -> Bar:
    return Bar(work, bar, "", None, why)


def _arrays(mib: int) -> list[Bar]:
    return [
        Bar(f"{mib} MiB numpy array {way}", ">= 4 x multiprocessing.Pool", f"array_{way}.{mib}",
            times_better(f"array_{way}.{mib}", 4))
        for way in ("back", "in")
    ]  # fmt: skip


def _opening(method: str, workers: int) -> list[Bar]:
    return [
        Bar(f"first result of {pool} pool of {workers}, {method}", "no slower than multiprocessing.Pool", row,
            times_better(row, 1.0))
        for pool, row in (("the first", f"open.{method}.{workers}"), ("a further", f"open.{method}.{workers}.again"))
    ]  # fmt: skip


_QUIET = "apply, one at a time, machine quiet"
_NO_FUTURES = "there is no Executor yet"
BARS: list[Bar] = [
    Bar("apply_async, wait all", ">= 20 x multiprocessing.Pool", "apply_async", times_better("apply_async", 20)),
    Bar("apply_async: the caller's processor time", "<= 1/10 of multiprocessing.Pool's", "apply_async.cpu",
        times_better("apply_async.cpu", 10)),
    later("concurrent.futures.Futures", ">= 20 x ProcessPoolExecutor", _NO_FUTURES),
    Bar(_QUIET, "p50 <= 1.3 x a raw futex ping-pong", "apply", at_most_times("apply", 1.3, "limit.pingpong", RAW),
        quiet=True),
    Bar(f"{_QUIET}, a core free", "p50 <= 5 us", "apply", at_most("apply", 5.0, "us"), quiet=True),
    Bar("apply, one at a time, beside 15 busy processes", "p50 <= 1/4 of multiprocessing.Pool's", "apply.loaded",
        times_better("apply.loaded", 4)),
    Bar("map, default chunks, quiet", ">= 1.2 x multiprocessing.Pool", "map", times_better("map", 1.2), quiet=True),
    Bar("map, default chunks, beside 15 busy processes", ">= 0.95 x multiprocessing.Pool", "map.loaded",
        times_better("map.loaded", 0.95)),
    Bar("map, chunksize 1", ">= 20 x multiprocessing.Pool", "map.single", times_better("map.single", 20)),
    *(Bar(f"{call}, chunksize {size}", f">= {times} x multiprocessing.Pool", f"{call}.{size}",
          times_better(f"{call}.{size}", times))
      for size, times in ((1, 10), (100, 2)) for call in ("imap", "imap_unordered")),
    *(bar for mib in (1, 64, 512) for bar in _arrays(mib)),
    *(Bar(f"{mib} MiB numpy array back, as a view", ">= 0.7 x memcpy into a mapped shared segment", f"array_view.{mib}",
          at_least_of_memcpy(mib, 0.7)) for mib in (1, 64, 512)),
    Bar("512 MiB numpy array back, as a view", ">= 0.8 x Ray's object store", "array_view.512", times_better("array_view.512", 0.8, RAY)),
    Bar("death -> caller told", "median < 1 ms", "death.exit", at_most("death.exit", 1.0, "ms", scale=1e-3), quiet=True),
    Bar("death -> caller told", "p99 < 10 ms", "death.exit", at_most("death.exit", 10.0, "ms", 0.99, 1e-3), quiet=True),
    Bar("death -> replacement runs the next task, fork", "median < 2 ms", "replacement.fork",
        at_most("replacement.fork", 2.0, "ms", scale=1e-3), quiet=True),
    Bar("death -> replacement runs the next task, forkserver", "median < 15 ms", "replacement.forkserver",
        at_most("replacement.forkserver", 15.0, "ms", scale=1e-3), quiet=True),
    *(bar for method in ("fork", "forkserver", "spawn") for workers in (2, 8) for bar in _opening(method, workers)),
    Bar("heavy-tailed tasks, imap_unordered(1)", "makespan <= 1.02 x a greedy schedule", "tail.unordered",
        at_most("tail.unordered", 1.02, "x"), quiet=True),
    Bar("heavy-tailed tasks, map, default chunks", "makespan <= 1.02 x a greedy schedule", "tail.map",
        at_most("tail.map", 1.02, "x"), quiet=True),
    Bar("caller's memory, imap_unordered", "< 64 MiB growth", "memory.stream", at_most("memory.stream", 64, "MiB")),
    Bar("caller's memory, imap_unordered read slowly", "< 64 MiB growth", "memory.slow_reader",
        at_most("memory.slow_reader", 64, "MiB")),
    Bar("caller's memory, unfinished apply_async", "<= 200 bytes each beyond the payload", "memory.held",
        at_most("memory.held", 200, "bytes")),
    Bar("idle pool", "no voluntary switch", "idle", at_most("idle", 0, "switches")),
    Bar("apply_async with 64 workers", ">= half the throughput of 2", "workers_64",
        at_most_times("workers_64", 2.0, "workers_2", HOLDFAST)),
    Bar("apply_async with 64 workers: the caller's processor time", "does not grow: <= 1.2 x that of 2", "workers_64.cpu",
        at_most_times("workers_64.cpu", 1.2, "workers_2.cpu", HOLDFAST)),
]  # fmt: skip


def verdict(bar: Bar, results: Results) -> Verdict:
    if bar.judge is None:
        return Verdict(bar, NOT_HERE, bar.why)
    try:
        results.values(bar.row, HOLDFAST)
    except Missing as reason:
        failed = "failed" in str(reason)
        return Verdict(bar, MISSED if failed else NOT_HERE, str(reason))
    try:
        measured, good = bar.judge(results)
    except Missing as reason:
        return Verdict(bar, NOT_HERE, f"what it is compared with: {reason}")
    if bar.quiet and not results.quiet(bar.row):
        return Verdict(bar, NOT_HERE, f"{measured}, but others used {results.others(bar.row):.1f} cores")
    return Verdict(bar, MET if good else MISSED, measured)


def verdicts(results: Results) -> list[Verdict]:
    return [verdict(bar, results) for bar in BARS]
