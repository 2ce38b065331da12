"""One cell of the survey (survive.py): one failure on one peer, in this process. Says how it went as one JSON object.

The functions here are what the pools run. They find the folder they share with the parent in $SURVIVE_FOLDER: `stamp` is the clock at the
victim's last act, `victim` its pid, `pids` one line per worker, `struck` how the outside killer found its victim.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import select
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from survive_peers import Takes, open_peer

ITEMS = range(20)
FATAL = 7
BIG = 64 << 20
FIRST_CALL_S = 14.0  # how long "another map" waits for the call that lost a worker; billiard tells after 10 s
SETTLE_S = 2.0


def folder() -> Path:
    return Path(os.environ["SURVIVE_FOLDER"])


# --- what the workers run ---------------------------------------------------------------------------------------------------


def plain(item: int) -> int:
    """Noted, and slow enough that both workers get items; the ones after the fatal item are not all done when it strikes."""
    with (folder() / "pids").open("a") as file:
        file.write(f"{os.getpid()}\n")
    time.sleep(0.02 if item < FATAL else 0.06)
    return item * item


def before_the_end() -> None:
    """The items before are answered and the caller waits for this one; then the clock, as the last thing before death."""
    time.sleep(0.3)
    (folder() / "stamp").write_text(str(time.monotonic_ns()))


def sigkill(item: int) -> int:
    if item == FATAL:
        before_the_end()
        os.kill(os.getpid(), signal.SIGKILL)
    return plain(item)


def sys_exit(item: int) -> int:
    if item == FATAL:
        before_the_end()
        sys.exit(1)
    return plain(item)


def sigsegv(item: int) -> int:
    if item == FATAL:
        before_the_end()
        ctypes.string_at(0)
    return plain(item)


def big_result(item: int) -> Any:
    """The killer (below) waits for `victim` to appear and strikes while the result is being written."""
    if item == FATAL:
        result = b"\1" * BIG
        (folder() / "victim.new").write_text(str(os.getpid()))
        (folder() / "victim.new").rename(folder() / "victim")
        return result
    return plain(item)


class Unlucky(Exception):
    """Pickles, and cannot be unpickled: __init__ wants two arguments, pickle gives it one."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{text} ({code})")


def unlucky(item: int) -> int:
    if item == FATAL:
        raise Unlucky(item, "no luck")
    return plain(item)


def dead_on_arrival() -> NoReturn:
    os._exit(3)


def raise_on_sigterm() -> None:
    def handler(_number: int, _frame: Any) -> NoReturn:
        raise RuntimeError("SIGTERM came")

    signal.signal(signal.SIGTERM, handler)


def half_a_second(item: int) -> int:
    plain(item)
    time.sleep(0.5)
    return item * item


# --- looking at what came ------------------------------------------------------------------------------------------------------

# What a message must have of the cause, for the loss to be told with its reason; exit codes also as attributes of the error.
CAUSES = {
    "sigkill": r"SIGKILL|signal 9|exit ?code:? -9|-9\b",
    "sys_exit": r"SystemExit|exit ?(ed )?(with )?(code|status)?:? ?1\b|exitcode 1\b",
    "sigsegv": r"SIGSEGV|signal 11|-11\b",
    "unlucky": r"Unlucky|no luck|un-?pickl|un-?serializ|decod",
    "initializer": r"exit ?(ed )?(with )?(code|status)?:? ?3\b|exitcode 3\b|EXIT\(3\)",
}
WRONG_CAUSE = r"killed by the pool"  # in no scenario is the pool the killer


def described(error: BaseException) -> str:
    """The error as a user meets it: type, message, the attributes that carry an exit code, and the cause's own."""
    parts = [f"{type(error).__name__}: {error}"]
    parts += [f"{word} {value}" for word in ("exitcode", "signal") if (value := getattr(error, word, None)) is not None]
    if error.__cause__ is not None:
        parts.append(f"caused by {type(error.__cause__).__name__}: {error.__cause__}")
    return "; ".join(parts)


