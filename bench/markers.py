"""Tables in the documentation: what stands between two marker lines of a Markdown file is replaced. Used by report.py and survive.py."""

from __future__ import annotations

import sys
from pathlib import Path


def write_into(target: Path, name: str, text: str) -> None:
    """Between the lines ``<!-- name:begin -->`` and ``<!-- name:end -->``. Ends the program where they are not."""
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    old = target.read_text()
    if begin not in old or end not in old:
        sys.exit(f"{target} has no lines {begin} and {end}: nothing written")
    head, rest = old.split(begin, 1)
    target.write_text(f"{head}{begin}\n{text}\n{end}{rest.split(end, 1)[1]}")
