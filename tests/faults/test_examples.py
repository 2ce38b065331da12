"""The examples that the documents show print what the documents say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_dirty_state_prints_what_the_page_on_signals_shows() -> None:
    """The leak, and the three ways out of it."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "dirty_state.py")],
        capture_output=True,
        text=True,
        timeout=50,
        check=True,
    )
    assert len(done.stdout.splitlines()) == 4
    assert done.stdout in (ROOT / "docs" / "signals.md").read_text()
