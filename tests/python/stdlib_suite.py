"""Runs the interpreter's own tests of multiprocessing.Pool with holdfast.Pool in its place: python stdlib_suite.py <start method>."""

import multiprocessing
import multiprocessing.context
import os
import sys
import unittest

from test import _test_multiprocessing as suite

import holdfast


def make_pool(*args, **kwargs):
    return holdfast.Pool(*args, **kwargs)


def make_pool_of_context(self, *args, **kwargs):
    return holdfast.Pool(*args, context=self.get_context(), **kwargs)


# Also in workers of spawn, which import this module again and find the suite's classes in it.
multiprocessing.Pool = suite.multiprocessing.Pool = make_pool
multiprocessing.context.BaseContext.Pool = make_pool_of_context
suite.install_tests_in_module_dict(globals(), os.environ["STDLIB_SUITE_METHOD"])


def main():
    """Only the process-based tests of pools: managers and threads have pools of their own."""
    tests = unittest.TestSuite()
    for name, value in list(globals().items()):
        is_case = isinstance(value, type) and issubclass(value, unittest.TestCase)
        if is_case and "Pool" in name and "Manager" not in name and "Thread" not in name:
            tests.addTests(unittest.defaultTestLoader.loadTestsFromTestCase(value))
    globals()["setUpModule"]()
    result = unittest.TextTestRunner(verbosity=2).run(tests)
    globals()["tearDownModule"]()
    print(f"ran {result.testsRun}")
    sys.exit(not result.wasSuccessful())


if __name__ == "__main__":
    main()
