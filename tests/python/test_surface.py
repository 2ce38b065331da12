"""The public surface: names, signatures, and that nothing of the standard Pool's machinery is reached."""

import ast
import inspect
import multiprocessing.pool
import subprocess
import sys
from pathlib import Path

import pytest

import holdfast
from holdfast import _core

# The standard pool's inner machinery: nothing of ours calls it, and it needs threads that ours does not have.
MACHINERY = {
    "Process",
    "_get_sentinels",
    "_get_tasks",
    "_get_worker_sentinels",
    "_guarded_task_generation",
    "_handle_results",
    "_handle_tasks",
    "_handle_workers",
    "_help_stuff_finish",
    "_join_exited_workers",
    "_repopulate_pool_static",
    "_setup_queues",
    "_terminate_pool",
    "_wait_for_updates",
    "_wrap_exception",
}


def test_every_method_of_the_standard_pool_is_replaced():
    """An inherited one would look for threads and queues that do not exist."""
    inherited = {name for name in vars(multiprocessing.pool.Pool) if name not in vars(holdfast.Pool)}
    assert (
        inherited
        - MACHINERY
        - {
            "__module__",
            "__doc__",
            "__dict__",
            "__weakref__",
            "__firstlineno__",
            "__static_attributes__",
            "_wrap_exception",
        }
        == set()
    )


@pytest.mark.parametrize(
    "name",
    [
        "apply",
        "apply_async",
        "map",
        "map_async",
        "starmap",
        "starmap_async",
        "imap",
        "imap_unordered",
        "close",
        "terminate",
        "join",
    ],
)
def test_signatures_begin_as_the_standard_ones(name):
    """Same names, order and defaults; ours come after."""
    standard = list(inspect.signature(getattr(multiprocessing.pool.Pool, name)).parameters.values())
    ours = list(inspect.signature(getattr(holdfast.Pool, name)).parameters.values())
    assert [(p.name, p.default) for p in ours[: len(standard)]] == [(p.name, p.default) for p in standard]


def test_the_constructor_begins_as_the_standard_one():
    """processes, initializer, initargs, maxtasksperchild, context."""
    standard = list(inspect.signature(multiprocessing.pool.Pool).parameters.values())
    ours = list(inspect.signature(holdfast.Pool).parameters.values())
    assert [(p.name, p.default) for p in ours[: len(standard)]] == [(p.name, p.default) for p in standard]


def test_public_names_exist():
    """__all__ is what it says, sorted."""
    assert sorted(holdfast.__all__) == holdfast.__all__
    for name in holdfast.__all__:
        assert getattr(holdfast, name).__doc__
    assert holdfast.__version__
    assert set(holdfast.__all__) <= set(dir(holdfast))
    with pytest.raises(AttributeError, match="module 'holdfast' has no attribute 'Poll'"):
        holdfast.Poll  # noqa: B018  # to be asked for


def test_the_stub_names_what_the_extension_has():
    """python/holdfast/_core.pyi against the module."""
    path = Path(holdfast.__file__).resolve().with_name("_core.pyi")
    tree = ast.parse(path.read_text())
    stub = {node.name: node for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    module = {name for name in vars(_core) if not name.startswith("__")}
    assert stub.keys() == module
    for name, node in stub.items():
        if isinstance(node, ast.ClassDef):
            cls = getattr(_core, name)
            declared = {item.name for item in node.body if isinstance(item, ast.FunctionDef)} - {
                "__new__",
                "__iter__",
                "__next__",
            }
            assert declared == {member for member in vars(cls) if not member.startswith("__")}, name


def test_importing_costs_little():
    """No cloudpickle, numpy or asyncio before they are needed."""
    code = "import sys, holdfast; print(sorted({'cloudpickle', 'numpy', 'asyncio'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout == "[]\n"


def loaded_by(statement):
    """The modules that *statement* loads in a fresh interpreter."""
    code = f"import sys; before = set(sys.modules); {statement}; print(*sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    return set(done.stdout.split())


def test_names_are_loaded_when_they_are_asked_for():
    """The package alone loads nothing; each name, also by a star import, is there all the same, and only what it needs comes along."""
    assert loaded_by("import holdfast") - {"__future__"} == {"holdfast"}
    assert loaded_by("from holdfast import ExitReport") & {"holdfast._pool", "holdfast._core"} == set()
    statement = "from holdfast import *; import holdfast; assert all(globals()[n] is getattr(holdfast, n) for n in holdfast.__all__)"
    assert "holdfast._pool" in loaded_by(statement)


def test_workers_and_zygotes_load_little():
    """What a fresh interpreter loads before its first task delays that task: each module here costs milliseconds, and no worker needs it."""
    loaded = loaded_by("import holdfast._clean_zygote, holdfast._child_pickles")
    assert loaded >= {"holdfast._worker", "holdfast._core", "multiprocessing.spawn"}
    assert {name for name in loaded if name.startswith("holdfast.")} == {
        "holdfast._child_pickles",
        "holdfast._clean_zygote",
        "holdfast._core",
        "holdfast._worker",
    }
    heavy = "concurrent dataclasses inspect logging multiprocessing.connection multiprocessing.pool shutil tempfile traceback typing"
    assert loaded & set(heavy.split()) == set()


def test_elsewhere_than_on_linux_importing_says_so():
    """One clear sentence instead of a missing module."""
    code = "import sys; sys.platform = 'darwin'; import holdfast"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1 and "ImportError: holdfast runs on Linux only" in done.stderr
