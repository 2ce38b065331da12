"""The end: terminate, with, the interpreter's exit, Ctrl-C. Programs run as processes of their own, with a time limit."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pool_tasks as tasks
import pytest

import holdfast
from conftest import eventually
from faults.programs import sleeps
from support.patience import Stopwatch, seconds_left

HERE = str(Path(__file__).parent)


_started = []


@pytest.fixture(autouse=True)
def no_program_outlives_its_test():
    """One that failed in the middle."""
    yield
    while _started:
        with _started.pop() as process:
            process.kill()


def start(program):
    """Run a program that finds the tasks; stdout is a pipe."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([HERE, os.environ.get("PYTHONPATH", "")])}
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    )
    _started.append(process)
    return process


def finish(process):
    """Wait; when the test's time is over kill what this test started and fail."""
    try:
        out, err = process.communicate(timeout=seconds_left())
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        pytest.fail(f"does not end\n{out}\n{err}")
    return out, err, process.returncode


def interrupt_its_wait(process):
    """Ctrl-C for its main thread, once that sleeps in a wait of the pool's."""
    eventually(lambda: sleeps(process.pid), "it does not wait")
    process.send_signal(signal.SIGINT)


def alive(pid):
    try:
        with Path(f"/proc/{pid}/stat").open() as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def ignore_term(path):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    tasks.touch(path)
    time.sleep(60)


def test_terminate_ends_within_grace_whatever_workers_do(tmp_path):
    """P4: deaf to SIGTERM, stopped by SIGSTOP."""
    started = str(tmp_path / "started")
    pool = holdfast.Pool(2, grace=0.5)
    result = pool.apply_async(ignore_term, (started,))
    tasks.wait_for_file(started)
    pids = [handle.pid for handle in pool._pool]
    os.kill(pids[-1], signal.SIGSTOP)
    watch = Stopwatch()
    pool.terminate()
    watch.check(0.5 + 1)
    assert not any(map(alive, pids))
    with pytest.raises(holdfast.PoolTerminatedError):
        result.get(5)
    pool.join()
    pool.terminate()  # again: nothing happens


def test_with_terminates(tmp_path):
    """Leaving the block stops what runs."""
    with holdfast.Pool(2) as pool:
        result = pool.map_async(tasks.sleep, [1000] * 4)
        pids = [handle.pid for handle in pool._pool]
        watch = Stopwatch()
    watch.check(5 + 1)
    assert not any(map(alive, pids))
    with pytest.raises(holdfast.PoolTerminatedError):
        result.get(5)


@pytest.mark.parametrize(
    "last_line",
    [
        "pass",
        "results = [pool.apply_async(tasks.sleep, (60,)) for _ in range(9)]",
        "feed = pool.imap(tasks.same, iter(int, 1))",
        "pool.apply_async(tasks.same, (1,), callback=lambda _: time.sleep(60)); time.sleep(0.1)",
        "import threading; threading.excepthook = print; threading.Thread(target=pool.apply, args=(tasks.sleep, (60,)), daemon=True).start(); time.sleep(0.1)",
        "import sys; sys.kept = [pool.map_async(bytes, [1 << 20] * 9), pool.imap(tasks.same, range(10**6)), pool]",
        "it = pool.imap(tasks.sleep, [60] * 9); import threading; threading.excepthook = print; threading.Thread(target=next, args=(it,), daemon=True).start(); time.sleep(0.1)",
        "pool.close()",
        "raise SystemExit(0)",
    ],
)
def test_the_interpreter_s_exit_needs_no_close(last_line):
    """Nothing hangs or crashes, and no worker stays."""
    process = start(f"""
        import time, holdfast, pool_tasks as tasks
        pool = holdfast.Pool(2, grace=1.0)
        print(*[handle.pid for handle in pool._pool], flush=True)
        pool.map(tasks.same, range(10))
        {last_line}
    """)
    out, err, code = finish(process)
    assert code == 0, err
    assert "Traceback" not in err and "Fatal" not in err, err
    for pid in map(int, out.splitlines()[0].split()):
        eventually(lambda pid=pid: not alive(pid), f"worker {pid} left")


