#!/usr/bin/env python3
"""`make faults`: the full product of causes, moments and methods, the odd values and the crowds, with a table at the end.

    python tests/faults/run_all.py [--jobs 2] [--starts fork,forkserver,spawn] [--only TEXT] [--skip TEXT] [--part i/n] [--pairwise] [--stdlib] [--case JSON]

Writes one JSON line per case to --out (build/faults/<kind of run>.jsonl by default). Exit code 0 when every case held. With --stdlib the
same cases run on the standard pool under a limit of 3 s, to show that they are real: the table then counts hangs.
"""

from __future__ import annotations

import argparse
import collections
import json
import platform
import statistics
import sys
import time
from pathlib import Path
from typing import Any, TextIO

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from faults import crowd, harness, matrix, values


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=2, help="runners at a time")
    parser.add_argument("--starts", default="fork", help="start methods, separated by commas")
    parser.add_argument("--only", default="", help="run only cases whose name contains this")
    parser.add_argument("--skip", default="", help="leave out cases whose name contains this")
    parser.add_argument("--part", default="0/1", help="i/n: every n-th case, from the i-th")
    parser.add_argument("--pairwise", action="store_true", help="the covering part that `make test` runs")
    parser.add_argument("--stdlib", action="store_true", help="the standard pool instead of holdfast")
    parser.add_argument("--case", default="", help="one case as JSON, from a report")
    parser.add_argument("--limit", type=float, default=0, help="seconds per case")
    parser.add_argument("--out", default="", help="file for the JSON lines")
    return parser.parse_args()


def chosen(options: argparse.Namespace) -> list[dict[str, Any]]:
    if options.case:
        return [json.loads(options.case)]
    starts = tuple(options.starts.split(","))
    cases = matrix.pairwise() if options.pairwise else matrix.full_product(starts)
    cases += values.all_cases(starts) + crowd.all_cases()
    cases = [case for case in cases if options.only in matrix.name(case)]
    if options.skip:
        cases = [case for case in cases if options.skip not in matrix.name(case)]
    index, count = map(int, options.part.split("/"))
    return cases[index::count]


def quantile(values_: list[float], share: float) -> float:
    return sorted(values_)[min(len(values_) - 1, int(len(values_) * share))] if values_ else float("nan")


def table(answers: list[dict[str, Any]]) -> str:
    """Per moment: cases, held, hangs, median and 99th percentile of the news from the exit."""
    groups: dict[str, list[dict[str, Any]]] = collections.defaultdict(list)
    for answer in answers:
        groups[answer["case"].get("moment") or answer["case"]["kind"]].append(answer)
    lines = [
        f"{'moment':14}{'cases':>7}{'held':>7}{'hangs':>7}{'news from exit, us: median':>29}{'p99':>9}{'from the last act':>20}"
    ]
    for group, members in [*groups.items(), ("all", answers)]:
        exits = [m["news_us"]["from_exit"] for m in members if "from_exit" in m.get("news_us", {})]
        acts = [m["news_us"]["from_death"] for m in members if "from_death" in m.get("news_us", {})]
        held, hangs = sum(not m["problems"] for m in members), sum("hang" in m for m in members)
        median = f"{statistics.median(exits):.0f}" if exits else "-"
        act = f"{statistics.median(acts):.0f}" if acts else "-"
        p99 = f"{quantile(exits, 0.99):.0f}" if exits else "-"
        lines.append(f"{group:14}{len(members):7}{held:7}{hangs:7}{median:>29}{p99:>9}{act:>20}")
    return "\n".join(lines)


def main() -> int:
    options = arguments()
    cases = chosen(options)
    kind = "stdlib" if options.stdlib else "pairwise" if options.pairwise else "full"
    out = Path(options.out or Path(__file__).resolve().parents[2] / "build" / "faults" / f"{kind}.jsonl")
    out.parent.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    with out.open("w") as file:
        file.write(
            json.dumps(
                {
                    "python": platform.python_version(),
                    "kernel": platform.release(),
                    "machine": platform.machine(),
                    "cases": len(cases),
                }
            )
            + "\n"
        )
        batch = harness.Batch(
            options.jobs, options.limit or (3.0 if options.stdlib else harness.LIMIT_S), options.stdlib
        )
        answers = batch.run(cases, lambda answer: report(answer, file, options.stdlib))
    print(table(answers))
    failed = [answer for answer in answers if answer["problems"]]
    print(
        f"{len(answers) - len(failed)} of {len(answers)} cases held in {time.monotonic() - began:.0f} s; JSON lines in {out}"
    )
    return 1 if failed and not options.stdlib else 0


def report(answer: dict[str, Any], file: TextIO, quiet: bool) -> None:
    """One line into the file; a failure on the screen at once, with what to run it again by."""
    file.write(json.dumps(answer) + "\n")
    file.flush()
    if answer["problems"] and not quiet:
        print(f"FAILED {matrix.name(answer['case'])}\n    " + "\n    ".join(answer["problems"]))
        print(f"    again: python tests/faults/run_all.py --case '{json.dumps(answer['case'])}'", flush=True)


if __name__ == "__main__":
    sys.exit(main())
