"""fork, forkserver and spawn: each gives the same pool."""

import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import time

import pool_tasks as tasks
import pytest

import holdfast


@pytest.fixture(scope="module", params=["fork", "forkserver", "spawn"])
def context(request):
    return multiprocessing.get_context(request.param)


def set_shared(lock, queue):
    global LOCK, QUEUE
    LOCK, QUEUE = lock, queue


def use_shared(value):
    with LOCK:
        QUEUE.put(value)
    return value


def test_a_pool_of_each_method(context):
    """Map, lambdas, deaths, policies, and the end."""
    with holdfast.Pool(2, context=context) as pool:
        assert pool.map(tasks.square, range(20)) == [n * n for n in range(20)]
        assert pool.map(lambda number: number + 1, range(3)) == [1, 2, 3]
        assert pool.map(tasks.kill_on_three, range(6), on_death="skip") == [0, 1, 4, None, 16, 25]
        name, daemon, parent = pool.apply(tasks.worker_view)
        assert name.startswith(
            {"fork": "Fork", "forkserver": "ForkServer", "spawn": "Spawn"}[context.get_start_method()] + "PoolWorker-"
        )
        assert daemon and parent == os.getpid()


def test_locks_and_queues_go_through_initargs(context):
    """As arguments of a Process would."""
    queue = context.SimpleQueue()
    try:
        with holdfast.Pool(2, set_shared, (context.Lock(), queue), context=context) as pool:
            assert pool.map(use_shared, range(5)) == list(range(5))
            assert sorted(queue.get() for _ in range(5)) == list(range(5))
    finally:
        queue.close()


def test_replacements_are_initialised_too(context):
    """The worker that takes a dead one's place has run the initializer."""
    with holdfast.Pool(1, tasks.set_global, (7,), context=context) as pool:
        assert pool.apply(tasks.get_global) == 7
        victim = pool._pool[0]
        os.kill(victim.pid, signal.SIGKILL)
        victim.join()
        assert pool.apply(tasks.get_global) == 7


def has_loaded(name):
    return name in sys.modules


def test_an_idle_worker_loads_what_an_exception_will_need():
    """Not before its first task, and not at the exception either: a task may have used up the descriptors by then."""
    with holdfast.Pool(1, context="spawn") as pool:
        pool.apply(os.getpid)
        assert not pool.apply(has_loaded, ("holdfast._errors",))
        rest_s = 0.1
        while not pool.apply(has_loaded, ("holdfast._describe",)):
            assert rest_s < 20, "not loaded after a rest"
            time.sleep(rest_s)  # that it is idle for so long is what this is about
            rest_s *= 2


def test_the_context_may_be_a_name():
    """context="spawn" for multiprocessing.get_context("spawn")."""
    with holdfast.Pool(1, context="spawn") as pool:
        assert "Spawn" in pool.apply(tasks.worker_view)[0]
    with pytest.raises(ValueError, match="no_such"):
        holdfast.Pool(1, context="no_such")


def test_the_default_is_the_interpreter_s():
    """get_context() decides."""
    with holdfast.Pool(1) as pool:
        assert pool._ctx.get_start_method() == multiprocessing.get_start_method()


def run_python(arguments, text=None):
    return subprocess.run(
        [sys.executable, *arguments], input=text, capture_output=True, text=True, timeout=50, check=False
    )


PROGRAM = textwrap.dedent(
    """
    from holdfast import Pool
    class Point:
        def __init__(self, x): self.x = x
    def double(point): return Point(2 * point.x)
    def main(method):
        with Pool(2, context=method) as pool:
            print([point.x for point in pool.map(double, [Point(1), Point(2)])])
    """
)


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_functions_and_classes_of_a_main_that_cannot_be_imported(method):
    """python -c: they go by value, also as results."""
    done = run_python(["-c", f"{PROGRAM}\nmain({method!r})"])
    assert (done.stdout, done.stderr, done.returncode) == ("[2, 4]\n", "", 0)


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_functions_and_classes_of_a_script(method, tmp_path):
    """A file with the usual guard: by reference, as with the standard pool."""
    script = tmp_path / "script.py"
    script.write_text(f"{PROGRAM}\nif __name__ == '__main__':\n    main({method!r})\n")
    done = run_python([str(script)])
    assert (done.stdout, done.stderr, done.returncode) == ("[2, 4]\n", "", 0)


def test_a_script_without_the_guard_is_told_why(tmp_path):
    """Under spawn it would start itself for ever: the pool breaks with the standard library's explanation."""
    script = tmp_path / "script.py"
    script.write_text(f"{PROGRAM}\nmain('spawn')\n")
    done = run_python([str(script)])
    assert done.returncode == 1 and "PoolBrokenError" in done.stderr and "freeze_support" in done.stderr


THREADED = textwrap.dedent(
    """
    import multiprocessing, os, sys, threading, time
    from holdfast import Pool
    def start():
        threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
    if __name__ == "__main__":
        os.register_at_fork(after_in_child=start)
        multiprocessing.set_forkserver_preload(["threaded"])
        with Pool(1, context=sys.argv[1]) as pool:
            print(pool.apply(threading.active_count))
    """
)


def test_a_zygote_that_is_not_alone_is_reported(tmp_path):
    """Workers are forked from it: what its threads hold at that moment nobody releases in the worker."""
    (tmp_path / "threaded.py").write_text(
        "import threading, time\n" + THREADED.split("Pool\n")[1].split("if __name__")[0] + "start()\n"
    )
    (tmp_path / "program.py").write_text(THREADED)
    done = run_python([str(tmp_path / "program.py"), "forkserver"])
    assert done.stdout == "1\n" and done.returncode == 0
    assert "has 2 threads instead of 1" in done.stderr


def test_the_zygote_of_fork_is_alone_whatever_fork_hooks_do(tmp_path):
    """It runs no Python: the hooks run in the workers, once in each, as in a child of the caller."""
    (tmp_path / "program.py").write_text(THREADED)
    done = run_python([str(tmp_path / "program.py"), "fork"])
    assert (done.stdout, done.stderr, done.returncode) == ("2\n", "", 0)


HOOKED = textwrap.dedent(
    """
    import os, signal
    from holdfast import Pool, WorkerDiedError
    calls = []
    os.register_at_fork(
        before=lambda: calls.append("before"),
        after_in_parent=lambda: calls.append("parent"),
        after_in_child=lambda: calls.append("child"),
    )
    def show():
        return calls
    with Pool(1, context="fork") as pool:
        for _ in range(3):
            print(*pool.apply(show))
            try:
                pool.apply(os.kill, (pool.apply(os.getpid), signal.SIGKILL))
            except WorkerDiedError:
                pass
    """
)


def test_fork_hooks_run_as_for_a_child_of_the_caller():
    """Once each, however many forks lie between the caller and the worker, and in replacements, too."""
    done = run_python(["-c", HOOKED])
    assert (done.stdout, done.stderr, done.returncode) == ("before child\n" * 3, "", 0)


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_a_zygote_starts_when_its_maker_forks_plainly(method):
    """Where vfork() is not used the pool's fork hooks run before the exec: the zygote has copies of what it needs."""
    program = "import subprocess; subprocess._USE_VFORK = False\nimport holdfast\n"
    program += f"with holdfast.Pool(1, context={method!r}) as pool: print(pool.apply(abs, (-1,)))"
    done = run_python(["-c", program])
    assert (done.stdout, done.stderr, done.returncode) == ("1\n", "", 0)
