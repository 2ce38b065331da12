"""Seed 003, "Fork this mess": the task that kills its own worker with a plain `kill` (SIGTERM).

Standard pool: a replacement worker starts, the lost result never comes, `map` waits for ever.
holdfast: `map` raises WorkerDiedError with signal 15 and keeps the two results that were computed.
"""

import os

from _story import end, open_pool, say


def murder_bot(i):
    if i == 2:
        os.system(f"kill {os.getpid()}")  # Sorry kid, nothing personal
    return f"OK {i}"


if __name__ == "__main__":
    with open_pool(3) as pool:
        say("map over a task that sends SIGTERM to its own worker")
        try:
            pool.map(murder_bot, [1, 2, 3], chunksize=1)
        except Exception as error:
            say(f"{type(error).__name__}: {error}")
            say(f"signal {error.signal}, finished all the same: {error.partial}")
        say(f"the pool is still good: {pool.map(murder_bot, [1, 3])}")
    end()
