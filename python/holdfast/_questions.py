"""What a pool can be asked about itself: lost tasks, deaths, counters, where its workers are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import _core, _services
from ._options import check_seconds
from ._report import ExitReport

__all__ = ["Questions"]


class Questions:
    """The part of :class:`holdfast.Pool` that only asks its engine. May be called at any time, from any thread."""

    _core: _core.Core

    def get_killed_tasks(self) -> list[tuple[Callable[..., Any], tuple[Any, ...]]]:
        """List ``(function, arguments)`` of every task that was lost to its worker's death or a time-out (no retry was left).

        They are unpickled now, by this call. In place of what cannot be unpickled stands the exception that says why.
        """
        return [
            (function, _services.arguments(mode, payload))
            for function, mode, payload, _report in self._core.killed_items()
        ]

    def deaths(self) -> list[ExitReport]:
        """List the reports of the workers that died under tasks, in order, also where the task was run again."""
        return list(self._core.death_reports())

    def stats(self) -> dict[str, int]:
        """Return the pool's counters."""
        return self._core.stats()

    def dump_stacks(self, timeout: float = 1.0) -> dict[int, str]:
        """Say where each worker is now, ``{pid: text}``: the stacks of its threads, or ``"no stack: "`` and why.

        The workers go on; see docs/stacks.md.

        Args:
            timeout: Seconds to wait for the answers at most: a worker may block signals.
        """
        check_seconds("timeout", timeout)
        return dict(self._core.dump_stacks(timeout))
