"""Seed 003, "The OOM slayer": the signal that nobody can handle, here sent by the task to its own worker.

Standard pool: waits for ever. holdfast: the item is run once more by another worker (on_death="retry") and the map
is complete; without the keyword `map` would raise WorkerDiedError, as in sigterm_to_itself.py.
"""

import os
import signal
import tempfile
from pathlib import Path

from _story import end, open_pool, say


def shot_once(job):
    i, marker = job
    if i == 2 and not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return i * i


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, open_pool(3, holdfast_only={"on_death": "retry"}) as pool:
        say("map over five squares; the worker that computes the third is shot")
        squares = pool.map(shot_once, [(i, Path(folder, "shot")) for i in range(5)], chunksize=1)
        say(f"all of them: {squares}")
    end()