def test_a_killed_parent_takes_its_workers_along():
    """P5."""
    process = start("""
        import holdfast, pool_tasks as tasks
        pool = holdfast.Pool(2)
        print(*[handle.pid for handle in pool._pool], flush=True)
        pool.map(tasks.sleep, [60] * 2)
    """)
    pids = [int(word) for word in process.stdout.readline().split()]
    process.kill()
    finish(process)
    for pid in pids:
        eventually(lambda pid=pid: not alive(pid), f"worker {pid} left")


@pytest.mark.parametrize(
    "wait", ["pool.map(tasks.sleep, [60] * 2)", "pool.apply(tasks.sleep, (60,))", "next(pool.imap(tasks.sleep, [60]))"]
)
def test_ctrl_c_ends_a_wait(wait):
    """P6: KeyboardInterrupt out of the wait; `with` then ends the pool."""
    process = start(f"""
        import holdfast, pool_tasks as tasks
        with holdfast.Pool(2) as pool:
            pool.map(tasks.same, range(4))
            print("waiting", flush=True)
            {wait}
    """)
    assert process.stdout.readline() == "waiting\n"
    watch = Stopwatch()
    interrupt_its_wait(process)
    _out, err, code = finish(process)
    watch.check(5 + 1)
    assert code in (-signal.SIGINT, 130) and "KeyboardInterrupt" in err


def test_the_pool_can_be_used_after_a_ctrl_c(tmp_path):
    """get() again works; the interrupted tasks say what they raised."""
    started, never = str(tmp_path / "started"), str(tmp_path / "never")
    process = start(f"""
        import holdfast, pool_tasks as tasks
        pool = holdfast.Pool(2)
        pool.map(tasks.same, range(4))
        result = pool.apply_async(tasks.announce_and_wait, (({started!r}, {never!r}),))
        print("waiting", flush=True)
        try:
            result.get()
        except KeyboardInterrupt as error:
            print("first", type(error.__cause__).__name__, flush=True)
        try:
            result.get()
        except KeyboardInterrupt as error:
            print("then", type(error.__cause__).__name__)
        print(pool.map(tasks.square, range(3)))
        pool.close()
        pool.join()
    """)
    assert process.stdout.readline() == "waiting\n"
    tasks.wait_for_file(started)  # only a task that runs is interrupted
    interrupt_its_wait(process)
    out, err, code = finish(process)
    assert (out, code) == ("first NoneType\nthen RemoteTraceback\n[0, 1, 4]\n", 0), err


def test_a_second_ctrl_c_kills():
    """Workers that ignore SIGINT and SIGTERM, a grace that no test can wait for: the second Ctrl-C does not either."""
    process = start("""
        import signal, holdfast, pool_tasks as tasks
        def deaf():
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        with holdfast.Pool(2, deaf, grace=1000) as pool:
            pool.map(tasks.same, range(4))
            print("waiting", flush=True)
            try:
                pool.map(tasks.sleep, [1000] * 2)
            finally:
                print("leaving", flush=True)
    """)
    for word in ("waiting", "leaving"):
        assert process.stdout.readline() == f"{word}\n"
        interrupt_its_wait(process)
    _out, err, code = finish(process)
    assert code in (-signal.SIGINT, 130), err


def test_ctrl_c_in_join_stops_the_pool():
    """close() + join() has no time limit of its own."""
    process = start("""
        import holdfast, pool_tasks as tasks
        pool = holdfast.Pool(2)
        result = pool.map_async(tasks.sleep, [60] * 4)
        pool.close()
        print("waiting", flush=True)
        pool.join()
    """)
    assert process.stdout.readline() == "waiting\n"
    interrupt_its_wait(process)
    _out, err, code = finish(process)
    assert code in (-signal.SIGINT, 130) and "KeyboardInterrupt" in err


