"""Runs CPython's own tests of multiprocessing.Pool against holdfast.Pool: python suite.py <start method> [part of a name ...].

Started by test_stdlib.py with site/ on PYTHONPATH, which makes multiprocessing.Pool holdfast's in this process and in all below it.
The tests are read from the interpreter: every one of test._test_multiprocessing in whose source a pool is named (so those that a
later version adds are run too), all of test.test_multiprocessing_main_handling for the start method, and the opening of twenty pools in
twenty threads of test_importlib. Pools of threads are another class and left out. The last line of the output is the result as JSON.
"""

import importlib
import inspect
import json
import multiprocessing
import multiprocessing.pool
import re
import sys
import unittest

from test import _test_multiprocessing
from test.support import script_helper

import holdfast

# Workers of forkserver and spawn import this file as __mp_main__ and look for the suite's classes in it.
_METHOD = sys.argv[1]
_test_multiprocessing.install_tests_in_module_dict(globals(), _METHOD)

_MAIN_HANDLING = {"fork": "ForkCmdLineTest", "forkserver": "ForkServerCmdLineTest", "spawn": "SpawnCmdLineTest"}
_POOL = re.compile(r"\bPool\b|\.pool\b|pool_in_process")


def of_multiprocessing():
    """The tests of _test_multiprocessing that use a pool: themselves, or by the set-up of their class."""
    for case in list(globals().values()):
        if not (isinstance(case, type) and issubclass(case, unittest.TestCase)) or case.__name__.startswith(
            "WithThreads"
        ):
            continue
        for name in unittest.defaultTestLoader.getTestCaseNames(case):
            if _POOL.search(inspect.getsource(getattr(case, name))):
                yield case(name)


def of_other_modules():
    """The tests of pools that stand elsewhere."""
    main_handling = importlib.import_module("test.test_multiprocessing_main_handling")
    yield from unittest.defaultTestLoader.loadTestsFromTestCase(getattr(main_handling, _MAIN_HANDLING[_METHOD]))
    if _METHOD == "fork":  # its script takes the default method
        threads = importlib.import_module("test.test_importlib.test_threaded_import")
        yield threads.ThreadedImportTests("test_multiprocessing_pool_circular_import")


class Result(unittest.TextTestResult):
    """Keeps the names of those that passed as well."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.passed = []

    def addSuccess(self, test):
        super().addSuccess(test)
        self.passed.append(test)


def short(test):
    """WithProcessesTestPool.test_map: also of a class whose setUpClass failed."""
    return ".".join(test.id().split(".")[-2:])


def main():
    """Runs all, or those with one of the given words in their names."""
    assert multiprocessing.pool.Pool is holdfast.Pool, "site/ is not on PYTHONPATH: this would test the standard pool"
    # -I and -E would keep site/ from the scripts.
    vars(script_helper)["__cached_interp_requires_environment"] = True
    tests = [*of_multiprocessing(), *of_other_modules()]
    if sys.argv[2:]:
        tests = [test for test in tests if any(word in test.id() for word in sys.argv[2:])]
    globals()["setUpModule"]()
    runner = unittest.TextTestRunner(verbosity=2, resultclass=Result)
    result = runner.run(unittest.TestSuite(tests))
    globals()["tearDownModule"]()
    failed = {short(test): text for test, text in result.errors + result.failures}
    skipped = {short(test): reason for test, reason in result.skipped}
    print(json.dumps({"passed": [short(test) for test in result.passed], "failed": failed, "skipped": skipped}))


if __name__ == "__main__":
    main()
