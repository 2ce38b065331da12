#!/usr/bin/env python3
"""Prints the table of a bench run: median (lowest to highest round) of each peer, and how holdfast stands to the better peer.

    python bench/report.py [FILE]        (default: the newest of bench/results/)

Exit code 1 when a bar of the project is missed: holdfast faster than both peers on each row, death -> caller below 1 ms. A death is the end of
the process; the row that counts from the victim's last act also holds the kernel's work of ending it (1 ms), is shown beside it and has no bar.
"""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path
from typing import Any

from peers import PEERS
from workloads import UNITS

DEATH_BAR_US = 1000.0
FLAT_MIB = 32.0


def load(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    first, *rest = [json.loads(line) for line in path.read_text().splitlines()]
    return first, rest


def cell(values: list[Any], unit: str) -> str:
    """Median (lowest to highest), or the word that a hanging peer gets."""
    numbers = [value for value in values if not isinstance(value, str)]
    if not numbers:
        return values[0] if values else "-"
    return f"{statistics.median(numbers):.3g} {unit} ({min(numbers):.3g}-{max(numbers):.3g})"


def judge(row: str, by_peer: dict[str, list[Any]]) -> tuple[str, bool]:
    """How holdfast stands to the better peer, and whether the bar is met."""
    own = [value for value in by_peer["holdfast"] if not isinstance(value, str)]
    if not own:
        return "no value", False
    mine = statistics.median(own)
    others = [[v for v in by_peer[peer] if not isinstance(v, str)] for peer in PEERS[1:]]
    best = min((statistics.median(values) for values in others if values), default=None)
    if row.startswith("memory"):
        return f"{'flat' if mine < FLAT_MIB else 'grows'}", mine < FLAT_MIB
    if row == "death -> caller, from the last act":
        return f"{best / mine:.2f} x (no bar: most of it is the exit)" if best and mine else "-", True
    good = best is None or mine < best
    if row == "death -> caller, from the exit":
        good = good and mine < DEATH_BAR_US
    return ("peers hang" if best is None else f"{best / mine:.2f} x" if mine else "-"), good


def main() -> int:
    path = (
        Path(sys.argv[1])
        if len(sys.argv) > 1
        else max((Path(__file__).parent / "results").glob("*-python*.jsonl"), key=lambda p: p.stat().st_mtime)
    )
    about, lines = load(path)
    print(f"{about['cpu']}, {about['cores']} cores, Linux {about['kernel']}, Python {about['python']}, numpy {about['numpy']}, "
          f"{about['workers']} workers, {about['rounds']} rounds, {about['when']} (commit {about['commit']})\n")  # fmt: skip
    print("| workload | " + " | ".join(PEERS) + " | holdfast against the better peer |")
    print("|---|" + "---|" * (len(PEERS) + 1))
    missed = []
    for row, unit in UNITS.items():
        by_peer = {peer: [line[row] for line in lines if line["peer"] == peer and row in line] for peer in PEERS}
        if not any(by_peer.values()):
            continue
        stand, good = judge(row, by_peer)
        print(f"| {row} | " + " | ".join(cell(by_peer[peer], unit) for peer in PEERS) + f" | {stand} |")
        if not good:
            missed.append(row)
    errors = [line for line in lines if "error" in line]
    for line in errors:
        print(f"\nERROR {line['workload']} on {line['peer']}: {line['error']}")
    print(
        "\nEvery bar is met."
        if not missed and not errors
        else f"\nBars missed: {', '.join(missed) or 'see the errors'}"
    )
    return 1 if missed or errors else 0


if __name__ == "__main__":
    sys.exit(main())
