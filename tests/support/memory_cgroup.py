"""A memory cgroup for tests: a program that runs in it is killed by the kernel when it takes more than the limit.

Needs a memory controller that this user may write to: in practice root. Version 1 is what the test machines have; of version 2 a folder is
made at the mount's root, for a cgroup with processes in it may hand no controller down.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from support import cgroups
from support.patience import seconds_left

TESTS = Path(__file__).resolve().parents[1]


class MemoryCgroup:
    """One cgroup of our own with a limit in bytes."""

    def __init__(self, folder, version, limit):
        folder.mkdir()
        self.folder = folder
        self.version = version
        try:
            if version == 1:
                (folder / "memory.limit_in_bytes").write_text(str(limit))
                self._write_if_there("memory.memsw.limit_in_bytes", limit)  # or the rest would go to the swap
            else:
                (folder / "memory.max").write_text(str(limit))
                self._write_if_there("memory.swap.max", 0)
        except OSError:
            folder.rmdir()
            raise

    def _write_if_there(self, name, value):
        if (self.folder / name).exists():
            (self.folder / name).write_text(str(value))

    def oom_kills(self):
        """What the kernel has counted."""
        name = "memory.oom_control" if self.version == 1 else "memory.events"
        lines = (line.split() for line in (self.folder / name).read_text().splitlines())
        return next(int(words[1]) for words in lines if words[0] == "oom_kill")

    def run(self, program, *arguments):
        """Runs Python code in it to its end; ``(stdout, stderr, exit code)``."""
        join = f"open({str(self.folder / 'cgroup.procs')!r}, 'w').write('0')\n"
        done = subprocess.run(
            [sys.executable, "-c", join + program, *arguments],
            capture_output=True,
            text=True,
            timeout=seconds_left(),
            check=False,
            env=os.environ | {"PYTHONPATH": f"{TESTS}:{TESTS / 'python'}"},
        )
        return done.stdout, done.stderr, done.returncode

    def close(self):
        """Removes it."""
        cgroups.remove(self.folder)


def _places():
    for mount in cgroups.mounts("cgroup", "memory"):
        own = next(
            path.strip()
            for _number, controllers, path in (
                each.split(":", 2) for each in Path("/proc/self/cgroup").read_text().splitlines()
            )
            if "memory" in controllers.split(",")
        )
        yield 1, Path(f"{mount}{own.rstrip('/')}")
        yield 1, mount
    for mount in cgroups.mounts("cgroup2"):
        if "memory" in (mount / "cgroup.controllers").read_text().split():
            yield 2, mount


def make(limit):
    """A cgroup with that limit; skips the test, and says why, where there is none to be had."""
    reason = "no cgroup file system with a memory controller is mounted"
    for version, place in _places():
        try:
            return MemoryCgroup(place / cgroups.fresh_name(), version, limit)
        except OSError as error:
            reason = str(error)
    pytest.skip(f"no memory cgroup can be made here: {reason}")
    return None
