"""Every error of holdfast, and the functions by which the extension makes them.

    HoldfastError
      WorkerDiedError(concurrent.futures.process.BrokenProcessPool)   .cause .exitcode .signal .pid .task .attempts .report
        OutOfMemoryError(MemoryError)
        TaskTimeoutError(TimeoutError)        not multiprocessing's: `except mp.TimeoutError: continue` loops would spin
      SoftTimeoutError(TimeoutError)          raised inside the task
      PoolAbortedError                        .deaths; alias SubProcessKilledException, the seed's name
      PoolTerminatedError                     a wait was ended by terminate()
      PoolBrokenError(BrokenProcessPool)      workers cannot start; .report
      ResultDecodeError(multiprocessing.pool.MaybeEncodingError)      a result or an exception that cannot be unpickled here

A cancelled task is a concurrent.futures.CancelledError. All can be pickled. Errors that users of the standard classes catch already
also derive from the standard type.
"""

from __future__ import annotations

import multiprocessing
from concurrent.futures import CancelledError
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.pool import MaybeEncodingError, RemoteTraceback  # type: ignore[attr-defined]  # not in typeshed
from typing import TYPE_CHECKING, Any, NamedTuple

from ._report import ExitReport

if TYPE_CHECKING:
    from ._core import Core

__all__ = [
    "CancelledError",
    "HoldfastError",
    "OutOfMemoryError",
    "PoolAbortedError",
    "PoolBrokenError",
    "PoolTerminatedError",
    "ResultDecodeError",
    "SoftTimeoutError",
    "SubProcessKilledException",
    "Task",
    "TaskTimeoutError",
    "WorkerDiedError",
]

# What AsyncResult.get(timeout) raises; looked up by the extension under this name.
MultiprocessingTimeoutError = multiprocessing.TimeoutError


class Task(NamedTuple):
    """Which task an error is about: the function's name and, in a map, the item's position."""

    function: str
    item: int | None = None

    def __str__(self) -> str:
        return self.function if self.item is None else f"{self.function}, item {self.item}"


class HoldfastError(Exception):
    """Root of holdfast's own errors.

    Attributes:
        partial: When a map failed: ``{index: result}`` of the items that are done. Else ``None``.
    """

    partial: dict[int, Any] | None = None


class WorkerDiedError(HoldfastError, BrokenProcessPool):
    """The worker ended under the task, and no retry was left (or none was asked for).

    The text is made when it is asked for: the news of a death must not wait for its wording.

    Attributes:
        report: The whole evidence, an :class:`ExitReport`.
        task: Which task was lost, a :class:`Task`.
        attempts: How often it was run.
    """

    report: ExitReport | None = None
    task: Task | None = None
    attempts: int = 0

    @property
    def args(self) -> tuple[Any, ...]:  # a plain attribute in its base
        """As on every exception: its text, alone in a tuple."""
        given: tuple[Any, ...] = BaseException.args.__get__(self)  # type: ignore[attr-defined]  # a C property
        return given or (_died_text(self),)

    @args.setter
    def args(self, value: tuple[Any, ...]) -> None:
        BaseException.args.__set__(self, value)  # type: ignore[attr-defined]  # as above

    def __str__(self) -> str:
        return super().__str__() or _died_text(self)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(repr, self.args))})"

    @property
    def cause(self) -> str | None:
        """The one-word cause; see :class:`ExitReport`."""
        return None if self.report is None else self.report.cause

    @property
    def pid(self) -> int | None:
        """The worker's process id."""
        return None if self.report is None else self.report.pid

    @property
    def exitcode(self) -> int | None:
        """As ``Process.exitcode``: the exit code, or minus the signal's number."""
        return None if self.report is None else self.report.exitcode

    @property
    def signal(self) -> int | None:
        """The signal that ended it, or ``None``."""
        return None if self.report is None else self.report.signal

    @property
    def worker_traceback(self) -> str | None:
        """Where the worker was when it crashed or its time was over; ``None`` for other ends. See :class:`ExitReport`."""
        return (None if self.report is None else self.report.traceback) or None


class OutOfMemoryError(WorkerDiedError, MemoryError):
    """The worker was killed for lack of memory, on evidence (a bare SIGKILL is none)."""


