"""Seed 000, "One more thing": a SIGALRM handler that raises fires at any bytecode, between tasks too.

A task leaves a repeating alarm behind. Standard pool: the exception hits the worker's own loop, between taking a task from the queue and
running it, or with the queue's lock half taken: the task, or the lock, is lost and somebody waits for ever. holdfast: the loop is
C++, so the exception is either the outcome of the task it hits or a warning that belongs to no task; every task has one outcome.
"""

import collections
import signal
import warnings

from _story import end, open_pool, say

TASKS = 20_000


def raise_timeout_error(signum, frame):
    raise RuntimeError("Time is up!")


def init_process():
    signal.signal(signal.SIGALRM, raise_timeout_error)
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)


def work(i):
    return i


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    outcomes = collections.Counter()
    with open_pool(2, initializer=init_process) as pool:
        say(f"{TASKS} tasks; an alarm raises in each worker every 1 ms, mostly while it is idle")
        for result in [pool.apply_async(work, (i,)) for i in range(TASKS)]:
            try:
                result.get()
                outcomes["done"] += 1
            except Exception as error:  # RuntimeError('Time is up!'); the standard pool has more to offer
                outcomes[f"raised {type(error).__name__}"] += 1
        say(f"outcomes: {dict(outcomes)}, in all {outcomes.total()} of {TASKS}")
    end()
