"""Seed 002, "Unraveling the Hang": a task calls sys.exit(1).

Standard pool: the worker is gone, its result never comes, `map` waits for ever.
holdfast: `map` raises WorkerDiedError that names the worker, the exit code and the task; the other result is kept.
"""

import sys

from _story import end, open_pool, say


def run(rank):
    if rank == 0:
        print("hi from rank 0", flush=True)
        return "hi"
    sys.exit(1)  # Exits abnormally for rank != 0


if __name__ == "__main__":
    with open_pool(2) as pool:
        say("map over a task that leaves with sys.exit(1)")
        try:
            pool.map(run, range(2), chunksize=1)
        except Exception as error:
            say(f"{type(error).__name__}: {error}")
            say(f"exit code {error.exitcode}, finished all the same: {error.partial}")
        say(f"the pool is still good: {pool.map(abs, [-1, -2])}")
    end()