def test_a_signal_handler_s_exception_ends_the_wait(tmp_path):
    """Any handler, any exception; the pool stays usable."""
    go = str(tmp_path / "go")

    def handler(_signum, _frame):
        raise LookupError("handled")

    old = signal.signal(signal.SIGALRM, handler)
    try:
        with holdfast.Pool(1) as pool:
            result = pool.apply_async(tasks.wait_for_file, (go,))
            with pytest.raises(LookupError, match="handled"):
                signal.setitimer(signal.ITIMER_REAL, 0.2)
                result.get()
            tasks.touch(go)
            assert result.get(30) == go
    finally:
        signal.signal(signal.SIGALRM, old)


class NeverPickled:
    """An argument of a call that is refused: encoded in a forked child, a large one would lie in memory that the parent uses."""

    def __reduce__(self):
        raise AssertionError("it was pickled")


def test_a_copy_of_the_pool_in_a_forked_child_touches_nothing(pool, tmp_path):
    """A child that closes, terminates or drops it does not disturb the parent's; what is still to come is an error there, at once."""
    done = pool.map_async(tasks.square, range(3))
    done.get(30)
    go = str(tmp_path / "go")  # until then both workers are busy: nothing else is there at the fork
    started = [str(tmp_path / "first"), str(tmp_path / "second")]
    slow, also_slow = (pool.apply_async(tasks.announce_and_wait, ((path, go),)) for path in started)
    for path in started:
        tasks.wait_for_file(path)
    iterators = [pool.imap(tasks.same, range(3)), pool.imap_unordered(tasks.same, iter(int, 1))]
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            with pytest.raises(ValueError, match="forked child"):
                pool.apply_async(tasks.same, (NeverPickled(),))
            pool.terminate()
            pool.join()
            with pytest.raises(ValueError, match="Pool not running"):
                pool.apply_async(tasks.same, (1,))
            for wait in (slow.get, slow.wait, *(iterator.next for iterator in iterators)):
                with pytest.raises(holdfast.PoolTerminatedError, match="forked child"):
                    wait(20)
            assert done.get() == [0, 1, 4]
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    tasks.touch(go)
    assert pool.map(tasks.square, range(5)) == [0, 1, 4, 9, 16]
    assert slow.get(30) == also_slow.get(30) == go and list(iterators[0]) == [0, 1, 2] and next(iterators[1]) == 0


def test_the_exit_of_a_forked_child_leaves_the_workers_alone():
    """multiprocessing's exit hook ends all of a process's children: a forked copy of the pool's must not be among them."""
    process = start("""
        import multiprocessing, os, sys, holdfast, pool_tasks as tasks
        pool = holdfast.Pool(2)
        pool.map(tasks.sleep, [0.1] * 2)
        before = sorted(handle.pid for handle in pool._pool)
        results = [pool.apply_async(tasks.sleep, (0.5,)) for _ in range(2)]
        child = os.fork()
        if child == 0:
            pool._pool
            sys.exit(len(multiprocessing.active_children()))
        print("child", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        print(*[result.get(20) for result in results], pool.deaths())
        print(before == sorted(handle.pid for handle in pool._pool))
    """)
    out, err, code = finish(process)
    assert (out, code) == ("child 0\n0.5 0.5 []\nTrue\n", 0), err


def test_the_zygote_s_death_is_survived(pool):
    """A new one is forked; tasks go on."""
    with Path(f"/proc/{pool._pool[0].pid}/stat").open() as file:
        zygote = int(file.read().rsplit(")", 1)[1].split()[1])
    assert zygote != os.getpid()
    os.kill(zygote, signal.SIGKILL)
    for _ in range(5):
        assert pool.map(tasks.square, range(10), on_death="retry") == [n * n for n in range(10)]
    eventually(lambda: sum(handle.is_alive() for handle in pool._pool) == 2, "workers missing")
