"""Checks of the keyword arguments: each error names the argument, what is allowed and what was given."""

from __future__ import annotations

import enum
import math
import numbers
import os
import re
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from . import _core

__all__ = [
    "UNSET",
    "CallOptions",
    "OnFailure",
    "PoolOptions",
    "Retry",
    "Unset",
    "check_bytes",
    "check_seconds",
    "default_processes",
]

OnFailure = Literal["raise", "skip", "retry", "abort"]

_ON_FAILURE: Final = ("raise", "skip", "retry", "abort")
_MAX_SECONDS: Final = 1e9  # 31 years: beyond it nanoseconds overflow


class Unset(enum.Enum):
    """The type of :data:`UNSET`, the default of per-call keywords: the pool's own setting counts."""

    UNSET = "unset"

    def __repr__(self) -> str:
        return "UNSET"


UNSET: Final = Unset.UNSET


def _choice(name: str, value: object, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, allowed))}, not {value!r}")


def _number(name: str, value: object, low: float, high: float, *, above: bool = False) -> None:
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name} must be a number, not {type(value).__name__}")
    number = float(value)
    if math.isnan(number) or number > high or number < low or (above and number == low):
        bound = f"above {low:g}" if above else f"at least {low:g}"
        raise ValueError(f"{name} must be {bound} and at most {high:g}, not {value!r}")


def check_seconds(name: str, value: object) -> None:
    """A time span, 0 included: the *grace* or *timeout* of one call."""
    _number(name, value, 0, _MAX_SECONDS)


def _count(name: str, value: object, low: int, high: int = 2**32 - 1) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} must be an integer, not {type(value).__name__}")
    if not low <= value <= high:
        raise ValueError(f"{name} must be at least {low} and at most {high}, not {value}")


def check_bytes(name: str, value: object) -> int:
    """Read a size in bytes: a number, or a text like "500MiB" (KiB, MiB, GiB, TiB; KB, MB, GB, TB for powers of 1000)."""
    if isinstance(value, str):
        read = _BYTES.fullmatch(value.strip())
        if read is None:
            raise ValueError(f'{name} must be a number of bytes or a text like "2GiB", not {value!r}')
        number, prefix, binary = read.groups()
        value = int(float(number) * (1024 if binary else 1000) ** (" KMGT".index(prefix.upper()) if prefix else 0))
    elif not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f'{name} must be a number of bytes or a text like "2GiB", not {type(value).__name__}')
    if not 0 < value < 2**63:
        raise ValueError(f"{name} must be at least 1 byte and less than 2**63, not {value}")
    return value


_BYTES: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(?:([KMGTkmgt])?(i)?B)?")


def default_processes() -> int:
    """Count the processors that this process may use: by its affinity and by the quota of its cgroup (1.5 are two).

    What the user has told Python (``-X cpu_count``, ``PYTHON_CPU_COUNT``; from 3.13 on) comes before both.
    """
    affinity = len(os.sched_getaffinity(0))
    told: int = getattr(os, "process_cpu_count", lambda: None)() or affinity
    return told if told != affinity else _core.allowed_cpus()


@dataclass(frozen=True)
class Retry:
    """How often and how soon a task is run again under a policy "retry", and what happens when no run is left.

    Attributes:
        max_retries: Runs after the first one.
        backoff: Seconds before the first retry; each further wait is *backoff_factor* times longer.
        backoff_factor: At least 1.
        backoff_max: No wait is longer than this, in seconds.
        jitter: 0 to 1: a wait w becomes something between w * (1 - jitter) and w * (1 + jitter).
        then: "raise", "skip" or "abort": what becomes of a task that has no run left, or is not to be run again.
        on: What is run again: causes of death as :class:`ExitReport` has them ("oom_killed", ...), "time_limit" for a task over its
            time, "raised" for one that raised; one word or several. Default: all for which the policy says "retry".
        deadline: No retry begins later than this many seconds after the task's first failure, its backoff counted in.
    """

    max_retries: int = 3
    backoff: float = 0.0
    backoff_factor: float = 2.0
    backoff_max: float = 30.0
    jitter: float = 0.1
    then: Literal["raise", "skip", "abort"] = "raise"
    on: str | tuple[str, ...] | None = None
    deadline: float | None = None

    def __post_init__(self) -> None:
        """Check every field."""
        _count("Retry(max_retries=...)", self.max_retries, 0)
        _number("Retry(backoff=...)", self.backoff, 0, _MAX_SECONDS)
        _number("Retry(backoff_factor=...)", self.backoff_factor, 1, 1e6)
        _number("Retry(backoff_max=...)", self.backoff_max, 0, _MAX_SECONDS)
        _number("Retry(jitter=...)", self.jitter, 0, 1)
        _choice("Retry(then=...)", self.then, ("raise", "skip", "abort"))
        if self.on is not None:
            if not isinstance(self.on, str | tuple | list | set | frozenset):
                raise TypeError(f"Retry(on=...) must be a word or a tuple of words, not {type(self.on).__name__}")
            for word in self.words():
                if not isinstance(word, str):
                    raise TypeError(f"Retry(on=...) must hold words, not {word!r}")
                _choice("Retry(on=...)", word, _RETRIED)
            if not isinstance(self.on, str):
                object.__setattr__(self, "on", tuple(self.on))  # hashable, as the rest
            if not self.words():
                raise ValueError(
                    "Retry(on=...) names nothing: to run nothing again, leave the policy at 'raise' or 'skip'"
                )
        if self.deadline is not None:
            _number("Retry(deadline=...)", self.deadline, 0, _MAX_SECONDS, above=True)

    def words(self) -> tuple[str, ...]:
        """List what *on* names; () = everything."""
        return () if self.on is None else (self.on,) if isinstance(self.on, str) else tuple(self.on)


