#!/usr/bin/env python3
"""Prints what a bench run has found, in Markdown: a table of every row and peer, and one of the bars: met, missed or not measurable here.

    python bench/report.py [FILE]        (default: the newest of build/bench/)
    python bench/report.py FILE --into   the same, into docs/speed.md, and some rows into README.md

Cells are medians (lowest to highest round; where many were timed one by one: 99th percentile of all). The last column is what the standard
Pool needs for each of holdfast's. Exit code 1 when a bar is missed or a workload failed.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from pathlib import Path

from bars import MET, MISSED, Verdict, verdicts
from markers import write_into
from peers import HOLDFAST, STANDARD
from results_file import QUIET_CORES, Missing, Results, load, quantile
from workloads.base import RAW, Row
from workloads.registry import WORKLOADS

HOME = Path(__file__).resolve().parent.parent
# What the README shows.
IN_SHORT = (
    "apply_async", "map", "map.single", "imap_unordered.1", "apply", "apply.loaded", "array_back.64", "array_in.64", "death.exit",
    "replacement.fork", "open.fork.2", "open.forkserver.2", "tail.map", "memory.held", "idle",
)  # fmt: skip
MANY = 15  # values; fewer are shown as lowest to highest


def cell(results: Results, row: str, peer: str, unit: str) -> str:
    try:
        values = results.values(row, peer)
    except Missing as reason:
        return "" if "not part" in str(reason) else str(reason)
    middle = f"{statistics.median(values):.3g} {unit}".strip()
    if len(values) >= MANY:
        return f"{middle} (p99 {quantile(values, 0.99):.3g})"
    return middle if len(values) == 1 else f"{middle} ({min(values):.3g}-{max(values):.3g})"


def against_standard(results: Results, row: str) -> str:
    try:
        own, other = results.median(row, HOLDFAST), results.median(row, STANDARD)
    except Missing:
        return ""
    return f"{other / own:.3g} x" if own > 0 < other else ""


def heading(results: Results) -> str:
    about = results.about
    loads = [line["load"] for line in results.lines]
    others = [line["others"] for line in results.lines]
    text = (
        f"{about['cpu']}, {about['cores']} cores, Linux {about['kernel']}, Python {about['python']}, "
        f"numpy {about['versions']['numpy']}, {about['workers']} workers, {about['rounds']} rounds of the size {about['size']}, "
        f"scheduling policy: {about['policy']}, {about['when']} (commit {about['commit']})\n\n"
        f"Load average {min(loads):.1f} to {max(loads):.1f}; others used {statistics.median(others):.1f} cores (median before each cell)."
    )
    if statistics.median(others) > QUIET_CORES:
        text = f"**Measured under load: times are no benchmark, ratios are rough.**\n\n{text}"
    return text


def rows_table(results: Results, only: tuple[str, ...] = ()) -> str:
    peers = results.about["peers"]
    lines = [
        "| workload | " + " | ".join(peers) + f" | {STANDARD} / {HOLDFAST} |",
        "|---" * (len(peers) + 2) + "|",
    ]
    rows: dict[str, Row] = {}
    for workload in WORKLOADS.values():
        if workload.peers != (RAW,):
            rows |= workload.rows
    for name, row in rows.items():
        if only and name not in only:
            continue
        cells = [cell(results, name, peer, row.unit) for peer in peers]
        if any(cells):
            title = row.title.format(**results.sizes.get(name, {}))
            lines.append(f"| {title} | " + " | ".join(cells) + f" | {against_standard(results, name)} |")
    return "\n".join(lines)


def limits_table(results: Results) -> str:
    lines = ["| limit of the machine | |", "|---|---|"]
    for name, row in WORKLOADS["limits"].rows.items():
        found = cell(results, name, RAW, row.unit)
        if found:
            lines.append(f"| {row.title.format(**results.sizes[name])} | {found} |")
    return "\n".join(lines) if len(lines) > 2 else ""


def bars_table(found: list[Verdict]) -> str:
    lines = ["| work | bar | measured | verdict |", "|---|---|---|---|"]
    for one in found:
        word = f"**{one.word}**" if one.word == MISSED else one.word
        lines.append(f"| {one.bar.work} | {one.bar.bar} | {one.measured} | {word} |")
    counts = {word: sum(one.word == word for one in found) for word in (MET, MISSED)}
    rest = len(found) - sum(counts.values())
    return "\n".join([*lines, "", f"{counts[MET]} bars met, {counts[MISSED]} missed, {rest} not measurable here."])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", nargs="?", type=Path)
    parser.add_argument("--into", action="store_true", help="write the tables into the documentation")
    options = parser.parse_args()
    runs = (HOME / "build" / "bench").glob("*.jsonl")
    results = load(options.file or max(runs, key=lambda run: run.stat().st_mtime))
    found = verdicts(results)
    if options.into:
        tables = [heading(results), rows_table(results), limits_table(results), bars_table(found)]
        write_into(HOME / "docs" / "speed.md", "bench", "\n\n".join(filter(None, tables)))
        write_into(HOME / "README.md", "bench", f"{heading(results)}\n\n{rows_table(results, IN_SHORT)}")
    else:
        print(f"{heading(results)}\n\n{rows_table(results)}\n\n{limits_table(results)}\n")
        for line in results.errors():
            print(f"ERROR {line['workload']} on {line['peer']}, round {line['round'] + 1}: {line['error']}\n")
        print(bars_table(found))
    return 1 if any(one.word == MISSED for one in found) or results.errors() else 0


if __name__ == "__main__":
    sys.exit(main())
