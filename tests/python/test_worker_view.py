"""What workers see and may do (design.md section 5), the death of a zygote, and initializers that fail: under every start method."""

import contextlib
import multiprocessing
import os
import select
import signal
import subprocess
import sys
import threading
import time
from multiprocessing import forkserver
from pathlib import Path

import pytest
import worker_tasks

import holdfast
from conftest import eventually
from support.patience import seconds_left

METHODS = ["fork", "forkserver", "spawn"]
NAMES = {"fork": "ForkPoolWorker-", "forkserver": "ForkServerPoolWorker-", "spawn": "SpawnPoolWorker-"}


@pytest.fixture(scope="module", params=METHODS)
def method(request):
    if request.param == "forkserver":
        forkserver.ensure_running()  # the standard library's own, which would stay behind the first test that uses it
    yield request.param
    if request.param == "forkserver":
        forkserver._forkserver._stop()


# --- the process ----------------------------------------------------------------------------------------------------------


def test_a_worker_s_view(method):
    """As a process of multiprocessing's, but for stdin and the process group."""
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    try:
        with holdfast.Pool(1, context=method) as pool:
            view = pool.apply(worker_tasks.view)
            handle = pool._pool[0]
            names = (handle.name, [child.name for child in multiprocessing.active_children()])
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    current = multiprocessing.current_process()
    assert view["name"].startswith(NAMES[method]) and names == (view["name"], [view["name"]])
    assert view["identity"] == (int(view["name"].rsplit("-", 1)[1]),)
    assert view["daemon"] is True
    assert view["authkey"] == bytes(current.authkey)
    assert view["parent"] == (os.getpid(), current.name, True)
    assert view["stdin"]
    assert view["mask"] == [signal.SIGUSR1]
    assert view["sigchld"] == signal.SIG_DFL
    assert view["sigint"] is signal.default_int_handler or view["sigint"] == signal.default_int_handler
    assert view["sigpipe"] == signal.SIG_IGN
    assert view["threads"] == ["MainThread"] and view["main_thread"]
    assert view["children"] == []
    assert view["session"] == os.getsid(0)
    assert not view["leads_group"]


def test_a_worker_s_view_is_that_of_the_standard_pool(method):
    """Field by field, but for what is the pool's own."""
    with multiprocessing.get_context(method).Pool(1) as pool:
        standard = pool.apply(worker_tasks.view)
    with holdfast.Pool(1, context=method) as pool:
        ours = pool.apply(worker_tasks.view)
    for each in (standard, ours):
        del each["name"], each["identity"], each["leads_group"]
    assert ours == standard


def test_a_handler_of_the_caller_s_is_inherited():
    """fork: as the standard pool's workers have it."""
    old = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with holdfast.Pool(1, context="fork") as pool:
            assert pool.apply(worker_tasks.view)["sigint"] == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, old)


def test_a_worker_may_lead_a_session_of_its_own(method):
    """os.setsid() in a task; the worker still ends with the pool."""
    with holdfast.Pool(1, context=method) as pool:
        assert pool.apply(worker_tasks.own_session) is True
        assert pool.apply(worker_tasks.same, (1,)) == 1


def test_a_task_may_run_programs(method):
    """subprocess works, exit codes and all."""
    with holdfast.Pool(1, context=method) as pool:
        assert pool.apply(worker_tasks.run_program, ("print(6 * 7); raise SystemExit(5)",)) == ("42\n", 5)


def test_a_task_may_start_processes_when_workers_are_no_daemons(method):
    """daemon=False; with the default multiprocessing refuses, as in the standard pool."""
    with holdfast.Pool(1, context=method, daemon=False) as pool:
        assert pool.apply(worker_tasks.run_process) == (True, 0)
    with holdfast.Pool(1, context=method) as pool:
        with pytest.raises(AssertionError, match="daemonic processes are not allowed to have children"):
            pool.apply(worker_tasks.run_process)


