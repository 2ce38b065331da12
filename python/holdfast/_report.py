"""How one worker process ended, as data: filled by the supervisor on evidence, never guessed."""

from __future__ import annotations

import signal as _signal
from dataclasses import dataclass

__all__ = ["ExitReport"]


def size_text(size: int) -> str:
    """Say a number of bytes for a person: ``"3.1 GiB"``."""
    for unit, power in (("GiB", 30), ("MiB", 20)):
        if size >= 1 << power:
            return f"{size / (1 << power):.1f} {unit}"
    return f"{size / 1024:.0f} KiB"


@dataclass(frozen=True)
class ExitReport:
    """How one worker ended. ``None`` means: not known.

    Attributes:
        cause: exit_code, signal, oom_killed, memory_limit, time_limit, protocol_error, failed_start, stopped_by_pool,
            killed_by_unknown or unknown_status.
        pid: The process.
        exit_code: What it gave to exit; ``None`` when a signal ended it.
        signal: The signal's number; ``None`` when it exited.
        core_dumped: Whether the kernel wrote a core dump.
        runtime_s: Life of the process in seconds.
        cpu_user_s: CPU time it used itself.
        cpu_system_s: CPU time the kernel used for it.
        peak_rss_bytes: Most memory it ever had resident, what a fork inherited included.
        peak_memory_bytes: Most memory of its own it was seen to have (ten readings a second while tasks run): resident, less what it
            shares and less what it was born with.
        items_run: Items it had finished.
        attempts: Runs of the lost item so far, this one included; 0 = no item was lost.
        job: Number of the job whose item was lost.
        item: Position of that item in its job.
        news_ns: From the first evidence to the settling, in nanoseconds.
        traceback: Where the worker's threads were when it crashed or when its time was over, as :mod:`faulthandler` writes it, or
            "no stack: " and why there is none; "" = it ended otherwise. The worker's own word.
        detail: More evidence for a person: what was malformed, which limit, the initializer's error.
    """

    cause: str
    pid: int
    exit_code: int | None = None
    signal: int | None = None
    core_dumped: bool = False
    runtime_s: float = 0.0
    cpu_user_s: float | None = None
    cpu_system_s: float | None = None
    peak_rss_bytes: int | None = None
    peak_memory_bytes: int | None = None
    items_run: int = 0
    attempts: int = 0
    job: int | None = None
    item: int | None = None
    news_ns: int | None = None
    traceback: str = ""
    detail: str = ""

    @property
    def exitcode(self) -> int | None:
        """As ``multiprocessing.Process.exitcode``: the exit code, or minus the signal's number."""
        return -self.signal if self.signal is not None else self.exit_code

    @property
    def signal_name(self) -> str | None:
        """``"SIGKILL"`` and so on."""
        if self.signal is None:
            return None
        try:
            return _signal.Signals(self.signal).name
        except ValueError:
            return f"signal {self.signal}"

    def _memory_words(self) -> str:
        """How much it had: what was seen of its own, or all, inherited memory included, where it ended before it was looked at."""
        size = self.peak_memory_bytes or self.peak_rss_bytes
        return "" if size is None else f"; peak memory {size_text(size)}"

    def describe(self) -> str:
        """What happened, as a sentence without its subject: ``"was killed by SIGKILL ..."``."""
        by = self.signal_name or f"exit code {self.exit_code}"
        text = {
            "exit_code": f"ended itself with exit code {self.exit_code}",
            "signal": f"crashed with {by}" + (" (core dumped)" if self.core_dumped else ""),
            "oom_killed": "was killed by the kernel for lack of memory (SIGKILL, and the oom_kill count rose)"
            + self._memory_words(),
            "memory_limit": "was killed by the pool: it used more than memory_limit",
            "time_limit": "was killed by the pool: the task ran longer than task_timeout",
            "protocol_error": "was killed by the pool: it wrote nonsense into the shared memory, or ran another program",
            "failed_start": f"ended before its initializer was done ({by})",
            "stopped_by_pool": "was stopped by the pool",
            "killed_by_unknown": f"was killed by {by}, which the pool did not send",
            "unknown_status": "is gone, and something else has taken its exit status",
        }.get(self.cause, f"ended ({self.cause})")
        return f"{text}: {self.detail}" if self.detail else text
