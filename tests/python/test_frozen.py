"""P4 with processes that cannot die: frozen by the cgroup freezer, or in an uninterruptible system call.

No wait of the pool's depends on them: they are given up two seconds after their SIGKILL, and the report says so. Once released they die of it.
"""

import os
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import frozen_tasks
import pool_tasks as tasks
import pytest

import holdfast
from conftest import eventually
from support import freezer

GIVEN_UP = "did not die after SIGKILL"


@pytest.fixture
def frozen():
    """Version 1: what is in it cannot be killed."""
    made = freezer.make(1)
    yield made
    made.close()


def zygote_of(pool):
    """The parent of its workers."""
    return int(Path(f"/proc/{pool._pool[0].pid}/stat").read_text().rpartition(")")[2].split()[1])


def check_released(frozen, count):
    """They are alive as long as they are frozen, and gone after."""
    assert frozen.living() == count
    frozen.thaw()
    assert frozen.ended()


def end_by(pool, how):
    """One of the ways to end it; returns when join() has."""
    if how == "kill":
        pool.kill()
    elif how == "terminate":
        pool.terminate()
    elif how == "with":
        with pool:
            pass
    else:
        pool.close()
        assert not pool.join(timeout=0.05)  # it has begun something, or has not left yet: no reason to kill it
        pool.terminate()
    assert pool.join()


@pytest.mark.slow
def test_a_frozen_worker_holds_up_no_end(frozen, tmp_path):
    """Every way to end a pool, with the worker idle or busy, returns; its report tells, and the worker dies once it is released."""
    cases = []
    for how in ("kill", "terminate", "with", "close_join"):
        for busy in (False, True):
            pool = holdfast.Pool(1, grace=0.2)
            pending = None
            if busy:
                started = tmp_path / how
                pending = pool.apply_async(frozen_tasks.announce_and_sleep, (str(started),))
                eventually(started.exists, "the task has not begun")
            cases.append((pool, how, pool._pool[0], pending))
    frozen.freeze(*(worker.pid for _, _, worker, _ in cases))
    with ThreadPoolExecutor(len(cases)) as threads:  # each takes the two seconds
        list(threads.map(end_by, [case[0] for case in cases], [case[1] for case in cases]))
    for _, how, worker, pending in cases:
        assert GIVEN_UP in worker.report.detail and worker.report.cause == "stopped_by_pool", how
        if pending is not None:
            with pytest.raises(holdfast.PoolTerminatedError):
                pending.get()
    check_released(frozen, len(cases))


@pytest.mark.slow
def test_the_items_of_an_idle_frozen_worker_go_to_others(frozen, pool):
    """It has begun nothing, so nothing is lost, and nobody waits for it."""
    frozen.freeze(pool._pool[0].pid)
    assert pool.map(tasks.square, range(100), chunksize=1) == [n * n for n in range(100)]
    assert pool.deaths() == []
    frozen.thaw()


@pytest.mark.slow
def test_a_time_limit_ends_a_task_in_a_frozen_worker(frozen, pool):
    """The task has its outcome although the worker is still there; the pool goes on with another."""
    workers = list(pool._pool)
    pending = pool.apply_async(frozen_tasks.freeze_this_process, frozen.files(), task_timeout=2.0)
    (pid,) = frozen.wait_frozen(1)
    (worker,) = [each for each in workers if each.pid == pid]
    with pytest.raises(holdfast.TaskTimeoutError, match=GIVEN_UP) as caught:
        pending.get()
    assert caught.value.report.pid == worker.pid
    assert [report.detail for report in pool.deaths()] == [caught.value.report.detail]
    assert pool.map(tasks.square, range(20)) == [n * n for n in range(20)]
    eventually(lambda: len(pool._pool) == 2 and worker.pid not in [each.pid for each in pool._pool], "no replacement")
    check_released(frozen, 1)