def gather(takes: Takes) -> tuple[list[Any], list[BaseException | None], int | None]:
    """(values, errors, when the error of the fatal item was known). An iterator that ended by an error gives it for the rest."""
    values: list[Any] = []
    errors: list[BaseException | None] = []
    told = None
    for number, take in enumerate(takes):
        try:
            values.append(take())
            errors.append(None)
        except BaseException as error:  # SystemExit, too: some peers hand it on
            if number == FATAL or (told is None and number > FATAL):
                told = time.monotonic_ns()
            ended = isinstance(error, StopIteration) and any(errors)
            values.append(None)
            errors.append(next(one for one in errors if one) if ended else error)
    return values, errors, told


def judge(scenario: str, values: list[Any], errors: list[BaseException | None], victim: int | None) -> dict[str, Any]:
    """The word for what came. *victim*: the item that must be lost, or None: all 20 are due."""
    right = [value == item * item for item, value in zip(ITEMS, values, strict=True)]
    wrong = [item for item in ITEMS if errors[item] is None and not right[item] and item != victim]
    unsaid = victim is not None and errors[victim] is None
    found = sum(right[item] for item in ITEMS if item != victim)
    ended_early = any(isinstance(error, StopIteration) for error in errors)
    first = next((error for error in errors if error is not None), None)
    text = described(errors[victim] if victim is not None and errors[victim] else first) if first else ""
    if wrong or unsaid or ended_early:
        word = "silent"
    elif first is None:
        word = "all"
    else:
        word = "all others" if victim is not None and found == len(ITEMS) - 1 else "told"
    answer: dict[str, Any] = {"word": word, "others": found, "error": text[:300]}
    if first is not None and scenario in CAUSES:
        answer["names_cause"] = bool(re.search(CAUSES[scenario], text)) and not re.search(WRONG_CAUSE, text)
    return answer


# --- the scenarios -------------------------------------------------------------------------------------------------------------


def death(scenario: str, function: Callable[[int], Any]) -> Callable[[str], dict[str, Any]]:
    def run(peer: str) -> dict[str, Any]:
        pool = open_peer(peer)
        values, errors, told = gather(pool.begin(function, ITEMS))
        answer = judge(scenario, values, errors, FATAL)
        if (folder() / "stamp").exists() and told is not None:
            answer["news_ms"] = (told - int((folder() / "stamp").read_text())) / 1e6
        return answer

    return run


def worker_pids() -> list[int]:
    return sorted({int(line) for line in (folder() / "pids").read_text().split()})


def idle(peer: str) -> dict[str, Any]:
    """One worker is killed while nothing is to be done; the next call comes 0.2 s after its exit."""
    pool = open_peer(peer)
    assert not any(gather(pool.begin(plain, ITEMS))[1])
    time.sleep(0.2)
    victim = worker_pids()[0]
    descriptor = os.pidfd_open(victim)
    os.kill(victim, signal.SIGKILL)
    assert select.select([descriptor], [], [], 5.0)[0]
    time.sleep(0.2)
    values, errors, _ = gather(pool.begin(plain, ITEMS))
    return judge("idle", values, errors, None)


def mid_write(peer: str) -> dict[str, Any]:
    """The killer is a process of its own: a thread of the victim could not run while the interpreter is locked."""
    import subprocess

    subprocess.Popen([sys.executable, __file__], close_fds=True)
    pool = open_peer(peer)
    values, errors, _ = gather(pool.begin(big_result, ITEMS))
    answer = judge("sigkill", values, errors, FATAL)
    file = folder() / "struck"
    struck = file.read_text() if file.exists() else "never"
    if struck in ("never", "too late") or (type(values[FATAL]) is bytes and values[FATAL] == b"\1" * BIG):
        answer["word"] = "missed"  # the result was out before the blow; survive.py tries again
    return answer | {"struck": struck}


def initializer(peer: str) -> dict[str, Any]:
    try:
        pool = open_peer(peer, dead_on_arrival)
        values, errors, _ = gather(pool.begin(plain, ITEMS))
    except Exception as error:
        values, errors = [None] * len(ITEMS), [error] * len(ITEMS)
    return judge("initializer", values, errors, None)


