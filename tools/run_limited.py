"""Runs a command with a time limit that is enforced from outside: `run_limited.py SECONDS command [argument ...]`.

When the time is over the stacks of every process of the command's tree are printed, the tree is killed and the exit code is 124.
Also when the command ends by itself and leaves processes behind: they are named and killed, and the exit code is 125, because a
test that leaks processes has not passed. (This process is a subreaper: orphans of the tree come to it.)
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import subprocess
import sys
import time

from process_tree import children_of, describe, dump_stacks, kill_tree

PR_SET_CHILD_SUBREAPER = 36
SETTLE_SECONDS = 2.0


def wait_exit(process: subprocess.Popen[bytes], seconds: float) -> bool:
    """True once *process* has ended; by its pidfd, so without polling."""
    pidfd = os.pidfd_open(process.pid)
    try:
        return bool(select.select([pidfd], [], [], seconds)[0])
    finally:
        os.close(pidfd)


def left_behind() -> list[int]:
    """Processes of the tree that still live a moment after its root; the dead among them are reaped."""
    end = time.monotonic() + SETTLE_SECONDS
    while True:
        try:
            while os.waitpid(-1, os.WNOHANG)[0] != 0:
                pass
        except ChildProcessError:
            return []
        living = children_of(os.getpid())
        if time.monotonic() > end:
            return living
        time.sleep(0.01)


def main() -> int:
    if len(sys.argv) < 3:
        print(__doc__, file=sys.stderr)
        return 2
    seconds = float(sys.argv[1])
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    process = subprocess.Popen(sys.argv[2:])
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda _number, _frame: sys.exit(143))
    try:
        if not wait_exit(process, seconds):
            print(f"\n=== over the time limit of {seconds:g} s: {' '.join(sys.argv[2:])}", file=sys.stderr, flush=True)
            dump_stacks(process.pid, sys.stderr)
            return 124
        code = process.wait()
        living = left_behind()
        for pid in living:
            print(f"=== left behind by {sys.argv[2]}:\n{describe(pid)}", file=sys.stderr, flush=True)
        if living:
            return 125
        return code if code >= 0 else 128 - code
    finally:
        kill_tree(os.getpid(), with_root=False)


if __name__ == "__main__":
    sys.exit(main())
