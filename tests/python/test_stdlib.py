"""P10: the standard library's own tests of Pool pass with holdfast.Pool in its place."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

if importlib.util.find_spec("test._test_multiprocessing") is None:  # some distributions leave the tests out
    pytest.skip("this interpreter comes without its own test suite", allow_module_level=True)


@pytest.mark.slow
@pytest.mark.limit(120)
@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_the_interpreter_s_own_pool_tests_pass(method):
    """All of them, with each start method."""
    script = Path(__file__).with_name("stdlib_suite.py")
    environment = {**os.environ, "STDLIB_SUITE_METHOD": method}
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", str(script)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    ran = re.search(r"^ran (\d+)$", done.stdout, re.MULTILINE)
    assert ran is not None and int(ran[1]) >= 30
