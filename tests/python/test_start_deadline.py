"""P12: a start that does not get on is a failed start: told with what is known of it, tried again, and the pool breaks if it never works."""

import importlib
import multiprocessing
import os
import sys
import textwrap

import pool_tasks as tasks
import pytest

import holdfast

LATE = """
    import os, signal, time
    from pathlib import Path

    HERE = Path(__file__).parent

    def late():
        '''Stops or blocks the first one that comes by, or each.'''
        if not (HERE / "always").exists():
            try:
                (HERE / "done").touch(exist_ok=False)
            except FileExistsError:
                return
        if (HERE / "stopped").exists():
            os.kill(os.getpid(), signal.SIGSTOP)
        while True:
            time.sleep(60)

    def late_in_worker():
        if Path(f"/proc/{os.getppid()}/comm").read_text() == "hf-zygote\\n":
            late()
"""

_at_fork = []
os.register_at_fork(after_in_child=lambda: [hook() for hook in _at_fork])


@pytest.fixture
def late_worker(tmp_path, monkeypatch):
    """Makes workers of a start method late: `once` or `always`, `stopped` or `stuck`."""
    (tmp_path / "late.py").write_text(textwrap.dedent(LATE))
    monkeypatch.syspath_prepend(tmp_path)

    def arrange(method, often, how):
        (tmp_path / often).touch()
        (tmp_path / how).touch()
        if method == "fork":
            _at_fork.append(importlib.import_module("late").late_in_worker)
        elif method == "forkserver":
            (tmp_path / "late_preload.py").write_text(
                "import os, late\nos.register_at_fork(after_in_child=late.late_in_worker)\n"
            )
            multiprocessing.set_forkserver_preload(["late_preload"])
        else:  # the zygote's interpreter has no such variable, its workers' have
            (tmp_path / "sitecustomize.py").write_text(
                "import os\nif 'HOLDFAST_WORKER' in os.environ:\n    import late\n    late.late()\n"
            )
            monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    yield arrange
    _at_fork.clear()
    multiprocessing.set_forkserver_preload(["__main__"])  # the default
    sys.modules.pop("late", None)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["stopped", "stuck"])
@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_a_worker_that_says_no_hello_is_replaced(late_worker, method, how):
    """The pool goes on with the next one."""
    late_worker(method, "once", how)
    # The others must make it on a loaded machine, too, where a fresh interpreter (of a worker, of a zygote) takes its time.
    with holdfast.Pool(1, context=method, start_deadline=1.0 if method == "fork" else 4.0, max_restarts=100) as pool:
        assert pool.apply(tasks.square, (3,)) == 9
        assert pool.stats()["failed_starts"] >= 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "how", "told"), [("fork", "stopped", "it is stopped"), ("spawn", "stuck", "stuck in its start")]
)
def test_workers_that_never_say_hello_break_the_pool(late_worker, method, how, told):
    """With the reason, told to the waiting call."""
    late_worker(method, "always", how)
    with holdfast.Pool(1, context=method, start_deadline=3.0, max_restarts=1) as pool:
        with pytest.raises(holdfast.PoolBrokenError, match=rf"did not say hello within 3 s: .*{told}"):
            pool.apply(tasks.square, (3,))


@pytest.mark.slow
def test_a_zygote_that_is_stuck_in_a_preload_breaks_the_pool(tmp_path, monkeypatch):
    """It is replaced twice, and then it is said what it was."""
    (tmp_path / "endless_preload.py").write_text("import time\nwhile True: time.sleep(60)\n")
    monkeypatch.syspath_prepend(tmp_path)
    multiprocessing.set_forkserver_preload(["endless_preload"])
    try:
        with holdfast.Pool(2, context="forkserver", start_deadline=0.5) as pool:
            with pytest.raises(
                holdfast.PoolBrokenError, match=r"answered no request within 0\.5 s.*set_forkserver_preload"
            ):
                pool.apply(tasks.square, (3,))
    finally:
        multiprocessing.set_forkserver_preload(["__main__"])


@pytest.mark.parametrize(("value", "error"), [(0, ValueError), (-1, ValueError), ("1", TypeError), (None, TypeError)])
def test_bad_deadlines(value, error):
    """The error names the argument."""
    with pytest.raises(error, match="start_deadline"):
        holdfast.Pool(1, start_deadline=value)
