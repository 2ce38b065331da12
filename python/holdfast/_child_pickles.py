"""Pickling for a process that is about to be started: locks, queues and descriptors go through, as they do as arguments of a Process.

Used by the caller (``_zygote.py``) and by the zygote of a spawn pool (``_clean_zygote.py``).
"""

from __future__ import annotations

import io
from multiprocessing import context, popen_spawn_posix, reduction

TYPE_CHECKING = False  # as in _worker.py
if TYPE_CHECKING:
    from typing import Any

__all__ = ["SpawningPopen", "pickle_for_child", "without_main"]


class SpawningPopen:
    """What multiprocessing's reducers ask for while something is pickled for a new process: descriptors keep their numbers."""

    method = "spawn"
    DupFd = popen_spawn_posix._DupFd  # what a reducer puts in place of a descriptor

    def __init__(self) -> None:
        self.fds: list[int] = []

    def duplicate_for_child(self, fd: int) -> int:
        self.fds.append(fd)
        return fd


def pickle_for_child(popen: SpawningPopen, *objects: object) -> bytes:
    """Pickle *objects*, one behind the other; *popen* collects the descriptors that must go along."""
    buffer = io.BytesIO()
    context.set_spawning_popen(popen)  # type: ignore[arg-type]  # it asks for no more than SpawningPopen has
    try:
        for item in objects:
            reduction.dump(item, buffer)
    finally:
        context.set_spawning_popen(None)
    return buffer.getvalue()


def without_main(preparation: dict[str, Any]) -> dict[str, Any]:
    """The same *preparation* for a process that is not to import the caller's ``__main__``."""
    return {key: value for key, value in preparation.items() if not key.startswith("init_main")}
