"""Seed 000, "How to freeze a pool": a SIGTERM handler in the worker that raises an Exception.

Standard pool: at the end of `with`, terminate() sends SIGTERM; the exception becomes the task's result, the worker goes back to
its queue and terminate() waits for its exit for ever. holdfast: a stopping worker leaves after every task, a failed one too.
Seed 003 uses the same handler to make a killed task known; that works as well: the exception is the task's outcome.
"""

import os
import signal
import tempfile
import time

from _story import end, open_pool, report_busy, say, wait_for


class CleanUp(Exception):
    pass


def handle_term(signum, frame):
    raise CleanUp("oh no")


def init_process():
    signal.signal(signal.SIGTERM, handle_term)


def murder_bot(path):
    report_busy(path)
    time.sleep(1000)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, open_pool(2, initializer=init_process) as pool:
        results = [pool.apply_async(murder_bot, (f"{folder}/busy",)) for _ in range(2)]
        first, _ = wait_for(f"{folder}/busy", 2)
        os.kill(first, signal.SIGTERM)
        while not any(result.ready() for result in results):
            time.sleep(0.001)
        for result in results:
            if result.ready():
                try:
                    result.get()
                except CleanUp as error:
                    say(f"the task that got SIGTERM raised: {error!r}")
        say("end of `with`: terminate() while the other worker is busy")
    end()
