"""Seed 001, "A first approach": the tasks catch KeyboardInterrupt and clean up; Ctrl-C comes again while they do.

Standard pool: the second SIGINT kills the workers in their handlers, and nothing ends: parent and workers are "in a condition
that appears to be a deadlock". holdfast: the second KeyboardInterrupt, in join(), stops the workers and join() ends.
"""

import multiprocessing
import tempfile
import time

from _story import end, have_own_terminal_group, open_pool, press_ctrl_c, report_busy, say


def worker(job):
    _, working, cleaning = job
    try:
        report_busy(working)
        time.sleep(1000)
    except KeyboardInterrupt:
        report_busy(cleaning)
        time.sleep(1000)  # Worker interrupted, cleaning up


if __name__ == "__main__":
    have_own_terminal_group()
    with tempfile.TemporaryDirectory() as folder:
        working, cleaning = f"{folder}/working", f"{folder}/cleaning"
        pool = open_pool(2, holdfast_only={"grace": 0.5})
        result = pool.map_async(worker, [(number, working, cleaning) for number in range(4)], chunksize=1)
        say("two tasks are running and two are queued; somebody presses Ctrl-C, and again while they clean up")
        press_ctrl_c(working, 2)
        press_ctrl_c(cleaning, 2)
        try:
            result.wait(10)
        except KeyboardInterrupt:
            say("KeyboardInterrupt in the parent: close() and join()")
        pool.close()
        while True:
            try:
                pool.join()
                break
            except KeyboardInterrupt:
                say("KeyboardInterrupt in join(); once more join()")
        say(f"children left: {multiprocessing.active_children()}")
    end()
