"""What a worker tells the parent of an exception, and whether a signal handler raised it. Called by the task loop, with signals blocked.

A module of its own, and loaded late (``_worker.prepare``): it needs ``multiprocessing.pool`` and ``traceback``, a third of what a fresh
interpreter would import before its first task, and most workers never meet an exception.
"""

from __future__ import annotations

import signal
import traceback
from multiprocessing.pool import ExceptionWithTraceback, MaybeEncodingError  # type: ignore[attr-defined]  # not in typeshed
from types import FrameType

__all__ = ["describe", "is_from_handler"]

_PHASE_RESULT = 4  # RaisedPhase of raised.hpp
_PHASE_IDLE = 5
_NOTE_TEXT_LIMIT = 8192


def describe(
    exception: BaseException, phase: int, result: object, reason: BaseException | None
) -> tuple[object, str, str, str]:
    """Return what the parent is sent for *exception*: an object to pickle, and its type name, repr and traceback as text.

    *reason* is None at first; when the object could not be pickled this is called again with the error, and returns the standard
    pool's stand-in, MaybeEncodingError.
    """
    kind = type(exception)
    name = (
        kind.__qualname__
        if kind.__module__ in ("builtins", "__main__", "__mp_main__")
        else f"{kind.__module__}.{kind.__qualname__}"
    )
    text = "".join(traceback.format_exception(kind, exception, exception.__traceback__))
    shown = _safe_repr(exception)
    if phase == _PHASE_IDLE:
        return None, name, shown[:_NOTE_TEXT_LIMIT], text[-_NOTE_TEXT_LIMIT:]
    if phase == _PHASE_RESULT and result is not None:  # None can always be pickled: then it was not the result's fault
        return MaybeEncodingError(_Shown(shown), _Shown(_safe_repr(result))), name, shown, text
    if reason is not None:  # the standard pool shows its wrapper's repr here; the exception's own says what happened
        return MaybeEncodingError(_Shown(_safe_repr(reason)), _Shown(shown)), name, shown, text
    return ExceptionWithTraceback(exception, exception.__traceback__), name, shown, text


def is_from_handler(exception: BaseException, interrupted: bool) -> bool:
    """Whether *exception*, or one that it replaced, was raised by a signal handler in the middle of other code.

    *interrupted*: the pool has raised a SoftTimeoutError in the task, which is such a one, too.

    A handler's frame is known by its arguments: a signal's number, and the very frame that called it, which no ordinary call passes on.
    The interpreter's own handler, for SIGINT, has no frame: each KeyboardInterrupt counts.
    """
    seen: set[int] = set()
    queue: list[BaseException | None] = [exception]
    while queue:
        error = queue.pop()
        if error is None or id(error) in seen:
            continue
        seen.add(id(error))
        trace = error.__traceback__
        while trace is not None:
            if _is_handler_frame(trace.tb_frame):
                return True
            trace = trace.tb_next
        if isinstance(error, KeyboardInterrupt) or (interrupted and _is_soft_timeout(error)):
            return True
        queue += (error.__cause__, error.__context__)
    return False


def _is_soft_timeout(error: BaseException) -> bool:
    from ._errors import SoftTimeoutError  # it is loaded: one was raised

    return isinstance(error, SoftTimeoutError)


def _is_handler_frame(frame: FrameType) -> bool:
    if frame.f_back is None:
        return False
    values: list[object] = []
    for value in frame.f_locals.values():
        values += value if type(value) is tuple else (value,)  # def handler(*args) has both in one
    return any(value is frame.f_back for value in values) and any(
        isinstance(value, int) and 0 < value < signal.NSIG for value in values
    )


class _Shown:
    """Has the given repr: MaybeEncodingError asks for one, and the object's own may raise."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text


def _safe_repr(value: object) -> str:
    try:
        return repr(value)
    except BaseException:  # a user's __repr__ may raise anything, and the outcome must still be told
        return object.__repr__(value)