def test_pools_within_pools(method):
    """Two levels below this one, whatever the daemon flag says."""
    with holdfast.Pool(2, context=method) as pool:
        pids = pool.map(worker_tasks.nested_maps, [1, 1])
    assert len(pids) == 2 and all(len(pair) == 2 for pair in pids)


def test_a_fork_in_a_worker_gives_no_warning(method):
    """Python 3.12 and later warn of threads; the only other one is ours."""
    with holdfast.Pool(1, context=method) as pool:
        assert pool.apply(worker_tasks.fork_and_wait) == (3, [])


ZYGOTE_MASK = """
import os, sys
import holdfast
with holdfast.Pool(1, context=sys.argv[1]) as pool:
    with open(f"/proc/{pool.apply(os.getppid)}/status") as file:
        print(next(line.split()[1] for line in file if line.startswith("SigBlk")))
"""


def test_a_zygote_takes_no_signal(method):
    """Also the first one of a program, whose opening starts multiprocessing's resource tracker, which unblocks two of them."""
    done = subprocess.run(
        [sys.executable, "-c", ZYGOTE_MASK, method], capture_output=True, text=True, timeout=50, check=True
    )
    unblocked = {number for number in range(1, 65) if not int(done.stdout, 16) >> (number - 1) & 1}
    assert unblocked == {signal.SIGKILL, signal.SIGSTOP, 32, 33}  # the last two are the C library's own


# --- the zygote -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how, exitcode", [("exit", 7), ("signal", -signal.SIGSEGV)])
def test_how_a_worker_ended_is_told_right_without_a_zygote(method, how, exitcode):
    """Nobody has waited for it; the pool still knows, or says that it does not: it never says something else."""
    with holdfast.Pool(1, worker_tasks.note_zygote, context=method) as pool:
        with pytest.raises(holdfast.WorkerDiedError) as caught:
            pool.apply(worker_tasks.kill_zygote_then, (how,))
        if caught.value.cause != "unknown_status":
            assert caught.value.exitcode == exitcode
        assert pool.apply(worker_tasks.same, (1,)) == 1


def test_a_task_outlives_its_zygote(method):
    """What runs is finished, then the worker is replaced under a new zygote."""
    with holdfast.Pool(2, worker_tasks.note_zygote, context=method) as pool:
        before = [handle.pid for handle in pool._pool]
        assert pool.apply(worker_tasks.kill_zygote_then, ("go on",)) == "go on"
        assert pool.map(worker_tasks.square, range(50)) == [n * n for n in range(50)]
        eventually(lambda: not {handle.pid for handle in pool._pool} & set(before), "old workers stay")


@pytest.mark.slow
def test_zygotes_killed_again_and_again_under_load():
    """While threads submit: every new one is forked from a process in which locks are held, and none of its workers hangs."""
    stop = threading.Event()
    rounds = [0, 0, 0]

    def submit(number):
        while not stop.is_set():
            assert pool.map(worker_tasks.square, range(200), chunksize=1, on_death="retry") == [
                n * n for n in range(200)
            ]
            rounds[number] += 1

    with holdfast.Pool(2, context="fork") as pool:
        threads = [threading.Thread(target=submit, args=(number,)) for number in range(len(rounds))]
        for thread in threads:
            thread.start()
        try:
            for _ in range(15):
                with contextlib.closing(eventually_zygote(pool)) as zygote:
                    zygote.kill()
                    zygote.wait()  # the next one that is found is another
                seen = list(rounds)
                eventually(
                    lambda seen=seen: all(now > then for now, then in zip(rounds, seen, strict=True)), "no progress"
                )
        finally:
            stop.set()
            for thread in threads:
                thread.join(seconds_left())
        assert not any(thread.is_alive() for thread in threads)


class HeldProcess:
    """A process by its pidfd: whatever becomes of its pid meanwhile."""

    def __init__(self, pid):
        self.pid = pid
        self.pidfd = os.pidfd_open(pid)

    def name(self):
        try:
            return Path(f"/proc/{self.pid}/comm").read_text().strip()
        except (FileNotFoundError, ProcessLookupError):
            return ""

    def kill(self):
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)

    def wait(self):
        select.select([self.pidfd], [], [])

    def close(self):
        os.close(self.pidfd)


