"""``shared_results=True``: large arrays come back as read-only views of the segments that the workers wrote."""

import gc
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import large_tasks
import numpy
import pytest

from holdfast import Pool, WorkerDiedError

COUNT = 1 << 18  # 2 MiB of floats
BYTES = COUNT * 8


def full(number, count=COUNT):
    return (numpy.full(count, float(number)),)


def is_view(array):
    return "holdfast-buffer" in large_tasks.mapped_from(array)


def segments():
    """Bytes of segments that this process has mapped."""
    total = 0
    for line in Path("/proc/self/maps").read_text().splitlines():
        if "memfd:holdfast-buffer" in line:
            low, high = (int(part, 16) for part in line.split()[0].split("-"))
            total += high - low
    return total


@pytest.fixture
def one():
    """A pool of one worker that gives views."""
    with Pool(1, shared_results=True) as pool:
        yield pool


def test_without_it_results_are_private_copies():
    """The default: writable, and nobody else's."""
    with Pool(1) as pool:
        array = pool.apply(large_tasks.same, full(1))
    assert not is_view(array)
    array += 1.0
    assert array.sum() == 2 * COUNT


@pytest.mark.parametrize("call", ["apply", "map", "imap", "imap_unordered", "callback"])
def test_every_call_gives_views(one, call):
    """Read-only ones."""
    seen = []
    if call == "apply":
        array = one.apply(large_tasks.same, full(5))
    elif call == "callback":
        one.apply_async(large_tasks.same, full(5), callback=seen.append).get()
        (array,) = seen
    else:
        (array,) = getattr(one, call)(large_tasks.same, full(5))
    assert is_view(array)
    assert not array.flags.writeable
    assert (array == 5.0).all()
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 1.0
    seen.clear()


def test_small_arrays_and_other_values_are_as_ever(one):
    """Bytes and texts own their memory; a small buffer is cheaper copied."""
    assert one.apply(large_tasks.same, (b"x" * BYTES,)) == b"x" * BYTES
    array = one.apply(large_tasks.same, full(3, 1 << 13))
    assert not is_view(array)
    array += 1.0


def test_a_view_keeps_its_bytes_while_later_results_come(one):
    """Its segment is not used again before it is let go; then it is."""
    kept = [one.apply(large_tasks.same, full(number)) for number in range(40)]
    assert all(is_view(each) for each in kept)
    for number in range(8):
        assert (one.apply(large_tasks.same, full(100 + number)) == 100.0 + number).all()
    assert [float(each[0]) for each in kept] == [float(number) for number in range(40)]
    assert all((each == number).all() for number, each in enumerate(kept))


def test_segments_are_used_again(one):
    """A hundred results that are let go need no more memory than a few."""
    one.apply(large_tasks.same, full(0))
    before = segments()
    for number in range(100):
        assert one.apply(large_tasks.same, full(number))[-1] == number
    assert segments() <= before + 2 * BYTES


def test_a_piece_of_an_array_keeps_it(one):
    """A slice, and what was made of it, after the array itself is gone."""
    piece = one.apply(large_tasks.same, full(6))[1000:2000].reshape(10, 100)
    for number in range(8):
        one.apply(large_tasks.same, full(number))
    gc.collect()
    assert (piece == 6.0).all()


def test_views_outlive_the_pool():
    """And its workers, its zygote and its segments' other mappings."""
    with Pool(2, shared_results=True) as pool:
        arrays = pool.map(large_tasks.same, [full(number)[0] for number in range(6)])
    pool.join()
    del pool
    gc.collect()
    assert all(is_view(each) and (each == number).all() for number, each in enumerate(arrays))
    assert segments() >= 6 * BYTES
    arrays.clear()
    gc.collect()
    assert segments() == 0


def test_views_outlive_their_worker(one):
    """A worker that dies takes nothing along, and what it leaves behind is gone with the views."""
    arrays = [one.apply(large_tasks.same, full(number)) for number in range(3)]
    with pytest.raises(WorkerDiedError):
        one.apply(os.kill, (one._pool[0].pid, signal.SIGKILL))
    assert (one.apply(large_tasks.same, full(9)) == 9.0).all()
    assert all((each == number).all() for number, each in enumerate(arrays))


