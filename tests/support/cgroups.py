"""cgroup file systems, for tests: where they are mounted, and cgroups of our own in them."""

import uuid
from pathlib import Path

from support.patience import until


def mounts(kind, option=""):
    """Where file systems of that kind ("cgroup", "cgroup2") are mounted: those with the option (a controller of version 1), if one is named."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _device, where, fstype, options, *_ = line.split()
        if fstype == kind and (not option or option in options.split(",")):
            yield Path(where)


def fresh_name():
    """For a cgroup that nobody else has."""
    return f"holdfast-test-{uuid.uuid4().hex[:12]}"


def remove(folder):
    """Removes a cgroup, once nothing lives in it."""

    def removed():
        try:
            folder.rmdir()
        except OSError:  # busy while a process that has ended is not reaped
            return False
        return True

    assert until(removed), "the cgroup stays busy"
