"""A handler that raises leaves a worker's state dirty (seed 000, "And one more thing"), and three ways out.

The task waits for an answer and cleans up after itself; a SIGALRM handler with the time limit raises in the middle and skips the clean-up: what it
had put into the worker's dictionary stays there. Run it: `python examples/dirty_state.py`. The page docs/signals.md tells the story.
"""

import signal
import threading

import holdfast

EVENTS: dict[int, threading.Event] = {}  # the worker's own: one entry for each answer that is waited for


def wait_for_answer(number: int, seconds: float) -> str:
    """What the seed's client does: right in itself, as long as nothing raises where nothing is called that raises."""
    EVENTS[number] = threading.Event()
    if not EVENTS[number].wait(seconds):
        EVENTS.pop(number)
        raise TimeoutError(f"no answer to {number}")
    EVENTS.pop(number)
    return "answered"


def time_is_up(_number: int, _frame: object) -> None:
    raise RuntimeError("Time is up!")


def with_alarm(number: int) -> str:
    """The time limit as one finds it in many programs."""
    signal.signal(signal.SIGALRM, time_is_up)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    try:
        return wait_for_answer(number, 10.0)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def without_alarm(number: int) -> str:
    """The pool keeps the time: see `task_timeout` below."""
    return wait_for_answer(number, 10.0)


def interrupted(number: int) -> str:
    """The same task, where the clean-up is written down: see `soft_timeout` below."""
    try:
        return wait_for_answer(number, 10.0)
    except holdfast.SoftTimeoutError:
        EVENTS.pop(number, None)
        raise TimeoutError(f"no answer to {number}") from None


def left_over(_: object = None) -> int:
    """How much lies about in the worker that runs this."""
    return len(EVENTS)


def outcomes(pool: holdfast.Pool, function: object, **options: float) -> list[str]:
    """The names of what became of three tasks."""
    found = []
    for number in range(3):
        try:
            found.append(pool.apply(function, (number,), **options))  # type: ignore[arg-type]
        except Exception as error:
            found.append(type(error).__name__)
    return found


def main() -> None:
    """The leak, and the three ways out of it."""
    with holdfast.Pool(1) as pool:
        print(
            "SIGALRM in the task:              ",
            outcomes(pool, with_alarm),
            "- left in the worker:",
            pool.apply(left_over),
        )
    with holdfast.Pool(1, recycle_after_async_exception=True) as pool:
        print(
            "recycle_after_async_exception=True:",
            outcomes(pool, with_alarm),
            "- left in the worker:",
            pool.apply(left_over),
        )
    with holdfast.Pool(1) as pool:
        print(
            "task_timeout=0.05:                 ",
            outcomes(pool, without_alarm, task_timeout=0.05),
            "- left in the worker:",
            pool.apply(left_over),
        )
    with holdfast.Pool(1) as pool:
        print(
            "soft_timeout=0.5:                  ",
            outcomes(pool, interrupted, soft_timeout=0.5),
            "- left in the worker:",
            pool.apply(left_over),
        )


if __name__ == "__main__":
    main()
