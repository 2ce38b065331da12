"""Is there anything of the failpoints in a library or module? `look_inside.py absent|present FILE`: 0 if it is as said.

Looked for: the environment variable's name, and the namespace in mangled symbols. `present` is what shows that `absent` can fail.
"""

from __future__ import annotations

import sys
from pathlib import Path

MARKS = (b"HOLDFAST_FAILPOINT", b"9failpoint")


def inside(path: Path) -> list[str]:
    content = path.read_bytes()
    return [mark.decode() for mark in MARKS if mark in content]


def main() -> int:
    if len(sys.argv) != 3 or sys.argv[1] not in ("absent", "present"):
        print(__doc__, file=sys.stderr)
        return 2
    found = inside(Path(sys.argv[2]))
    right = len(found) == len(MARKS) if sys.argv[1] == "present" else not found
    print(f"{sys.argv[2]}: found {found or 'nothing'}, expected failpoints to be {sys.argv[1]}")
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
