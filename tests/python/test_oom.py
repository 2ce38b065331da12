"""Workers that the kernel kills for lack of memory, for real, in a memory cgroup: told apart from every other SIGKILL, and the pool goes on."""

import os

import pytest

from support import memory_cgroup

LIMIT = 200 << 20

PROGRAM = """
import os, signal
from holdfast import Pool, OutOfMemoryError, WorkerDiedError
import oom_tasks as tasks
from support.patience import until

def error_of(call, *args, **keywords):
    try:
        return call(*args, **keywords)
    except WorkerDiedError as error:
        return error

if __name__ == "__main__":
"""


@pytest.fixture
def cgroup():
    """200 MiB, and what made it is gone afterwards."""
    made = memory_cgroup.make(LIMIT)
    yield made
    made.close()


def run(cgroup, body):
    """The body in the cgroup; what it printed."""
    lines = "".join(f"    {line}\n" for line in body.strip("\n").splitlines())
    out, err, code = cgroup.run(PROGRAM + lines)
    assert code == 0, err
    return out.splitlines()


def test_a_worker_that_the_kernel_killed_is_reported_as_oom_killed(cgroup):
    """The cause, the error's type, the words; the parent lives, the pool goes on, results are right."""
    lines = run(
        cgroup,
        """
with Pool(2) as pool:
    error = error_of(pool.apply, tasks.take_slowly, (400,))
    print(type(error).__name__, error.cause, error.signal, isinstance(error, MemoryError))
    print(80 < error.report.peak_memory_bytes / tasks.MIB < 210)
    print(str(error))
    print(pool.map(tasks.same, range(5)))
""",
    )
    assert lines[0] == "OutOfMemoryError oom_killed 9 True"
    assert lines[1] == "True"
    assert "killed by the kernel for lack of memory" in lines[2]
    assert "peak memory 1" in lines[2]
    assert "Retry(" in lines[2]
    assert lines[3] == "[0, 1, 2, 3, 4]"
    assert cgroup.oom_kills() == 1


def test_a_kill_at_once_is_told_too(cgroup):
    """The memory is taken in one go, before any reading; the first task of the pool."""
    lines = run(
        cgroup,
        """
with Pool(1) as pool:
    error = error_of(pool.apply, tasks.take, (400,))
    print(error.cause, error.report.peak_rss_bytes > 100 * tasks.MIB)
""",
    )
    assert lines == ["oom_killed True"]


@pytest.mark.parametrize("method", ["forkserver", "spawn"])
def test_the_other_start_methods_tell_it_too(cgroup, method):
    """Their workers are children of another process."""
    lines = run(
        cgroup,
        f"""
import multiprocessing
with Pool(1, context=multiprocessing.get_context({method!r})) as pool:
    print(error_of(pool.apply, tasks.take, (400,)).cause)
""",
    )
    assert lines == ["oom_killed"]


def test_a_plain_sigkill_is_not_taken_for_the_kernels(cgroup):
    """Before an out-of-memory kill, and after one: the count explains one death only."""
    lines = run(
        cgroup,
        """
with Pool(2) as pool:
    for task, args in ((tasks.kill_own, ()), (tasks.take, (400,)), (tasks.kill_own, ()), (tasks.take, (400,))):
        print(error_of(pool.apply, task, args).cause)
    print(error_of(pool.apply, tasks.kill_own, (signal.SIGSEGV,)).cause)
""",
    )
    assert lines == ["killed_by_unknown", "oom_killed", "killed_by_unknown", "oom_killed", "signal"]


def test_what_was_killed_beside_an_idle_pool_explains_no_later_death(cgroup):
    """Another process of the cgroup takes the memory while the pool does nothing."""
    lines = run(
        cgroup,
        """
import subprocess, sys
with Pool(1) as pool:
    pool.apply(tasks.same, (1,))
    beside = subprocess.run([sys.executable, "-c", "open('/proc/self/oom_score_adj', 'w').write('1000'); bytearray(400 << 20)"])
    print(beside.returncode)
    print(error_of(pool.apply, tasks.kill_own).cause)
""",
    )
    assert lines == ["-9", "killed_by_unknown"]


def test_what_was_killed_beside_an_idle_pool_does_not_explain_the_end_of_an_idle_worker(cgroup):
    """The count is not read while the pool rests, so nobody knows how old its rise is."""
    lines = run(
        cgroup,
        """
import subprocess, sys, time
with Pool(1) as pool:
    worker = pool._pool[0]
    pool.apply(tasks.same, (1,))
    time.sleep(1)  # comes to rest
    subprocess.run([sys.executable, "-c", "open('/proc/self/oom_score_adj', 'w').write('1000'); bytearray(400 << 20)"])
    os.kill(worker.pid, signal.SIGKILL)
    until(lambda: worker.exitcode is not None)
    print(worker.report.cause)
""",
    )
    assert lines == ["killed_by_unknown"]


# Stops the pool's process, has one worker killed by the kernel after it has killed another, and lets the pool see both ends at once.
KILL_BOTH = """
import os, signal, sys
from pathlib import Path
from support.patience import until

pool, large, small = map(int, sys.argv[1:4])
os.kill(pool, signal.SIGSTOP)
os.kill(small, signal.SIGKILL)
Path(sys.argv[4]).write_text("go on")

def is_zombie(pid):
    return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].startswith("Z")

until(lambda: is_zombie(small) and is_zombie(large))
os.kill(pool, signal.SIGCONT)
"""


def test_of_two_dead_workers_the_larger_one_was_the_kernels(cgroup, tmp_path):
    """One is killed by the kernel, one by somebody else, and both ends are seen at the same time: the caller was stopped."""
    for name in ("large", "small", "go_on", "never"):
        os.mkfifo(tmp_path / name)
    lines = run(
        cgroup,
        f"""
import subprocess, sys
from pathlib import Path
here = Path({str(tmp_path)!r})
with Pool(2) as pool:
    large = pool.apply_async(tasks.grow, (120, here / "large", here / "go_on"))
    small = pool.apply_async(tasks.wait, (here / "small", here / "never"))
    pids = [(here / name).read_text() for name in ("large", "small")]
    assert until(lambda: max(each.memory_bytes or 0 for each in pool._pool) > 100 * tasks.MIB)
    subprocess.run([sys.executable, "-c", {KILL_BOTH!r}, str(os.getpid()), *pids, here / "go_on"], check=True)
    print(*(error_of(each.get).cause for each in (large, small)))
""",
    )
    assert lines == ["oom_killed killed_by_unknown"]


@pytest.mark.parametrize("workers", [2, 4])
def test_a_map_whose_items_fit_one_at_a_time_completes_under_retry(cgroup, workers):
    """Eight items, each 60 % of the cgroup: after the first kills they run one after the other."""
    lines = run(
        cgroup,
        f"""
with Pool({workers}, on_death="retry") as pool:
    print(pool.map(tasks.take_slowly, [120] * 8, chunksize=1) == [120] * 8)
    print(pool._core.stats()["deaths"] <= 12)
""",
    )
    assert lines == ["True", "True"]
