"""Results and iterators: the C types of the extension, as subclasses of the standard ones so that ``isinstance`` holds."""

from __future__ import annotations

import multiprocessing.pool
import traceback
import warnings
from typing import Any

from . import _core

__all__ = ["AsyncResult", "IMapIterator", "IMapUnorderedIterator", "MapResult", "StallWarning", "deliver"]


class StallWarning(RuntimeWarning):
    """A worker has been in one task for *stall_warning* seconds without using the processor."""


class AsyncResult(_core.ResultBase, multiprocessing.pool.ApplyResult):  # type: ignore[type-arg]  # not generic
    """The result of ``apply_async``: ``get``, ``wait``, ``ready``, ``successful`` as in the standard pool.

    Beyond it: no wait lasts for ever because of a dead worker, and of a map that failed ``partial`` holds what is done.
    """

    def __dir__(self) -> list[str]:
        """Leave out what is not there before the result is: a manager reads every name of a result that it gives out."""
        unset = () if self.ready() else ("_success", "_value")
        return [name for name in super().__dir__() if name not in unset]


class MapResult(AsyncResult, multiprocessing.pool.MapResult):  # type: ignore[type-arg]  # as above
    """The result of ``map_async`` and ``starmap_async``."""


class IMapIterator(_core.IteratorBase, multiprocessing.pool.IMapIterator):  # type: ignore[misc, type-arg]  # as above
    """The results of ``imap`` in input order; ``next(timeout)`` as in the standard pool.

    An item that failed raises where its result would stand; the iterator can be used further after that.
    """


class IMapUnorderedIterator(IMapIterator, multiprocessing.pool.IMapUnorderedIterator):  # type: ignore[misc, type-arg]  # as above
    """The results of ``imap_unordered`` in the order of their completion."""


def deliver(result: Any) -> None:
    """Run the callback of a finished result, then make it ready. In the dispatcher's thread, in completion order."""
    try:
        _success, value, callback = result._take_delivery()
        if callback is not None:
            try:
                callback(value)
            except BaseException as error:  # whatever a callback raises must not end the dispatcher
                _warn(f"a callback of {result!r} raised {type(error).__name__}: {error}", error)
    finally:
        result._delivered()


def deliver_note(texts: tuple[str, str, str], worker: int) -> None:
    """Show what was raised in a worker between two tasks: it belongs to no task, so it is a warning."""
    type_name, text, trace = texts
    _warn(f"in worker {worker}, between two tasks: {text} ({type_name})\n{trace}", None)


def deliver_stall(pid: int, seconds: float, stacks: str, method: str) -> None:
    """Show that a worker waits for something in one task; it goes on waiting."""
    message = (
        f"worker {pid} has been in one task for {seconds:.3g} s without using the processor. The task goes on; "
        "stall_warning=None silences this."
    )
    if method == "fork":
        message += (
            " If it waits for a lock: one that another thread of this program held when the workers were forked stays"
            ' locked in them for ever; context="forkserver" starts them without it.'
        )
    # The thread that wrote the stacks is none of the program's.
    threads = [text for text in stacks.split("\n\n") if text and "<no Python frame>" not in text]
    message += (
        "\nIts stacks:\n" + "\n\n".join(threads)
        if threads
        else "\nIts stacks cannot be had: it is in C code that holds the GIL."
    )
    _warn(message, None, StallWarning)


def _warn(message: str, error: BaseException | None, category: type[Warning] = RuntimeWarning) -> None:
    if error is not None:
        message += "\n" + "".join(traceback.format_exception(error))
    try:
        warnings.warn(message, category, stacklevel=2)
    except BaseException:  # warnings made errors: there is nobody here to catch them
        traceback.print_exc()
