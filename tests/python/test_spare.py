"""The spare: once a worker has died, the next one is forked ahead. Nobody but /proc should know of it before it is a worker."""

import multiprocessing
import os
import signal
from pathlib import Path

import pytest
import worker_tasks

import holdfast
from conftest import eventually


def spares(pool):
    """Pids of children of the pool's zygote that wait for a seed."""
    found = []
    for handle in pool._pool:
        try:
            zygote = int(Path(f"/proc/{handle.pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
            children = map(int, Path(f"/proc/{zygote}/task/{zygote}/children").read_text().split())
            found += [pid for pid in children if Path(f"/proc/{pid}/comm").read_text() == "hf-spare\n"]
        except FileNotFoundError:
            continue
    return found


def is_gone(pid):
    """Or a zombie: who reaps an orphan is not ours to say."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


def kill_worker(pool):
    victim = pool.apply(os.getpid)
    with pytest.raises(holdfast.WorkerDiedError):
        pool.apply(os.kill, (victim, signal.SIGKILL))
    return victim


@pytest.fixture(params=["fork", "forkserver"])
def method(request):
    return request.param


def test_a_spare_becomes_a_worker_with_the_next_name(method, tmp_path):
    """The initializer runs when it becomes one, once; names go on without a gap; the pool lists it from then on."""
    with holdfast.Pool(1, worker_tasks.write_pid, (tmp_path,), context=method) as pool:
        assert spares(pool) == []
        ran = [pool.apply(worker_tasks.pid_and_name)]
        for _ in range(4):
            kill_worker(pool)
            ran.append(pool.apply(worker_tasks.pid_and_name))
            eventually(lambda: len(spares(pool)) == 1, "no spare")
            spare = spares(pool)[0]
            assert [handle.pid for handle in pool._pool] == [ran[-1][0]] != [spare]
            assert {child.pid for child in multiprocessing.active_children()} >= {ran[-1][0]}
            assert spare not in {child.pid for child in multiprocessing.active_children()}
            assert {path.name for path in tmp_path.iterdir()} == {str(pid) for pid, _ in ran}
        numbers = [int(name.rsplit("-", 1)[1]) for _, name in ran]
        assert numbers == list(range(numbers[0], numbers[0] + 5))
        kill_worker(pool)
        assert pool.apply(os.getpid) == spare


def test_the_death_of_a_spare_is_nobodys(method):
    """No death, no failed start, no restart: and the next worker is forked when it is needed."""
    with holdfast.Pool(1, context=method, max_restarts=1) as pool:
        for _ in range(3):
            kill_worker(pool)
            worker = pool.apply(os.getpid)
            eventually(lambda: len(spares(pool)) == 1, "no spare")
            spare, stats, deaths = spares(pool)[0], pool.stats(), len(pool.deaths())
            os.kill(spare, signal.SIGKILL)
            eventually(lambda spare=spare: not Path(f"/proc/{spare}").exists(), "the spare was not reaped")
            assert pool.apply(os.getpid) == worker
            after = pool.stats()
            changed = {name for name in stats if stats[name] != after[name]}
            assert not {name for name in changed if "start" in name or "death" in name}, changed
            assert len(pool.deaths()) == deaths


def test_a_spare_ends_with_the_pool(method):
    """It is no orphan afterwards."""
    pool = holdfast.Pool(1, context=method)
    kill_worker(pool)
    pool.apply(os.getpid)
    eventually(lambda: len(spares(pool)) == 1, "no spare")
    spare = spares(pool)[0]
    pool.terminate()
    assert not Path(f"/proc/{spare}").exists()


def test_a_spare_dies_with_a_killed_zygote(method):
    """And the pool goes on with another zygote, which has none."""
    with holdfast.Pool(1, context=method) as pool:
        kill_worker(pool)
        worker = pool.apply(os.getpid)
        eventually(lambda: len(spares(pool)) == 1, "no spare")
        spare = spares(pool)[0]
        zygote = int(Path(f"/proc/{worker}/stat").read_text().rsplit(")", 1)[1].split()[1])
        os.kill(zygote, signal.SIGKILL)
        eventually(lambda: is_gone(spare), "the spare outlived its zygote")
        eventually(lambda: pool.apply(os.getpid) != worker, "no new worker")
