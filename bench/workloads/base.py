"""What a workload is: a function from a Setting to the values of its rows, with the rows' titles and the sizes it is run at.

A value is a number, a list of samples (they are pooled over the rounds), or a word where a peer has no number ("hangs"). Sizes: `smoke` shows
that it works at all (tests), `quick` is for some minutes, `all` is what the bars mean. A workload without a size is not part of that set.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from peers import open_peer

Value = float | list[float] | str
SIZES = ("smoke", "quick", "all")
RAW = "raw limit"  # in the place of a peer: the machine itself


@dataclass(frozen=True)
class Setting:
    """What a workload is to be run on."""

    peer: str
    workers: int
    size: dict[str, Any]

    def open(self, workers: int | None = None, method: str = "fork", *, sharing: bool = False) -> Any:
        return open_peer(self.peer, workers or self.workers, method, sharing=sharing)


@dataclass(frozen=True)
class Row:
    title: str  # str.format gets the size's words
    unit: str


@dataclass(frozen=True)
class Workload:
    measure: Callable[[Setting], dict[str, Value]]
    rows: dict[str, Row]
    sizes: dict[str, dict[str, Any]]
    peers: tuple[str, ...] | None = None  # None: all that the run has
    also: tuple[str, ...] = ()  # and these, where they are installed: a bar names them
    load: int = 0  # busy processes beside it
    limit_s: float = 300
