"""Looking at and ending a tree of processes, for tests that hang. Standard library only; Linux.

descendants(), dump_stacks() and kill_tree() read /proc and never touch a process outside the tree they are given.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import TextIO

DUMP_SECONDS = 20


def children_of(pid: int) -> list[int]:
    found: list[int] = []
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(OSError):
                found.extend(int(word) for word in (task / "children").read_text().split())
    except OSError:
        pass
    return found


def descendants(pid: int) -> list[int]:
    """All below *pid*, parents before their children, without *pid* itself."""
    found = children_of(pid)
    for one in found:
        found.extend(child for child in children_of(one) if child not in found)
    return found


def _read(path: str) -> str:
    try:
        return Path(path).read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError as error:
        return f"<{error.strerror}>"


def _run(command: list[str]) -> str:
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=DUMP_SECONDS,
            check=False,
        )
        return done.stdout.decode(errors="replace").strip()
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"<{command[0]}: {error}>"


def _stacks_of(pid: int) -> str:
    py_spy = shutil.which("py-spy") or shutil.which("py-spy", path=str(Path(sys.executable).parent))
    is_python = "python" in _read(f"/proc/{pid}/maps")
    if is_python and py_spy is not None:
        return _run([py_spy, "dump", "--native", "--pid", str(pid)])
    if shutil.which("gdb") is not None:
        text = _run(
            [
                "gdb",
                "-nx",
                "-q",
                "-batch",
                "-iex",
                "set debuginfod enabled off",
                "-p",
                str(pid),
                "-ex",
                "thread apply all bt 25",
            ]
        )
        return "\n".join(line for line in text.splitlines() if line.startswith(("#", "Thread", "<")))
    return "<no py-spy and no gdb: only the kernel's view above>"


def describe(pid: int) -> str:
    status = dict(line.split(":", 1) for line in _read(f"/proc/{pid}/status").splitlines() if ":" in line)
    wanted = ("State", "PPid", "Threads", "SigPnd", "ShdPnd", "SigBlk", "SigIgn", "SigCgt")
    facts = "  ".join(f"{key}={' '.join(status[key].split())}" for key in wanted if key in status)
    lines = [f"--- process {pid}: {_read(f'/proc/{pid}/cmdline') or status.get('Name', '?').strip()}", f"    {facts}"]
    with contextlib.suppress(OSError):
        for task in sorted(Path(f"/proc/{pid}/task").iterdir(), key=lambda path: int(path.name)):
            lines.append(
                f"    thread {task.name} ({_read(f'{task}/comm')}): wchan={_read(f'{task}/wchan')} syscall={_read(f'{task}/syscall')}"
            )
    return "\n".join(lines)


def dump_stacks(pid: int, out: TextIO, *, with_root: bool = True) -> None:
    """What every process of the tree is doing: the kernel's view first (it needs no cooperation), then the stacks."""
    for one in ([pid] if with_root else []) + descendants(pid):
        print(describe(one), file=out)
        if "State=Z" not in describe(one):
            print(_stacks_of(one), file=out)
        out.flush()


def kill_tree(pid: int, *, with_root: bool = True) -> list[int]:
    """SIGKILL to every process of the tree. Parents are stopped first, so that none forks a child past the walk."""
    doomed = [pid] if with_root else []
    seen: set[int] = set(doomed)
    for one in doomed:
        _signal(one, signal.SIGSTOP)
    while True:
        fresh = [one for one in descendants(pid) if one not in seen]
        if not fresh:
            break
        for one in fresh:
            _signal(one, signal.SIGSTOP)
            seen.add(one)
            doomed.append(one)
    for one in reversed(doomed):
        _signal(one, signal.SIGKILL)
    return doomed


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)
