"""A run's file (written by run.py) as medians by row and peer. Used by report.py and bars.py."""

from __future__ import annotations

import json
import math
import statistics
from pathlib import Path
from typing import Any

QUIET_CORES = 0.25  # what others may use of the machine for a measurement to count as quiet


class Missing(Exception):
    """The run has no such number; the text says why."""


def quantile(values: list[float], part: float) -> float:
    """The smallest value that at least *part* of the values do not exceed."""
    return sorted(values)[max(0, math.ceil(part * len(values)) - 1)]


class Results:
    """What was measured, in the lines' order. A row's samples of all rounds are one list."""

    def __init__(self, about: dict[str, Any], lines: list[dict[str, Any]]) -> None:
        self.about = about
        self.lines = lines
        self.sizes: dict[str, dict[str, Any]] = {}
        self._values: dict[tuple[str, str], list[float]] = {}
        self._words: dict[tuple[str, str], str] = {}
        self._others: dict[str, list[float]] = {}
        for line in lines:
            self._add(line)

    def _add(self, line: dict[str, Any]) -> None:
        for row, value in line.get("values", {}).items():
            self.sizes[row] = line["size"]
            self._others.setdefault(row, []).append(line["others"])
            if isinstance(value, str):
                self._words[row, line["peer"]] = value
            else:
                self._values.setdefault((row, line["peer"]), []).extend(value if isinstance(value, list) else [value])

    def values(self, row: str, peer: str) -> list[float]:
        """The numbers of all rounds. Missing: there are none."""
        found = self._values.get((row, peer))
        if not found:
            raise Missing(self._words.get((row, peer)) or self.error(row, peer) or "not part of this run")
        return found

    def median(self, row: str, peer: str) -> float:
        return statistics.median(self.values(row, peer))

    def error(self, row: str, peer: str) -> str:
        """The error of the row's workload on that peer, if it never gave a number."""
        from workloads.registry import WORKLOADS

        for line in self.lines:
            if line["peer"] == peer and "error" in line and row in WORKLOADS[line["workload"]].rows:
                return f"failed: {line['error'].splitlines()[0][:80]}"
        return ""

    def errors(self) -> list[dict[str, Any]]:
        return [line for line in self.lines if "error" in line]

    def others(self, row: str) -> float:
        """Cores that others used just before the row was measured, median."""
        return statistics.median(self._others.get(row, [0.0]))

    def quiet(self, row: str) -> bool:
        return self.others(row) <= QUIET_CORES


def load(path: Path) -> Results:
    about, *lines = [json.loads(line) for line in path.read_text().splitlines()]
    return Results(about, lines)
