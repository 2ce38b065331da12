"""What is installed holds nothing of the failpoints (tests/failpoints): they are compiled out of all but the developers' presets."""

from __future__ import annotations

import sys
from pathlib import Path

import holdfast._core

FOLDER = Path(__file__).resolve().parents[1] / "failpoints"


def test_the_module_holds_no_failpoint():
    """Neither the environment variable's name nor a symbol (the ctest failpoints.present shows that both are found where they are)."""
    sys.path.insert(0, str(FOLDER))
    try:
        import look_inside
    finally:
        sys.path.remove(str(FOLDER))
    assert look_inside.inside(Path(holdfast._core.__file__)) == []