@pytest.mark.slow
@pytest.mark.parametrize("workers_too", [False, True], ids=["alone", "with_its_workers"])
def test_a_frozen_zygote_holds_up_no_end(frozen, workers_too):
    """Nor can it be waited for."""
    pool = holdfast.Pool(2, grace=0.2)
    workers = list(pool._pool)
    pids = [zygote_of(pool), *([worker.pid for worker in workers] if workers_too else [])]
    frozen.freeze(*pids)
    pool.terminate()
    assert pool.join()
    assert all((GIVEN_UP in worker.report.detail) == workers_too for worker in workers)
    check_released(frozen, len(pids))


@pytest.mark.slow
def test_a_version_2_freezer_lets_the_kill_through():
    """There a frozen worker is like a stopped one: it dies of SIGKILL."""
    frozen = freezer.make(2)
    try:
        pool = holdfast.Pool(1, grace=0.2)
        worker = pool._pool[0]
        frozen.freeze(worker.pid)
        pool.kill()
        assert worker.report.detail == "" and worker.exitcode == -9
        assert frozen.ended()
    finally:
        frozen.close()


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["worker", "zygote"])
def test_the_interpreter_ends_beside_a_frozen_process(frozen, victim):
    """Nobody closes the pool; the program's end does, and waits for nothing that cannot end."""
    program = textwrap.dedent(f"""
        import sys, warnings
        import holdfast
        warnings.simplefilter("ignore")
        pool = holdfast.Pool(2, grace=0.2)
        from pathlib import Path
        worker = pool._pool[0].pid
        zygote = Path(f"/proc/{{worker}}/stat").read_text().rpartition(")")[2].split()[1]
        print({victim}, flush=True)
        sys.stdin.readline()
    """)
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        frozen.freeze(int(process.stdout.readline()))
        process.stdin.write("\n")
        process.stdin.close()
        assert process.wait() == 0
    check_released(frozen, 1)


@pytest.mark.slow
@pytest.mark.parametrize("end", ["terminate", "time_limit"])
def test_a_worker_that_waits_for_its_vfork_child_is_ended(end, tmp_path):
    """Uninterruptible, with the GIL held and all signals blocked, as posix_spawn has it; a kill gets through, and its child goes too."""
    fifo = str(tmp_path / "fifo")
    os.mkfifo(fifo)
    with holdfast.Pool(1, grace=0.2) as pool:
        assert pool.apply(abs, (-1,)) == 1  # its start, which has a child of its own for a moment, is over
        worker = pool._pool[0]
        pending = pool.apply_async(
            frozen_tasks.spawn_that_blocks, (fifo,), task_timeout=5.0 if end == "time_limit" else None
        )  # longer than a busy machine needs until the child is seen below
        children = Path(f"/proc/{worker.pid}/task/{worker.pid}/children")
        eventually(
            lambda: children.read_text(), "it has not come to vfork"
        )  # the parent waits from the child's first moment on
        (child,) = map(int, children.read_text().split())
        if end == "time_limit":
            with pytest.raises(holdfast.TaskTimeoutError):
                pending.get()
        pool.terminate()
        assert pool.join()
    assert worker.exitcode == -9 and GIVEN_UP not in worker.report.detail
    eventually(lambda: not Path(f"/proc/{child}").exists(), "its child is still there")


@pytest.mark.slow
def test_the_memory_of_a_killed_worker_is_freed_at_once(frozen):
    """process_mrelease: of a large worker that cannot even begin to exit; without that call its memory would stay."""
    pool = holdfast.Pool(1, grace=0.2)
    worker = pool._pool[0]
    size = 200 << 20
    assert pool.apply(frozen_tasks.keep_memory, (size,)) == size
    statm = Path(f"/proc/{worker.pid}/statm")
    assert int(statm.read_text().split()[1]) * os.sysconf("SC_PAGESIZE") > size
    frozen.freeze(worker.pid)
    pool.kill()
    assert GIVEN_UP in worker.report.detail
    assert frozen.living() == 1
    assert int(statm.read_text().split()[1]) * os.sysconf("SC_PAGESIZE") < size // 10
    check_released(frozen, 1)
