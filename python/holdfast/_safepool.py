"""SafePool: a killed task leaves ``None`` in its place and everything else goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from ._options import Retry
from ._pool import Pool

__all__ = ["SafePool"]


class SafePool(Pool):
    """A Pool that does not stop at a killed worker: the result of the task it was running is ``None``, all others are kept.

    Args:
        processes: Number of workers; default: as many as there are processors to use.
        initializer: Called in each worker before its first task.
        initargs: Its arguments.
        maxtasksperchild: Chunks that a worker runs before a fresh one takes its place.
        retry_killed_tasks: Run killed tasks again, as often as *retry* says (3 times by default), before they become ``None``.
        abort_when_killed: Stop the pool at the first killed worker (with *retry_killed_tasks*: when no retry is left); waiting
            calls then raise :class:`SubProcessKilledException`.
        keywords: As for :class:`Pool`. ``on_error="skip"`` leaves ``None`` for tasks that raise, too.

    ``get_killed_tasks()`` lists what was killed.
    """

    def __init__(
        self,
        processes: int | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: Iterable[Any] = (),
        maxtasksperchild: int | None = None,
        retry_killed_tasks: bool = False,
        abort_when_killed: bool = False,
        **keywords: Any,
    ) -> None:
        """See the class."""
        last_resort = "abort" if abort_when_killed else "skip"
        if "on_death" in keywords:
            raise TypeError(
                "on_death is what retry_killed_tasks and abort_when_killed say; give on_death to Pool instead"
            )
        keywords.setdefault("retry", Retry(then=last_resort))  # type: ignore[arg-type]  # one of two literals
        keywords["on_death"] = "retry" if retry_killed_tasks else last_resort
        super().__init__(processes, initializer, initargs, maxtasksperchild, **keywords)
