"""Tasks of test_frozen.py."""

import os
import time
from pathlib import Path

_kept = []


def announce_and_sleep(path):
    """Puts this process's pid into the file, whole, and stays."""
    new = Path(path + ".new")
    new.write_text(str(os.getpid()))
    new.replace(path)
    time.sleep(1000)


def freeze_this_process(members, switch, on):
    """By the files of a cgroup (support/freezer.py): it stands before its time limit can have it killed."""
    Path(members).write_text(str(os.getpid()))
    Path(switch).write_text(on)
    time.sleep(1000)


def spawn_that_blocks(fifo):
    """posix_spawn whose child waits, before its exec, for a writer of the FIFO: this process waits for the child in vfork."""
    os.posix_spawn("/bin/true", ["true"], {}, file_actions=[(os.POSIX_SPAWN_OPEN, 0, fifo, os.O_RDONLY, 0)])


def keep_memory(size):
    """Holds that much memory, written to."""
    _kept.append(b"x" * size)
    return len(_kept[0])