def sigterm(peer: str) -> dict[str, Any]:
    """Two items of half a second are being run when the pool is told to stop."""
    pool = open_peer(peer, raise_on_sigterm)
    kept = pool.begin(half_a_second, ITEMS)
    while not (folder() / "pids").exists() or len(worker_pids()) < 2:
        time.sleep(0.02)
    began = time.monotonic()
    pool.end()
    seconds = time.monotonic() - began
    while (left := [pid for pid in worker_pids() if runs(pid)]) and time.monotonic() < began + seconds + SETTLE_S:
        time.sleep(0.05)
    del kept
    return {"word": "workers left" if left else "ends", "seconds": round(seconds, 2)}


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def again(peer: str) -> dict[str, Any]:
    """A second call on the same pool after a first one that lost a worker, whether or not that one ever returned."""
    pool = open_peer(peer)
    first = threading.Thread(target=lambda: gather(pool.begin(sigkill, ITEMS)), daemon=True)
    first.start()
    first.join(FIRST_CALL_S)
    values, errors, _ = gather(pool.begin(plain, ITEMS))
    answer = judge("again", values, errors, None)
    answer["word"] = {"all": "works", "told": "broken"}.get(answer["word"], answer["word"])
    return answer | {"first_call": "hangs" if first.is_alive() else "returned"}


SCENARIOS: dict[str, tuple[str, Callable[[str], dict[str, Any]]]] = {
    "sigkill": ("SIGKILL in item 7", death("sigkill", sigkill)),
    "sys_exit": ("`sys.exit(1)` in item 7", death("sys_exit", sys_exit)),
    "sigsegv": ("SIGSEGV in item 7", death("sigsegv", sigsegv)),
    "idle": ("idle worker killed, then a map", idle),
    "mid_write": ("killed while writing a 64 MiB result", mid_write),
    "unlucky": ("exception that cannot be unpickled", death("unlucky", unlucky)),
    "initializer": ("initializer always dies", initializer),
    "sigterm": ("workers raise on SIGTERM, then the pool is stopped", sigterm),
    "again": ("another map after the SIGKILL", again),
}


# --- the killer ----------------------------------------------------------------------------------------------------------------


def shared_bytes(pid: int) -> int:
    """Bytes that the process's shared-memory files hold."""
    total = 0
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            if str(link.readlink()).startswith("/memfd:"):
                total += link.stat().st_blocks * 512
        except OSError:
            pass  # closed in between
    return total


def writes_to_pipe(pid: int) -> bool:
    """A thread of it sleeps in the middle of a write to a pipe or socket that is full."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        where = (task / "wchan").read_text()
        if "pipe_write" in where or "sock_alloc_send" in where:
            return True
    return False


def killer() -> None:
    """Kills the process named in `victim` in the middle of writing its result: in a full pipe, or with a part of it in shared memory."""
    try:
        os.nice(-10)  # or a busy machine lets it look too late
    except PermissionError:
        pass
    file = folder() / "victim"
    end = time.monotonic() + 10
    while not file.exists():
        if time.monotonic() > end:
            return
    pid = int(file.read_text())
    try:
        start = shared_bytes(pid)
        while time.monotonic() < end:
            grown = shared_bytes(pid) - start
            if grown >= BIG:
                (folder() / "struck").write_text("too late")
                return
            if grown > BIG // 16 or writes_to_pipe(pid):
                os.kill(pid, signal.SIGKILL)
                how = f"after {grown >> 20} MiB in shared memory" if grown else "in a full pipe"
                (folder() / "struck").write_text(how)
                return
    except OSError:
        return  # it is gone already


def run(scenario: str, peer: str) -> None:
    """Writes the cell's answer to `answer`, whatever the pool does afterwards."""
    try:
        answer = SCENARIOS[scenario][1](peer)
    except ImportError as error:
        answer = {"word": "not installed", "error": str(error)}
    except Exception as error:
        answer = {"word": "told", "error": f"{type(error).__name__}: {error}"[:300]}
    (folder() / "answer.new").write_text(json.dumps(answer))
    (folder() / "answer.new").rename(folder() / "answer")
    os._exit(0)


if __name__ == "__main__":
    killer()
