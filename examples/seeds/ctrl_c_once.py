"""Seed 001, "Interrupting the workers": Ctrl-C during `wait`, then close() and join() as the seed's program does.

Standard pool: SIGINT reaches every process of the terminal's group; a worker whose task does not catch KeyboardInterrupt dies, its
result never comes, join() waits for ever. holdfast: the waiting call raises KeyboardInterrupt, so do the two running tasks (that is
their outcome), the queued ones still run, and join() ends.
"""

import tempfile
import time

from _story import end, have_own_terminal_group, open_pool, press_ctrl_c, report_busy, say


def worker(job):
    number, path = job
    report_busy(path)
    if number < 2:
        time.sleep(1000)
    return number


if __name__ == "__main__":
    have_own_terminal_group()
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/busy"
        pool = open_pool(2)
        result = pool.map_async(worker, [(number, path) for number in range(4)], chunksize=1)
        say("two tasks are running and two are queued; somebody presses Ctrl-C")
        press_ctrl_c(path, 2)
        try:
            result.wait(10)
        except KeyboardInterrupt:
            say("KeyboardInterrupt in the parent: close() and join()")
        pool.close()
        pool.join()
        try:
            result.get()
        except KeyboardInterrupt:
            say(f"the map's outcome is KeyboardInterrupt; finished all the same: {result.partial}")
    end()
