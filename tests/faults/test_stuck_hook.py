"""Promise P5 for a worker that has not come to any code of ours yet: stuck in a fork hook of the user's, it is bound to its zygote all the same."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from faults import look
from faults.programs import Program, events
from support.patience import until


def test_a_worker_stuck_in_a_fork_hook_dies_with_its_zygote(tmp_path: Path) -> None:
    with Program(tmp_path, "stuck_hook_programs", "blocks_in_a_fork_hook") as program:
        zygote = int(program.line().split()[1])
        assert until(lambda: events(tmp_path)), program.stacks()
        (stuck,) = map(int, events(tmp_path)[:1])
        program.signal(signal.SIGSTOP)  # so that no other zygote comes
        os.kill(zygote, signal.SIGKILL)
        assert until(lambda: look.state(stuck) in ("", "Z")), look.describe(stuck)
        program.signal(signal.SIGKILL)
