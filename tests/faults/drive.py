"""Open a pool of either kind and run items through one of its methods: one outcome per item, whatever the method.

Blocking calls are made without any time-out on purpose: that they end is what is tested. The limit comes from outside (harness.py).
"""

from __future__ import annotations

import multiprocessing
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

SKIPPED = "skipped by policy"  # the skip value of the pools opened here


@dataclass
class Outcome:
    """What became of one item: done (value), skipped, died (how), raised (what), broken, aborted, terminated, unknown."""

    kind: str
    value: Any = None
    how: dict[str, Any] = field(default_factory=dict)
    known_ns: int = field(default_factory=time.monotonic_ns)


def open_pool(stdlib: bool, start: str, processes: int, *, own: dict[str, Any] | None = None, **arguments: Any) -> Any:
    """A pool; *own* holds holdfast's keywords, which the standard pool is spared."""
    context = multiprocessing.get_context(start)
    if stdlib:
        return context.Pool(processes, **arguments)
    import holdfast

    return holdfast.Pool(processes, context=context, **arguments, **(own or {}))


def policy_arguments(policy: str) -> dict[str, Any]:
    """on_death and what goes with it."""
    return {"on_death": policy, "skip_value": SKIPPED}


def classify(error: BaseException) -> Outcome:
    """The outcome that an exception stands for."""
    names = [base.__name__ for base in type(error).__mro__]
    if "WorkerDiedError" in names:
        keys = ("exitcode", "signal", "pid", "attempts")
        how = {key: getattr(error, key, None) for key in keys}
        how["cause"] = getattr(getattr(error, "cause", None), "name", None) or str(getattr(error, "cause", None))
        return Outcome("died", how=how | {"text": str(error)})
    for kind, base in {
        "broken": "PoolBrokenError",
        "aborted": "PoolAbortedError",
        "terminated": "PoolTerminatedError",
    }.items():
        if base in names:
            return Outcome(kind, how={"text": str(error)})
    return Outcome("raised", how={"type": type(error).__name__, "text": str(error)})


def attempt(call: Callable[[], Any]) -> Outcome:
    """Run one blocking call. Every BaseException is data here; a Ctrl-C of the developer comes to the harness, not to us."""
    try:
        value = call()
    except BaseException as error:
        return classify(error)
    return Outcome("skipped") if value == SKIPPED else Outcome("done", value)


def _whole(count: int, call: Callable[[], Any]) -> list[Outcome]:
    """A map-like call: a list, or an exception with the finished part."""
    try:
        values = call()
    except BaseException as error:
        outcome = classify(error)
        partial = getattr(error, "partial", None)
        if partial is None:
            partial = getattr(error.__cause__, "partial", None)
        outcomes = [Outcome("unknown", how=outcome.how) for _ in range(count)]
        for index, value in (partial or {}).items():
            outcomes[index] = Outcome("skipped") if value == SKIPPED else Outcome("done", value)
        # The exception belongs to one of the others; which one, the caller knows by what it put there.
        for other in outcomes:
            if other.kind == "unknown":
                other.kind, other.known_ns = outcome.kind, outcome.known_ns
        return outcomes
    return [Outcome("skipped") if value == SKIPPED else Outcome("done", value) for value in values]


def _submit(submit: Callable[[], Callable[[], Any]]) -> Callable[[], Any]:
    """Submit now, read later. A submission that is refused (the pool is broken by now) is what reading then raises."""
    try:
        return submit()
    except Exception as error:
        refused = error

    def read() -> Any:
        raise refused

    return read


def _ordered(read: Callable[[], Any], count: int) -> list[Outcome]:
    return [attempt(read) for _ in range(count)]


def _unordered(read: Callable[[], Any], count: int) -> list[Outcome]:
    """Values find their place by the index they carry; failures fill the places that stay empty."""
    loose = [attempt(read) for _ in range(count)]
    places: list[Outcome | None] = [None] * count
    for outcome in loose:
        if outcome.kind == "done":
            places[outcome.value[0]] = outcome
    others = [outcome for outcome in loose if outcome.kind != "done"]
    return [place or (others.pop(0) if others else Outcome("unknown")) for place in places]


def _in_threads(pool: Any, function: Any, items: list[Any]) -> list[Outcome]:
    """`apply` from one thread per item, for the fault that needs all workers busy."""
    outcomes: list[Outcome] = [Outcome("unknown") for _ in items]

    def one(index: int) -> None:
        outcomes[index] = attempt(lambda: pool.apply(function, (items[index],)))

    threads = [threading.Thread(target=one, args=(index,)) for index in range(len(items))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes


def run(pool: Any, method: str, function: Any, items: list[Any], *, at_once: bool = False) -> list[Outcome]:
    """All items through `method` ("imap/3": name and chunksize); *at_once*: apply is called from several threads."""
    name, _, size = method.partition("/")
    count, chunksize = len(items), int(size)
    if name == "apply":
        if at_once:
            return _in_threads(pool, function, items)
        return [attempt(lambda item=item: pool.apply(function, (item,))) for item in items]  # type: ignore[misc]
    if name == "apply_async":
        calls = [_submit(lambda item=item: pool.apply_async(function, (item,)).get) for item in items]  # type: ignore[misc]
        return [attempt(call) for call in calls]
    if name == "map":
        return _whole(count, lambda: pool.map(function, items, chunksize))
    if name == "map_async":
        return _whole(count, _submit(lambda: pool.map_async(function, items, chunksize).get))
    if name == "starmap":
        return _whole(count, lambda: pool.starmap(function, [(item,) for item in items], chunksize))
    if name == "imap":
        return _ordered(_submit(lambda: pool.imap(function, iter(items), chunksize).__next__), count)
    if name == "imap_unordered":
        return _unordered(_submit(lambda: pool.imap_unordered(function, iter(items), chunksize).__next__), count)
    raise ValueError(f"no such method: {method}")