class TaskTimeoutError(WorkerDiedError, TimeoutError):
    """The task ran longer than its ``task_timeout``; its worker was killed."""


class SoftTimeoutError(HoldfastError, TimeoutError):
    """Raised inside a task whose ``soft_timeout`` is over, once: it may clean up and let it out, or return a value all the same."""


class PoolAbortedError(HoldfastError):
    """The pool was stopped by a policy "abort" (or ``max_deaths``) before the task was done.

    Attributes:
        deaths: The reports of the workers that died under tasks.
    """

    deaths: tuple[ExitReport, ...] = ()


SubProcessKilledException = PoolAbortedError


class PoolTerminatedError(HoldfastError):
    """The pool was terminated before the task was done."""


class PoolBrokenError(HoldfastError, BrokenProcessPool):
    """Workers cannot be started.

    Attributes:
        report: How the last one ended, when known.
    """

    report: ExitReport | None = None


class ResultDecodeError(HoldfastError, MaybeEncodingError):  # type: ignore[misc]  # its base has no type hints
    """A result, or the exception that a task raised, cannot be unpickled in this process; ``__cause__`` says why.

    Attributes:
        exc: ``repr`` of what was raised while unpickling, or of the task's exception.
        value: What could not be rebuilt.
        type_name: The qualified type of the task's exception, or ``None`` when a result was at fault.
        remote_traceback: The worker's traceback of that exception, or ``None``.
    """

    type_name: str | None = None
    remote_traceback: str | None = None

    def __init__(self, exc: object, value: object = "a result") -> None:
        """Keep both as text, as the standard MaybeEncodingError does."""
        super().__init__(exc, value)
        # The base class keeps the repr of each. Texts are kept as they are, so that unpickling a copy does not quote them again.
        self.exc: str = exc if isinstance(exc, str) else repr(exc)
        self.value: str = value if isinstance(value, str) else repr(value)
        self.args = (self.exc, self.value)

    def __str__(self) -> str:
        if self.type_name is not None:
            return (
                f"the task raised {self.exc} ({self.type_name}), which cannot be rebuilt in this process"
                + (f" because of {self.value}" if self.value else "")
                + "; its traceback follows as __cause__. Make the exception picklable: its __init__ must accept its args"
            )
        return (
            f"{self.value} was computed, but unpickling it in this process raised {self.exc}. "
            "The task itself is done; check the class's __setstate__ / __reduce__, or return plain data"
        )


def _task(function: object, item: int | None) -> Task:
    name = getattr(function, "__qualname__", None) or repr(function)
    module = getattr(function, "__module__", None)
    return Task(f"{module}.{name}" if isinstance(module, str) and module != "builtins" else str(name), item)


_SUGGESTIONS = {
    "time_limit": 'Give it more time (task_timeout), or let such tasks go with on_timeout="skip".',
    "exit_code": "Something in the task called sys.exit or os._exit: raise an exception instead, if it was meant as an error.",
    "signal": "A crash in native code.",
    "killed_by_unknown": "If nobody sent it by hand, look for the out-of-memory killer in the kernel's log (dmesg).",
    "oom_killed": "Use fewer workers or smaller items, or give the cgroup more memory; holdfast.Retry(...) bounds how often it is tried again.",
    "memory_limit": "Use smaller items or a higher memory_limit.",
}


def _died(kind: str, report: ExitReport | None, attempts: int, task: Task) -> WorkerDiedError:
    if kind == "timed_out":
        error: WorkerDiedError = TaskTimeoutError()
    elif report is not None and report.cause in ("oom_killed", "memory_limit"):
        error = OutOfMemoryError()
    else:
        error = WorkerDiedError()
    error.report, error.task, error.attempts = report, task, attempts
    return error


def _died_text(error: WorkerDiedError) -> str:
    report, task = error.report, error.task or "a task"
    runs = f"attempt {error.attempts or 1}"
    if report is None:
        text = f"the worker ended while running {task} ({runs})."
        advice = ""
    else:
        text = f"worker {report.pid} {report.describe()}, {report.runtime_s:.2f} s after its start, while running {task} ({runs})."
        advice = " " + _SUGGESTIONS.get(report.cause, "")
    policy = "on_timeout" if isinstance(error, TaskTimeoutError) else "on_death"
    return (
        f"{text} That task has no result; no other task is affected and the pool stays usable.{advice.rstrip()}"
        f' To run such tasks again use {policy}="retry", to go on without them {policy}="skip".{_where(error)}'
    )


