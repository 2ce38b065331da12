"""Tasks that take memory, for test_oom.py."""

import os
import signal
import time
from pathlib import Path

MIB = 1 << 20


def same(value):
    """Takes none."""
    return value


def take(mib):
    """Takes so many MiB, touched, and gives them back."""
    return len(bytearray(mib * MIB)) // MIB


def grow(mib, said, go_on):
    """Takes so many MiB, tells its pid, and takes as many again once it may."""
    blocks = [bytearray(mib * MIB)]
    Path(said).write_text(str(os.getpid()))
    Path(go_on).read_text()
    blocks.append(bytearray(mib * MIB))
    return len(blocks)


def wait(said, go_on):
    """Takes nothing, tells its pid, and waits for what nobody writes."""
    Path(said).write_text(str(os.getpid()))
    Path(go_on).read_text()


def take_slowly(mib):
    """Takes MiB after MiB, so that the readings see it grow."""
    blocks = []
    for _ in range(mib):
        blocks.append(bytearray(MIB))
        time.sleep(0.002)
    return len(blocks)


KEPT = []


def keep(mib):
    """Takes so many MiB and does not give them back: a leak."""
    KEPT.append(bytearray(mib * MIB))
    time.sleep(0.02)
    return os.getpid()


def take_and_wait(mib, go_on):
    """Takes so many MiB, and waits for what nobody writes."""
    block = bytearray(mib * MIB)
    Path(go_on).read_text()
    return len(block)


def kill_own(number=signal.SIGKILL):
    """Somebody sends this worker a signal."""
    os.kill(os.getpid(), number)
    time.sleep(60)
