"""The examples that the documents show print what the documents say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def test_oom_has_all_results_after_a_kill_by_the_kernel() -> None:
    """A real one, in a memory cgroup; where there is none to be had it says so."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "oom.py")], capture_output=True, text=True, timeout=50, check=True
    )
    if done.stdout.startswith("skipped: "):
        pytest.skip(done.stdout.strip())
    assert "the block of 400 MiB: oom_killed" in done.stdout
    assert "counted 5 of 5 blocks" in done.stdout


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
