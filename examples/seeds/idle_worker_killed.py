"""Seeds 003 and 004: an idle worker is killed from outside.

Standard pool: an idle worker sleeps with the lock of the shared task queue in its hand; killed, it takes the lock along and
no worker ever reads a task again. (One worker here, so that it is certainly the one that holds the lock.)
holdfast: no lock is shared; a new worker stands there and the task runs. No task was lost, so nothing is raised.
"""

import os
import signal
import time
from pathlib import Path

from _story import end, open_pool, say


def wait_until_gone(pid):
    """Until the process has ended (a zombie counts: its exit is over)."""
    try:
        while Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z":
            time.sleep(0.001)
    except (FileNotFoundError, ProcessLookupError):
        pass


if __name__ == "__main__":
    with open_pool(1) as pool:
        pid = pool.apply(os.getpid)
        time.sleep(0.1)  # the standard pool's worker goes back to its queue; nothing to wait for shows when
        say(f"worker {pid} is idle; it is killed from outside")
        os.kill(pid, signal.SIGKILL)
        wait_until_gone(pid)
        other = pool.apply(os.getpid)
        say(f"the next task ran in worker {other}: a new one: {other != pid}")
    end()