_RETRIED: Final = (
    "exit_code",
    "signal",
    "oom_killed",
    "memory_limit",
    "time_limit",
    "protocol_error",
    "killed_by_unknown",
    "unknown_status",
    "raised",
)


@dataclass(frozen=True)
class CallOptions:
    """What may be said per call, with the pool's settings as defaults."""

    on_death: OnFailure = "raise"
    on_error: OnFailure = "raise"
    on_timeout: OnFailure = "raise"
    retry: Retry = Retry()  # immutable
    skip_value: Any = None
    task_timeout: float | None = None
    soft_timeout: float | None = None
    window: int | None = None

    def __post_init__(self) -> None:
        """Check every field."""
        _choice("on_death", self.on_death, _ON_FAILURE)
        _choice("on_error", self.on_error, _ON_FAILURE)
        _choice("on_timeout", self.on_timeout, _ON_FAILURE)
        if not isinstance(self.retry, Retry):
            raise TypeError(f"retry must be a holdfast.Retry, not {type(self.retry).__name__}")
        if self.task_timeout is not None:
            _number("task_timeout", self.task_timeout, 0, _MAX_SECONDS, above=True)
        if self.soft_timeout is not None:
            _number("soft_timeout", self.soft_timeout, 0, _MAX_SECONDS, above=True)
            if self.task_timeout is not None and self.soft_timeout >= self.task_timeout:
                raise ValueError(
                    f"soft_timeout must be less than task_timeout, not {self.soft_timeout!r} with a task_timeout of "
                    f"{self.task_timeout!r}: the task would be killed before it could clean up"
                )
        if self.window is not None:
            _count("window", self.window, 1)

    def policy(self) -> _core.Policy:
        """Turn it into what the extension takes with each call."""
        retry = self.retry
        return _core.Policy(
            self.on_death,
            self.on_error,
            self.on_timeout,
            retry.max_retries,
            float(retry.backoff),
            float(retry.backoff_factor),
            float(retry.backoff_max),
            float(retry.jitter),
            retry.then,
            retry.words(),
            float(retry.deadline or 0.0),
            float(self.task_timeout or 0.0),
            float(self.soft_timeout or 0.0),
            self.skip_value,
            self.window or 0,
        )

    def override(self, keywords: dict[str, Any]) -> CallOptions:
        """Return a copy with the per-call keywords that were given."""
        unknown = keywords.keys() - _CALL_KEYWORDS
        if unknown:
            raise TypeError(
                f"unexpected keyword argument {min(unknown)!r}; allowed per call: {', '.join(sorted(_CALL_KEYWORDS))}"
            )
        return replace(self, **keywords)


_CALL_KEYWORDS: Final = frozenset(CallOptions.__dataclass_fields__)


@dataclass(frozen=True)
class PoolOptions:
    """What may be said once per pool."""

    processes: int
    maxtasksperchild: int | None = None
    grace: float = 5.0
    max_restarts: int = 10
    max_deaths: int | None = None
    daemon: bool = True
    kill_children: bool = False
    recycle_after_async_exception: bool = False
    stall_warning: float | None = 60.0
    start_deadline: float = 60.0
    shared_results: bool = False
    shared_memory_limit: int | str | None = None
    memory_limit: int | str | None = None
    max_memory_per_child: int | str | None = None

    def __post_init__(self) -> None:
        """Check every field; the first two with the standard pool's words."""
        if not isinstance(self.processes, int):
            raise TypeError(f"processes must be an integer, not {type(self.processes).__name__}")
        if self.processes < 1:
            raise ValueError("Number of processes must be at least 1")
        _count("processes", self.processes, 1, 4096)
        if self.maxtasksperchild is not None and (
            not isinstance(self.maxtasksperchild, int) or self.maxtasksperchild <= 0
        ):
            raise ValueError("maxtasksperchild must be a positive int or None")
        _number("grace", self.grace, 0, _MAX_SECONDS)
        _count("max_restarts", self.max_restarts, 0)
        _number("start_deadline", self.start_deadline, 0, _MAX_SECONDS, above=True)
        if self.max_deaths is not None:
            _count("max_deaths", self.max_deaths, 1)
        if self.stall_warning is not None:
            _number("stall_warning", self.stall_warning, 0, _MAX_SECONDS, above=True)
        limits = {name: self.size_of(name) for name in ("shared_memory_limit", "memory_limit", "max_memory_per_child")}
        if 0 < limits["memory_limit"] <= limits["max_memory_per_child"]:
            raise ValueError(
                f"max_memory_per_child must be less than memory_limit, not {self.max_memory_per_child!r} with a memory_limit of "
                f"{self.memory_limit!r}: the worker would be killed before it could be replaced"
            )
        for name in ("daemon", "kill_children", "recycle_after_async_exception", "shared_results"):
            if not isinstance(getattr(self, name), bool):
                raise TypeError(f"{name} must be True or False, not {getattr(self, name)!r}")

    def size_of(self, name: str) -> int:
        """Return the limit *name* in bytes, 0 = none."""
        limit = getattr(self, name)
        return 0 if limit is None else check_bytes(name, limit)
