"""Pickling by value for what pickle refuses: lambdas, closures, things of a ``__main__`` that workers cannot import.

Imported by the extension (python/bindings/pickling.cpp) the first time it is needed, so that programs that never need
cloudpickle do not pay for its import.
"""

from __future__ import annotations

import pickle
from collections import ChainMap
from collections.abc import Callable
from multiprocessing.reduction import ForkingPickler
from typing import IO, Any, ClassVar

import cloudpickle

__all__ = ["CloudForkingPickler", "poison"]


class CloudForkingPickler(cloudpickle.CloudPickler):  # type: ignore[misc]  # cloudpickle has no type hints
    """cloudpickle's pickler that also honours the reducers registered with multiprocessing's ForkingPickler."""

    # A class attribute and not one set in __init__: the C pickler looks it up once, while it is being made.
    # The first map is the live registry: reducers registered later count, too.
    dispatch_table: ClassVar[ChainMap[Any, Any]] = ChainMap(
        ForkingPickler._extra_reducers,  # type: ignore[attr-defined]  # multiprocessing's registry has no public name
        *cloudpickle.CloudPickler.dispatch_table.maps,
    )

    def __init__(
        self,
        file: IO[bytes],
        protocol: int,
        fix_imports: bool,
        buffer_callback: Callable[[Any], Any],
    ) -> None:
        """Take the arguments as ForkingPickler does (by position); *fix_imports* means nothing at protocol 5."""
        super().__init__(file, protocol, buffer_callback)


class _Poison:
    """Stands for an object that pickle refused: unpickling it raises the refusal, in the worker, as the task's own error."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __reduce__(self) -> tuple[Callable[[BaseException], None], tuple[BaseException]]:
        return _raise, (self.error,)


def _raise(error: BaseException) -> None:
    raise error


def poison(error: Exception) -> object:
    """Make what is sent in place of an object whose pickling raised *error*, so that only its own task fails."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # whatever a user's exception does while it is pickled
        error = pickle.PicklingError(f"{type(error).__name__}: {error}")
    return _Poison(error)
