"""The include lint: each room of the house includes only what design.md, section 3, allows it.

Checks every C++ file under src/, include/ and python/bindings/; prints `file:line: what is wrong` and exits 1 on any finding.
The rules are the table below; the link dependencies in cmake/HoldfastLayers.cmake say the same.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# room -> rooms whose headers it may include (besides its own). "public" is include/holdfast.
# pool includes worker: the C++ API forks its own zygote, whose loop and task loop live there.
MAY_INCLUDE = {
    "base": {"public"},
    "sys": {"base"},
    "core": {"base", "public"},
    "ring": {"base", "sys", "public"},
    "worker": {"base", "sys", "ring", "public"},
    "pool": {"base", "sys", "ring", "core", "worker", "public"},
    "bindings": {"base", "sys", "ring", "worker", "pool", "core", "public"},
    "public": set(),
}
ROOMS = set(MAY_INCLUDE) - {"bindings", "public"}

# Headers of system and library that are forbidden in some rooms: (rooms, pattern of the name in <>, why).
FORBIDDEN = [
    (
        {"core"},
        r"thread|mutex|shared_mutex|condition_variable|future|atomic|semaphore|barrier|latch|stop_token|iostream|fstream|"
        r"filesystem|random_device|ctime|time\.h|unistd\.h|fcntl\.h|pthread\.h|poll\.h|(sys|linux|asm)/.*",
        "the core is pure: no thread, clock, I/O or system header",
    ),
    (
        {"public"},
        r"thread|mutex|condition_variable|future|atomic|pthread\.h|unistd\.h|fcntl\.h|(sys|linux|asm)/.*",
        "public headers carry no threads and no system headers",
    ),
    (
        {"base", "sys", "ring", "core", "worker", "pool", "public"},
        r"Python\.h|nanobind/.*",
        "Python belongs to python/bindings only",
    ),
    (
        {"ring", "pool"},
        r"(sys|linux|asm)/.*|unistd\.h|fcntl\.h|poll\.h|pthread\.h|sched\.h",
        "system calls belong to src/sys (and the process's own life in src/worker)",
    ),
]

# Uses of a clock that no include would give away.
CLOCK_IN_CORE = re.compile(r"\b(steady_clock|system_clock|high_resolution_clock|clock_gettime|this_thread)\b")
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')


def room_of(path: Path) -> str:
    parts = path.relative_to(ROOT).parts
    if parts[0] == "include":
        return "public"
    if parts[0] == "python":
        return "bindings"
    return parts[1]


def target_room(name: str, room: str) -> str | None:
    """The room an `#include "name"` reaches into; None = a file of the same folder."""
    first = name.split("/", 1)[0]
    if "/" not in name:
        return None if room == "bindings" else "unknown"
    if first == "holdfast":
        return "public"
    return first if first in ROOMS else "unknown"


def findings_in(path: Path) -> Iterator[str]:
    room = room_of(path)
    where = path.relative_to(ROOT)
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".hpp" and "#pragma once" not in text:
        yield f"{where}:1: a header without #pragma once"
    for number, line in enumerate(text.splitlines(), start=1):
        if room == "core" and CLOCK_IN_CORE.search(line.split("//", 1)[0]):
            yield f"{where}:{number}: the core reads a clock: the time comes in as an argument"
        match = INCLUDE.match(line)
        if match is None:
            continue
        kind, name = match.groups()
        if kind == "<":
            for rooms, pattern, why in FORBIDDEN:
                if room in rooms and re.fullmatch(pattern, name):
                    yield f"{where}:{number}: {room} may not include <{name}>: {why}"
            continue
        target = target_room(name, room)
        if target is None or target == room:
            continue
        if target == "unknown":
            yield f'{where}:{number}: "{name}" is not named from the include root (src/ or include/)'
        elif target not in MAY_INCLUDE[room]:
            allowed = ", ".join(sorted(MAY_INCLUDE[room])) or "nothing"
            yield f'{where}:{number}: {room} may not include "{name}" (allowed: {allowed})'


def main() -> int:
    files = [
        path
        for folder in ("src", "include", "python/bindings")
        for path in sorted((ROOT / folder).rglob("*"))
        if path.suffix in {".cpp", ".hpp"}
    ]
    findings = [finding for path in files for finding in findings_in(path)]
    print("\n".join(findings) if findings else f"includes: {len(files)} files in order")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