def _where(error: WorkerDiedError) -> str:
    text = error.worker_traceback
    if text is None:
        return ""
    if len(text) > _SHOWN:
        text = f"{text[:_SHOWN]}\n[... {len(text) - _SHOWN} more characters in .worker_traceback]"
    moment = "its time was over" if isinstance(error, TaskTimeoutError) else "it crashed"
    return f"\n\nThe worker's stacks when {moment}:\n{text.rstrip()}"


_SHOWN = 8000  # characters of a worker's stacks in a message


def _aborted(core: Core, task: Task) -> PoolAbortedError:
    deaths = tuple(core.death_reports())
    evidence = (
        f" {len(deaths)} worker(s) died under tasks; the first: worker {deaths[0].pid} {deaths[0].describe()}."
        if deaths
        else ""
    )
    error = PoolAbortedError(
        f'the pool was stopped by a policy ("abort" or max_deaths) before {task} was done.{evidence} '
        "All pending tasks have this outcome; finished results are kept. Start a new pool to go on."
    )
    error.deaths = deaths
    return error


def _broken(core: Core) -> PoolBrokenError:
    reason, report = core.broken()
    error = PoolBrokenError(
        f"the pool's workers cannot start: {reason or 'no reason is known'}. Nothing more is run; "
        "mend the initializer (or the limit that was hit) and start a new pool."
    )
    error.report = report
    return error


def stopped(core: Core) -> BaseException:
    """Make the exception for a call to a pool that is broken or aborted. Called by the extension (bind_submit.cpp)."""
    return _broken(core) if core.state == "broken" else _aborted(core, Task("this call"))


def failure(
    kind: str, report: ExitReport | None, attempts: int, function: object, item: int | None, core: Core
) -> BaseException:
    """Make the exception for a task that neither returned nor raised. Called by the extension (outcomes.cpp)."""
    task = _task(function, item) if function is not None else Task("a task")
    if kind in ("died", "timed_out"):
        return _died(kind, report, attempts, task)
    if kind == "cancelled":
        return CancelledError(f"{task} was cancelled before it was done")
    state = core.state
    if state == "broken":
        return _broken(core)
    if kind == "aborted":
        return _aborted(core, task)
    return PoolTerminatedError(f"the pool was terminated before {task} was done; its result will never come")


def in_forked_child() -> PoolTerminatedError:
    """Make the exception for a wait in a forked child of the pool's process. Called by the extension (outcomes.cpp)."""
    return PoolTerminatedError(
        "this is a forked child: the pool belongs to its parent, and its results arrive there. Open a pool in this process, "
        "or hand over results that are there before the fork"
    )


def aborted_by(error: BaseException, core: Core) -> BaseException:
    """Make the exception of a call that itself made the pool stop (policy "abort"): *error* becomes its cause."""
    wrapped = _aborted(core, getattr(error, "task", None) or Task("the call"))
    wrapped.__cause__ = error
    return wrapped


def result_decode_error(cause: BaseException, function: object, item: int) -> ResultDecodeError:
    """Make the error for a result that cannot be unpickled here. Called by the extension."""
    what = "the result" if function is None else f"the result of {_task(function, None)} (item {item})"
    error = ResultDecodeError(repr(cause), what)
    error.__cause__ = cause
    return error


def soft_timeout_error(seconds: float) -> SoftTimeoutError:
    """Make what is raised in a task that is over its limit of *seconds*. Called by the extension, in the worker."""
    return SoftTimeoutError(f"the task still ran when its soft_timeout of {seconds:g} s was over")


def remote_traceback(text: str) -> BaseException:
    """Make what the standard pool gives an exception of a task as its cause. Called by the extension."""
    error: BaseException = RemoteTraceback(f'\n"""\n{text}"""')
    return error


def exception_decode_error(type_name: str, text: str, traceback: str, cause: BaseException | None) -> ResultDecodeError:
    """Make the error for a task's exception that cannot be rebuilt here. Called by the extension."""
    error = ResultDecodeError(text, "" if cause is None else repr(cause))
    error.type_name, error.remote_traceback = type_name, traceback
    error.__cause__ = remote_traceback(traceback)
    return error
