"""A short soak as a test; `make soak` runs it for as long as told (faults/soak.py)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
@pytest.mark.limit(150)
def test_a_short_soak_is_clean(tmp_path: Path) -> None:
    """Ten seconds of everything at once; nothing unaccounted, nothing left."""
    command = [sys.executable, "-m", "faults.soak", "--seconds", "10", "--seed", "1"]
    with (tmp_path / "log").open("w+") as log:
        code = subprocess.run(
            command, cwd=Path(__file__).parents[1], stdout=log, stderr=log, timeout=140, check=False
        ).returncode
        log.seek(0)
        assert code == 0, log.read()[-6000:]