def sums_of_survivors(pool, number):
    """Four tasks on workers that are killed meanwhile: the sums of those that came back."""
    results = [pool.apply_async(large_tasks.same, full(number)) for _ in range(4)]
    for handle in pool._pool:
        if handle.pid is not None and handle.is_alive():
            os.kill(handle.pid, signal.SIGKILL)
    sums = []
    for result in results:
        try:
            sums.append(float(result.get().sum()))
        except WorkerDiedError:
            pass
    return sums


def test_deaths_leave_no_segment_behind():
    """Workers that die with results under way: argument and result segments are freed, nothing has a name."""
    with Pool(2, shared_results=True) as pool:
        for number in range(10):
            sums = sums_of_survivors(pool, number)
            assert sums == [number * COUNT] * len(sums)
        assert (pool.apply(large_tasks.same, full(1)) == 1.0).all()
        pool.close()
        pool.join()
    del pool
    gc.collect()
    assert segments() == 0
    assert not list(Path("/dev/shm").glob("*holdfast*"))


def test_the_limit_makes_copies_of_the_rest():
    """Views hold no more than it; results beyond it are private copies, and views again when some are let go."""
    with Pool(1, shared_results=True, shared_memory_limit=3 * 2 * BYTES) as pool:
        # An array of 2 MiB with its pickle lies in a segment of 4 MiB.
        kept = [pool.apply(large_tasks.same, full(number)) for number in range(6)]
        assert [is_view(each) for each in kept] == [True] * 3 + [False] * 3
        assert all((each == number).all() for number, each in enumerate(kept))
        assert [each.flags.writeable for each in kept] == [False] * 3 + [True] * 3
        del kept[0]
        assert is_view(pool.apply(large_tasks.same, full(7)))


@pytest.mark.parametrize(
    ("limit", "error", "words"),
    [
        ("lots", ValueError, "shared_memory_limit must be a number of bytes or a text like \"2GiB\", not 'lots'"),
        (1.5, TypeError, "shared_memory_limit must be a number of bytes"),
        (True, TypeError, "shared_memory_limit must be a number of bytes"),
        (0, ValueError, "shared_memory_limit must be at least 1 byte"),
        (2**63, ValueError, "shared_memory_limit must be at least 1 byte and less than"),
    ],
)
def test_a_limit_that_makes_no_sense(limit, error, words):
    """Is refused by name, before anything starts."""
    with pytest.raises(error, match=words):
        Pool(1, shared_memory_limit=limit)


@pytest.mark.parametrize(
    ("text", "size"), [("2GiB", 2 << 30), ("1.5 MiB", 3 << 19), ("500kB", 500_000), ("64B", 64), ("12", 12)]
)
def test_sizes_as_texts(text, size):
    """Powers of 1024 with an i, of 1000 without."""
    from holdfast._options import PoolOptions

    assert PoolOptions(1, shared_memory_limit=text).size_of("shared_memory_limit") == size


def test_shared_results_must_be_a_truth_value():
    """As the other switches."""
    with pytest.raises(TypeError, match="shared_results must be True or False"):
        Pool(1, shared_results="yes")


def test_a_forked_child_goes_on_seeing_its_views(one):
    """A segment that a fork of the host has inherited is not used again, whatever the parent does with its own array."""
    array = one.apply(large_tasks.same, full(4))
    go_read, go_write = os.pipe()
    told_read, told_write = os.pipe()
    child = os.fork()
    if child == 0:
        os.read(go_read, 1)
        os.write(told_write, b"%f" % float(array.sum()))
        os._exit(0)
    try:
        del array
        for number in range(8):
            one.apply(large_tasks.same, full(50 + number))
        os.write(go_write, b"x")
        assert float(os.read(told_read, 100)) == 4.0 * COUNT
    finally:
        os.waitpid(child, 0)
        for end in (go_read, go_write, told_read, told_write):
            os.close(end)


def test_the_interpreter_may_end_with_views_alive():
    """In globals, in cycles, with the pool open or not."""
    program = textwrap.dedent(
        """
        import numpy
        import holdfast

        def made(number):
            return numpy.full(1 << 18, float(number))

        class Cycle:
            pass

        pool = holdfast.Pool(2, shared_results=True)
        arrays = pool.map(made, range(4))
        cycle = Cycle()
        cycle.self, cycle.array = cycle, arrays[0]
        pending = pool.apply_async(made, (5,))
        pending.wait()
        print(sum(float(each.sum()) for each in arrays))
        """
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert float(done.stdout) == 6.0 * COUNT
    assert done.stderr == ""
