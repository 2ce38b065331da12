"""The program of test_stuck_hook.py."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import holdfast
from faults import control
from faults.programs import main, note, say


def blocks_in_a_fork_hook() -> None:
    """Its first worker is killed; the next one is stuck in a fork hook, before any code of the pool's."""
    stuck = Path(control.folder()) / "stuck"

    def hook() -> None:
        if stuck.exists():
            note(str(os.getpid()))
            while True:
                time.sleep(1000)

    os.register_at_fork(after_in_child=hook)
    pool = holdfast.Pool(1, context="fork")
    (zygote,) = pool.map(os_getppid, [0])
    stuck.touch()
    say("zygote", zygote)
    os.kill(pool._pool[0].pid, signal.SIGKILL)
    time.sleep(1000)


def os_getppid(_: object) -> int:
    return os.getppid()


if __name__ == "__main__":
    main(globals())
