"""What the scripts of this folder share: which pool is used, and a few words printed with the time.

Each script runs with holdfast by default and with the standard library's pool when `--stdlib` is among its arguments;
the second is there to see the hang (Ctrl-C, or `kill`, ends it). tests/faults/test_seeds.py runs both halves.
`python examples/seeds/*.py` comes out here, as the first name of the folder: it then runs all of them, one after the other.
SIGUSR1 prints every thread's stack: the test asks a hanging script with it where it waits.
"""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

STDLIB = "--stdlib" in sys.argv
_started = time.monotonic()

faulthandler.register(signal.SIGUSR1, all_threads=True)


def open_pool(processes: int, *, holdfast_only: dict[str, Any] | None = None, **arguments: Any) -> Any:
    """A pool of the asked kind; *holdfast_only* holds the keywords that the standard pool does not know."""
    if STDLIB:
        return multiprocessing.get_context("fork").Pool(processes, **arguments)
    import holdfast

    return holdfast.Pool(processes, context=multiprocessing.get_context("fork"), **arguments, **(holdfast_only or {}))


def say(text: str) -> None:
    """One line with the seconds since the start, written at once."""
    print(f"[{time.monotonic() - _started:6.3f} s] {text}", flush=True)


def wait_for(path: str, count: int = 1) -> list[int]:
    """Block until *count* tasks have written a line into *path* with `report_busy`; their pids."""
    while True:
        try:
            lines = Path(path).read_text().splitlines(keepends=True)
            pids = [int(line) for line in lines if line.endswith("\n")]
        except FileNotFoundError:
            pids = []
        if len(pids) >= count:
            return pids
        time.sleep(0.005)


def report_busy(path: str) -> None:
    """Called in a task: append this worker's pid to *path* (one write, so that lines never mix)."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC)
    os.write(descriptor, b"%d\n" % os.getpid())
    os.close(descriptor)


def have_own_terminal_group() -> None:
    """Lead a process group of one's own, so that `press_ctrl_c` reaches this script and its children, nobody else."""
    if os.getpgrp() != os.getpid():
        os.setpgid(0, 0)


def press_ctrl_c(path: str, count: int) -> None:
    """What the terminal does at Ctrl-C, SIGINT to every process of the foreground group: once, a little after *count* tasks
    have reported to *path*, while the main thread is in a call of the pool's (which a thread here cannot see: hence the 0.2 s).
    """

    def press() -> None:
        wait_for(path, count)
        time.sleep(0.2)
        say("Ctrl-C")
        os.killpg(os.getpgrp(), signal.SIGINT)

    threading.Thread(target=press, daemon=True).start()


def end() -> None:
    """The last line of every story."""
    say("the program ends")


def main() -> int:
    """Run the stories that are named (all of the folder when none is); the number of those that failed."""
    others = [argument for argument in sys.argv[1:] if not argument.startswith("-")]
    options = [argument for argument in sys.argv[1:] if argument.startswith("-")]
    stories = [Path(name) for name in others] or sorted(Path(__file__).parent.glob("[!_]*.py"))
    failed = []
    for story in stories:
        print(f"--- {story.stem}", flush=True)
        if subprocess.run([sys.executable, str(story), *options], check=False).returncode != 0:
            failed.append(story.stem)
    print(
        f"--- {len(stories) - len(failed)} of {len(stories)} stories ended well"
        + "".join(f"; not {name}" for name in failed)
    )
    return len(failed)


if __name__ == "__main__":
    sys.exit(main())
