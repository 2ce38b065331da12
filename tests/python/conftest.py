"""Fixtures for the tests of the Python package: pools of both classes, and a look for what a test has left behind."""

import gc
import multiprocessing.resource_tracker
import threading
from pathlib import Path

import pytest

import holdfast
from support.patience import until


def _descriptors():
    found = {}
    for entry in Path("/proc/self/fd").iterdir():
        try:
            found[int(entry.name)] = str(entry.readlink())
        except OSError:
            pass  # the descriptor of the listing itself
    return found


def _command(pid):
    try:
        with Path(f"/proc/{pid}/cmdline").open() as file:
            return file.read().replace("\0", " ") or "(zombie)"
    except OSError:
        return "(gone)"


def _children():
    found = []
    for task in Path("/proc/self/task").iterdir():
        try:
            found += (task / "children").read_text().split()
        except FileNotFoundError:
            pass  # the thread has just ended
    return set(found)


def eventually(condition, message):
    """Wait for a condition that has no event to wait for; *message* says what was missing when the test's time was over."""
    assert until(condition), message() if callable(message) else message


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Remember failures: the traceback of a failed test keeps its pool alive, which is no leak."""
    report = yield
    if report.failed:
        item.stash[_FAILED] = True
    return report


_FAILED = pytest.StashKey[bool]()


def end_all_pools():
    """Those that a failed test has left open: their processes and warnings must not come into a later test."""
    gc.collect()
    for each in gc.get_objects():
        if issubclass(type(each), holdfast.Pool):
            each.kill()


@pytest.fixture(autouse=True, scope="session")
def quick_collections():
    """Leave what the test tools have imported out of the collections that follow each test."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def nothing_left_behind(request):
    """After each test: no new child, thread or descriptor (memfds are descriptors)."""
    multiprocessing.resource_tracker.ensure_running()  # a test with locks would start it, and it stays
    gc.collect()
    threads, descriptors, children = set(threading.enumerate()), _descriptors(), _children()
    yield
    request.node.funcargs.clear()  # pytest keeps the test's pool alive until after this fixture
    if request.node.stash.get(_FAILED, False):
        end_all_pools()
        return
    gc.collect()
    eventually(
        lambda: _children() <= children,
        lambda: f"processes left: {[(pid, _command(pid)) for pid in _children() - children]}",
    )
    eventually(
        lambda: set(threading.enumerate()) <= threads, lambda: f"threads left: {set(threading.enumerate()) - threads}"
    )
    eventually(
        lambda: _descriptors().keys() <= descriptors.keys(),
        lambda: f"descriptors left: { {fd: name for fd, name in _descriptors().items() if fd not in descriptors} }",
    )


@pytest.fixture
def pool():
    """A pool of two workers that no test closes."""
    with holdfast.Pool(2) as made:
        yield made


@pytest.fixture(params=["holdfast", "standard"])
def pool_class(request):
    """Both classes, for what must be the same in both."""
    return holdfast.Pool if request.param == "holdfast" else multiprocessing.Pool


@pytest.fixture
def either_pool(pool_class):
    """A pool of two workers, of either class."""
    with pool_class(2) as made:
        yield made
