"""A host with no memory left: a result that does not fit is an error of its task, items that do not fit are the caller's error, and the
pool goes on."""

import pytest
from test_end import finish, start

PROGRAM = """
import resource
from holdfast import Pool

def block(n):
    return bytes(30_000)

def same(n):
    return n

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[0]) * resource.getpagesize()

if __name__ == "__main__":
    with Pool(2) as pool:
        pool.map(same, range(10))
        limit = resident() + (100 << 20)
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        failed = 0
        try:
            {call}
        except MemoryError:
            failed += 1
        values = results = None
        print(failed > 0, pool.map(same, range(5)))
"""


@pytest.mark.parametrize(
    "call",
    [
        pytest.param("values = pool.map(block, range(8_000), chunksize=100)", id="results in runs"),
        pytest.param("values = pool.map(block, range(8_000), chunksize=1)", id="results one by one"),
        pytest.param("values = pool.map(same, range(12_000_000))", id="items of a map"),
        pytest.param("values = list(pool.imap(block, range(8_000), chunksize=10))", id="imap"),
    ],
)
def test_no_memory_is_an_error_of_the_call(call):
    """240 MB of results (or items) into 100 MB of address space."""
    out, err, code = finish(start(PROGRAM.replace("{call}", call)))
    assert (out, code) == ("True [0, 1, 2, 3, 4]\n", 0), err
