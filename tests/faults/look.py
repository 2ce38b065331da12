"""What a process holds, read from /proc: children, threads, descriptors, mappings; and which processes carry our tag.

Every process of a fault run inherits the environment entry TAG_NAME=<tag> from its runner, forked ones by keeping the
runner's environment page. That finds grandchildren that left the group and the session, which no parent link does.
"""

# Files are opened by name, as the kernel gives them (/proc, descriptors):
# ruff: noqa: PTH115, PTH123, PTH208
from __future__ import annotations

import os
import time
from dataclasses import dataclass, field

TAG_NAME = "HOLDFAST_FAULTS_TAG"
LEAK_NAMED_AFTER_S = 15.0


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""


def environment(pid: int | str) -> list[bytes]:
    """The environment that the process got at its last exec; empty for a zombie."""
    return _read(f"/proc/{pid}/environ").split(b"\0")


def tagged(tag: str) -> set[int]:
    """Pids of all living processes whose environment holds the tag (zombies have no environment)."""
    entry = f"{TAG_NAME}={tag}".encode()
    return {int(name) for name in os.listdir("/proc") if name.isdigit() and entry in environment(name)}


def stat_fields(pid: int) -> list[str]:
    """/proc/<pid>/stat from the third field (state) on; empty when there is no such process."""
    return _read(f"/proc/{pid}/stat").decode(errors="replace").rpartition(")")[2].split()


def state(pid: int) -> str:
    """One letter: R, S, D, T, Z; empty when the process is gone."""
    fields = stat_fields(pid)
    return fields[0] if fields else ""


def name(pid: int) -> str:
    """The short name of the main thread (top, ps)."""
    return _read(f"/proc/{pid}/comm").decode(errors="replace").strip()


def cpu_ticks(pid: int) -> int:
    """User and system time used so far, in clock ticks."""
    fields = stat_fields(pid)
    return int(fields[11]) + int(fields[12]) if fields else 0


def wants_processor(pid: int) -> bool:
    """Whether a thread of the process runs, is ready to, or waits for a disk."""
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return False
    return any(
        _read(f"/proc/{pid}/task/{thread}/stat").rpartition(b")")[2].split()[:1] in ([b"R"], [b"D"])
        for thread in threads
    )


def children(pid: int) -> set[int]:
    """Direct children of every thread of the process, zombies included."""
    found: set[int] = set()
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return found
    for thread in threads:
        found.update(map(int, _read(f"/proc/{pid}/task/{thread}/children").split()))
    return found


def describe(pid: int) -> str:
    """One process for a failure report: command, state, where each thread sleeps in the kernel."""
    command = _read(f"/proc/{pid}/cmdline").replace(b"\0", b" ").decode(errors="replace")[:120]
    lines = [f"pid {pid} state {state(pid)} parent {''.join(stat_fields(pid)[1:2])} command {command}"]
    try:
        threads = sorted(os.listdir(f"/proc/{pid}/task"), key=int)
    except OSError:
        threads = []
    for thread in threads:
        base = f"/proc/{pid}/task/{thread}"
        name, where = (
            _read(f"{base}/comm").decode(errors="replace").strip(),
            _read(f"{base}/wchan").decode(errors="replace"),
        )
        syscall = _read(f"{base}/syscall").decode(errors="replace").split()
        lines.append(f"    thread {thread} {name}: in {where or '?'}, syscall {syscall[0] if syscall else '?'}")
    return "\n".join(lines)


@dataclass
class Holdings:
    """What this process holds at one moment."""

    descriptors: dict[int, str] = field(default_factory=dict)
    threads: int = 0
    children: set[int] = field(default_factory=set)
    memory_files: int = 0  # mappings of memfds
    shared_names: set[str] = field(default_factory=set)  # /dev/shm
    tagged: set[int] = field(default_factory=set)


def holdings(tag: str) -> Holdings:
    """Look at the calling process."""
    found = Holdings(threads=len(os.listdir("/proc/self/task")), children=children(os.getpid()), tagged=tagged(tag))
    for name in os.listdir("/proc/self/fd"):
        try:
            found.descriptors[int(name)] = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            continue  # the descriptor of the listing itself
    found.memory_files = sum(b"memfd:" in line for line in _read("/proc/self/maps").splitlines())
    # Others on this machine (loky, joblib, multiprocessing's locks) come and go there; test_harness.py shows that our sources use no such name.
    found.shared_names = {name for name in os.listdir("/dev/shm") if "holdfast" in name or name.startswith("hf")}
    return found


def leaks(before: Holdings, after: Holdings) -> list[str]:
    """What *after* has and *before* had not, in words."""
    problems = []
    more = {number: link for number, link in after.descriptors.items() if number not in before.descriptors}
    if more:
        problems.append(f"descriptors left: {more}")
    if after.threads > before.threads:
        problems.append(f"threads left: {after.threads - before.threads}")
    if after.children - before.children:
        problems.append("children left: " + "; ".join(map(describe, after.children - before.children)))
    if after.memory_files > before.memory_files:
        problems.append(f"memfd mappings left: {after.memory_files - before.memory_files}")
    if after.shared_names - before.shared_names:
        problems.append(f"/dev/shm names left: {sorted(after.shared_names - before.shared_names)}")
    if after.tagged - before.tagged:
        problems.append("processes left: " + "; ".join(map(describe, after.tagged - before.tagged)))
    return problems


def wait_without_leaks(before: Holdings, tag: str) -> list[str]:
    """Look again until nothing is left; what is left after a time that is long for the busiest machine: a leak, and to be named."""
    deadline = time.monotonic() + LEAK_NAMED_AFTER_S
    while True:
        left = leaks(before, holdings(tag))
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.01)
