"""Seeds 003 and 004: somebody outside (the OOM killer, an operator) kills a worker in the middle of a task.

Standard pool: `get()` waits for ever. holdfast: the waiting call learns of it at once, with the pid and the signal.
"""

import os
import signal
import tempfile
import time

from _story import end, open_pool, report_busy, say, wait_for


def long_task(path):
    report_busy(path)
    time.sleep(1000)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, open_pool(2) as pool:
        result = pool.apply_async(long_task, (f"{folder}/busy",))
        [pid] = wait_for(f"{folder}/busy")
        say(f"worker {pid} is busy; it is killed from outside")
        os.kill(pid, signal.SIGKILL)
        before = time.monotonic()
        try:
            result.get()
        except Exception as error:
            say(f"{type(error).__name__} after {(time.monotonic() - before) * 1000:.1f} ms: {error}")
            say(f"it was worker {error.pid}, signal {error.signal}: {(error.pid, error.signal) == (pid, 9)}")
        say(f"the pool is still good: {pool.apply(abs, (-1,))}")
    end()