def eventually_zygote(pool):
    """The zygote that the pool's workers hang on now, once there is one."""
    found = []

    def look():
        for handle in pool._pool:
            try:
                with open(f"/proc/{handle.pid}/stat") as file:  # noqa: PTH123
                    held = HeldProcess(int(file.read().rsplit(")", 1)[1].split()[1]))
            except (FileNotFoundError, ProcessLookupError):
                continue
            if held.name() == "hf-zygote":
                found.append(held)
                return True
            held.close()
        return False

    eventually(look, "no zygote")
    return found[0]


# --- initializers ---------------------------------------------------------------------------------------------------------

HOWS = ["raises", "exits", "killed", "_exit"]


@pytest.mark.parametrize(
    "method, how", [*(("fork", how) for how in HOWS), ("forkserver", "raises"), ("spawn", "raises")]
)
def test_an_initializer_that_never_works_breaks_the_pool(tmp_path, method, how):
    """After max_restarts starts, with the cause; waiting and later calls are told, join() ends."""
    path = tmp_path / "starts"
    with holdfast.Pool(1, worker_tasks.fail_after, (str(path), 0, how), context=method, max_restarts=3) as pool:
        for call in (lambda: pool.apply(worker_tasks.same, (1,)), lambda: pool.map(worker_tasks.same, [1, 2])):
            with pytest.raises(holdfast.PoolBrokenError) as caught:
                call()
            text = str(caught.value)
            if how == "raises":
                assert "the database is away" in text and "fail_after" in text
            elif how == "killed":
                assert "SIGKILL" in text
            else:
                assert {"exits": "9", "_exit": "4"}[how] in text
        assert path.stat().st_size == 3
        pool.close()
        assert pool.join(10) is True


@pytest.mark.parametrize("how", HOWS)
def test_an_initializer_that_worked_once_and_then_fails(tmp_path, how):
    """The worker that has it goes on with all the work, for as long as fewer than max_restarts starts in a row have failed."""
    path = tmp_path / "starts"
    with holdfast.Pool(2, worker_tasks.fail_after, (str(path), 1, how), context="fork", max_restarts=50) as pool:
        assert pool.map(worker_tasks.square, range(10)) == [n * n for n in range(10)]


def test_an_initializer_that_fails_now_and_then(tmp_path):
    """Starts that fail in between are made up for: failed starts count in a row."""
    path = tmp_path / "starts"
    with holdfast.Pool(1, worker_tasks.fail_after, (str(path), 1, "raises"), context="fork", max_restarts=50) as pool:
        assert pool.apply(worker_tasks.same, (1,)) == 1
        with pytest.raises(holdfast.WorkerDiedError):
            pool.apply(worker_tasks.die)
        eventually(lambda: path.stat().st_size >= 3, "no further start")
        path.write_bytes(b"")  # the next one works
        assert pool.apply(worker_tasks.same, (2,)) == 2


def test_threads_that_wait_are_told_when_the_pool_breaks(tmp_path):
    """They waited before it was known."""
    path = tmp_path / "starts"
    told = []
    with holdfast.Pool(1, worker_tasks.fail_after, (str(path), 0, "raises"), context="fork", max_restarts=6) as pool:

        def wait():
            try:
                pool.apply_async(worker_tasks.same, (1,)).get()
            except holdfast.PoolBrokenError as error:
                told.append(error)

        threads = [threading.Thread(target=wait) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(seconds_left())
    assert len(told) == 4


def test_a_storm_of_starts_is_slowed_down(tmp_path):
    """A back-off between failed starts: six of them take more than a moment."""
    path = tmp_path / "starts"
    begun = time.monotonic()
    with holdfast.Pool(1, worker_tasks.fail_after, (str(path), 0, "_exit"), context="fork", max_restarts=6) as pool:
        with pytest.raises(holdfast.PoolBrokenError):
            pool.apply(worker_tasks.same, (1,))
    assert time.monotonic() - begun > 0.1
