"""Promise P5 where the zygote has died first, which alone had adopted the daemons of its workers: the next one ends them with the pool."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from faults import look
from faults.programs import Program, events, send
from support.patience import Stopwatch, until

MODULE = "dead_zygote_programs"


class Scene(Program):
    """A pool under its second zygote; the first one's workers have ended and left daemons."""

    def __init__(self, folder: Path, start: str, worker_end: str, command: tuple[str, ...] = ()) -> None:
        super().__init__(folder, MODULE, "loses_its_zygote", start, worker_end, command=command, stdin=subprocess.PIPE)
        self.daemons: list[int] = []

    def begins(self, worker_end: str) -> None:
        """Until the second zygote serves."""
        if worker_end == "crashes":
            assert until(lambda: len(events(self.folder)) == 2), self.stacks()
            self.daemons = [int(pid) for line in events(self.folder) for pid in line.split()]
        else:
            self.daemons = [int(pid) for pid in self.line().split()]
        word, first = self.line().split()
        assert word == "zygote" and len(self.daemons) == 4
        assert self.living() == self.daemons, "the daemons of a worker that lives, or has left in good order, stay"
        self.order("")
        if worker_end == "crashes":
            for _ in range(2):
                self.expect(f"died {signal.SIGKILL.value}")
        self.expect("goes on 1")
        # The first one's line ends a moment before the process itself: the second may be there while that still dies.
        assert until(lambda: len(self.zygotes()) == 1 and self.zygotes() != [int(first)]), self.stacks()

    def order(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()

    def zygotes(self) -> list[int]:
        return [pid for pid in look.children(self.pid) if look.name(pid) == "hf-zygote" and look.state(pid) != "Z"]

    def watched(self, zygote: int) -> list[int]:
        """Its workers whose watcher runs."""
        return [pid for pid in look.children(zygote) if "hf-watcher" in look.describe(pid)]

    def living(self) -> list[int]:
        return [pid for pid in self.daemons if look.state(pid) not in ("", "Z")]

    def daemons_end(self) -> None:
        assert until(lambda: not self.living()), "\n".join(map(look.describe, self.living()))

    def close(self) -> None:
        if self.process.stdin is not None:
            self.process.stdin.close()
        super().close()


@pytest.fixture(params=[1, 12])
def blinded(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, ...]]:
    """A command in front of a program: for it, reading what certain processes have mapped never ends.

    So it is with one that hangs in a dead file system and holds its memory lock. Here a FIFO that nobody writes lies over the file in /proc.
    """
    fifo = tmp_path / "never"
    os.mkfifo(fifo)
    strangers = [subprocess.Popen(["/bin/sleep", "1000"]) for _ in range(request.param)]
    mounts = [f'mount --bind "{fifo}" /proc/{stranger.pid}/maps' for stranger in strangers]
    script = " && ".join([*mounts, 'exec "$@"'])  # $0 is the shell's name; the rest is the program's command
    command = ("unshare", "--mount", "sh", "-c", script, "sh")
    try:
        trial = subprocess.run([*command, "true"], capture_output=True, text=True, check=False)
        if trial.returncode:
            pytest.skip(f"nothing can be mounted here: {trial.stderr.strip()}")
        yield command
        assert all(stranger.poll() is None for stranger in strangers), "they were nobody's"
    finally:
        for stranger in strangers:
            stranger.kill()
            stranger.wait()


@pytest.mark.parametrize("start", ["fork", "forkserver", "spawn"])
@pytest.mark.parametrize("worker_end", ["left_before", "leaves", "crashes"])
def test_the_end_of_the_pool_ends_the_daemons(tmp_path: Path, start: str, worker_end: str) -> None:
    """Of workers that the second zygote never had; and of nobody else: other children of the program go on."""
    with Scene(tmp_path, start, worker_end) as scene:
        scene.begins(worker_end)
        if worker_end == "crashes":
            scene.daemons_end()  # as those of any worker that died, and while the pool goes on
        else:
            assert scene.living() == scene.daemons
        scene.order("terminate")
        scene.expect("ended True")
        scene.daemons_end()
        scene.order("end")
        scene.expect("bystanders 2")
        assert scene.end().code == 0


def caller_dies(scene: Scene, dies_too: str) -> None:
    """By SIGKILL, alone or together with its zygote; the daemons end with it."""
    (zygote,) = scene.zygotes()
    assert until(lambda: len(scene.watched(zygote)) == 2), scene.stacks()
    others = scene.tagged() - {scene.pid, zygote, *scene.daemons}
    scene.signal(signal.SIGSTOP)  # so that it can do nothing in between
    os.waitid(os.P_PID, scene.pid, os.WSTOPPED)
    if dies_too == "second_zygote":
        os.kill(zygote, signal.SIGKILL)
    watch = Stopwatch()
    scene.signal(signal.SIGKILL)
    scene.daemons_end()
    watch.check(1)
    for pid in others & scene.tagged():
        send(pid, signal.SIGKILL)  # the bystanders: the program could not


@pytest.mark.parametrize("worker_end", ["left_before", "leaves"])
@pytest.mark.parametrize("dies_too", ["nobody", "second_zygote"])
def test_the_death_of_the_caller_ends_the_daemons(tmp_path: Path, worker_end: str, dies_too: str) -> None:
    """The second zygote knows of them; where it dies together with the caller, the workers' watchers look for all that came from the pool."""
    with Scene(tmp_path, "fork", worker_end) as scene:
        scene.begins(worker_end)
        caller_dies(scene, dies_too)


def test_a_process_that_cannot_be_looked_at_holds_up_no_end(tmp_path: Path, blinded: tuple[str, ...]) -> None:
    """The pool ends (P4), and what it left behind with it (P5)."""
    with Scene(tmp_path, "fork", "leaves", blinded) as scene:
        scene.begins("leaves")
        watch = Stopwatch()
        scene.order("terminate")
        scene.expect("ended True")
        watch.check(1)
        scene.daemons_end()
        scene.order("end")
        scene.expect("bystanders 2")
        assert scene.end().code == 0


@pytest.mark.parametrize("dies_too", ["nobody", "second_zygote"])
def test_a_process_that_cannot_be_looked_at_holds_up_no_search(
    tmp_path: Path, blinded: tuple[str, ...], dies_too: str
) -> None:
    """Of the second zygote, or of a worker, for daemons when the caller has died."""
    with Scene(tmp_path, "fork", "leaves", blinded) as scene:
        scene.begins("leaves")
        caller_dies(scene, dies_too)
