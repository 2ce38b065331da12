"""The cgroup freezer, for tests: a real process that takes no signal, SIGKILL included, until it is released.

Version 1 holds a process in state D, deaf to SIGKILL; version 2 also stops it, but lets SIGKILL through. Both need a cgroup file system
that this user may write to: in practice root, and a container that mounts it.
"""

import os
import select

import pytest

from support import cgroups
from support.patience import seconds_left, until


class Freezer:
    """One cgroup of our own, and the processes that were put into it."""

    def __init__(self, folder, switch, on, off):
        folder.mkdir()
        self._folder = folder
        self._switch = folder / switch
        self._on, self._off = on, off
        self._pidfds = []

    def freeze(self, *pids):
        """Puts them in and stops them; returns when the kernel says that they stand."""
        for pid in pids:
            self._pidfds.append(os.pidfd_open(pid))
            (self._folder / "cgroup.procs").write_text(str(pid))
        self._switch.write_text(self._on)
        assert until(self._frozen), "the kernel did not freeze them"

    def files(self):
        """What a process needs to freeze itself: where to write its pid, then where to write what."""
        return str(self._folder / "cgroup.procs"), str(self._switch), self._on

    def wait_frozen(self, count):
        """Until so many have frozen themselves; their pids."""
        pids = []

        def stand():
            pids[:] = map(int, (self._folder / "cgroup.procs").read_text().split())
            return len(pids) == count and self._frozen()

        assert until(stand), "they did not freeze themselves"
        self._pidfds += map(os.pidfd_open, pids)
        return pids

    def _frozen(self):
        if self._switch.name == "freezer.state":
            return self._switch.read_text().strip() == "FROZEN"
        return "frozen 1" in (self._folder / "cgroup.events").read_text()

    def living(self):
        """How many of them have not ended."""
        return sum(not select.select([pidfd], [], [], 0)[0] for pidfd in self._pidfds)

    def thaw(self):
        """Lets them go on."""
        self._switch.write_text(self._off)

    def ended(self):
        """Whether all end."""
        return all(select.select([pidfd], [], [], seconds_left())[0] for pidfd in self._pidfds)

    def close(self):
        """Removes the cgroup; what is still in it goes back to the parent."""
        self.thaw()
        for pid in (self._folder / "cgroup.procs").read_text().split():
            (self._folder.parent / "cgroup.procs").write_text(pid)
        for pidfd in self._pidfds:
            os.close(pidfd)
        cgroups.remove(self._folder)


def make(version):
    """A freezer of that version; skips the test, and says why, where there is none to be had."""
    kinds = {
        1: ("cgroup", "freezer", "freezer.state", "FROZEN", "THAWED"),
        2: ("cgroup2", "", "cgroup.freeze", "1", "0"),
    }
    kind, option, switch, on, off = kinds[version]
    reason = f"no {kind} file system with a freezer is mounted"
    for mount in cgroups.mounts(kind, option):
        try:
            return Freezer(mount / cgroups.fresh_name(), switch, on, off)
        except OSError as error:
            reason = str(error)
    pytest.skip(f"nothing can be frozen here (cgroup version {version}): {reason}")
    return None
