"""Large arguments lie in segments: a task gets a private mapping of them, which nobody else sees change, and which nobody changes under it."""

import os

import large_tasks
import numpy
import pytest

from holdfast import Pool, WorkerDiedError

COUNT = 1 << 18  # 2 MiB of floats: in a buffer of its own
STAGED = 1 << 16  # 512 KiB: put into a buffer when it is sent
SIZES = pytest.mark.parametrize("count", [COUNT, STAGED])


@pytest.fixture
def one():
    """A pool of one worker: what a task leaves behind the next one meets."""
    with Pool(1) as pool:
        yield pool


@SIZES
def test_an_array_is_read_where_it_lies(one, count):
    """The worker's array is the segment itself, and may be written to."""
    name, writeable = one.apply(large_tasks.where, (numpy.ones(count),))
    assert "holdfast-buffer" in name
    assert writeable


def test_a_small_one_is_a_copy(one):
    """Below the limit a copy is cheaper than a mapping's page faults."""
    name, writeable = one.apply(large_tasks.where, (numpy.ones(1 << 13),))
    assert "holdfast" not in name
    assert writeable


def test_a_read_only_array_stays_read_only(one):
    """As the caller has it."""
    array = numpy.ones(COUNT)
    array.flags.writeable = False
    name, writeable = one.apply(large_tasks.where, (array,))
    assert "holdfast-buffer" in name
    assert not writeable


@SIZES
def test_what_a_task_writes_the_next_one_does_not_see(one, count):
    """Nor does the caller."""
    array = numpy.ones(count)
    for number in range(6):
        array[0] = number
        assert one.apply(large_tasks.total_then_spoil, (array,)) == count - 1 + number
        assert array[0] == number
        assert array[1] == 1.0


@SIZES
@pytest.mark.parametrize("task", [large_tasks.spoil_and_fail_once, large_tasks.spoil_and_die_once])
def test_a_retry_sees_the_original(tmp_path, task, count):
    """In the worker that has written to it (an exception), and in another (a death)."""
    with Pool(1, on_error="retry", on_death="retry") as pool:
        assert pool.apply(task, (numpy.ones(count), str(tmp_path / "ran"))) == count


@SIZES
def test_what_a_task_keeps_stays_as_it_was(one, count):
    """A global outlives the item: later arguments go through the same segments and do not show in it."""
    for number in range(4):
        one.apply(large_tasks.keep, (numpy.full(count, float(number)),))
        one.apply(large_tasks.keep_a_piece, (numpy.full(count, 10.0 + number),))
    for _ in range(8):
        assert one.apply(large_tasks.total, (numpy.full(count, 99.0),)) == 99.0 * count
    kept = one.apply(large_tasks.kept_sums)
    expected = []
    for number in range(4):
        expected += [(number * count, number, number), (1000 * (10.0 + number), 10.0 + number, 10.0 + number)]
    assert kept == expected
    one.apply(large_tasks.forget)
    assert one.apply(large_tasks.total, (numpy.ones(count),)) == count


def test_a_map_gives_each_item_its_own():
    """Many segments at once, two workers."""
    arrays = [numpy.full(COUNT, float(number)) for number in range(12)]
    with Pool(2) as pool:
        for _ in range(3):
            assert pool.map(large_tasks.total_then_spoil, arrays, chunksize=3) == [each.sum() for each in arrays]


@SIZES
def test_an_argument_that_is_the_result(one, count):
    """The view is pickled into the result's segment before it is let go."""
    for number in range(4):
        array = one.apply(large_tasks.same, (numpy.full(count, float(number)),))
        assert (array == number).all()
        array += 1.0


def test_an_argument_in_the_exception(one):
    """A traceback's frames hold it, too."""
    for _ in range(3):
        with pytest.raises(ValueError, match="1") as caught:
            one.apply(large_tasks.raise_with, (numpy.ones(COUNT),))
        assert caught.value.args[0].sum() == COUNT
    assert one.apply(large_tasks.total, (numpy.ones(COUNT),)) == COUNT


def test_a_child_that_outlives_the_task_sees_no_later_argument(one):
    """A fork makes the task's pages its own first: the segment is used again while the child still reads."""
    go_read, go_write = os.pipe()
    told_read, told_write = os.pipe()
    for end in (go_read, told_write):
        os.set_inheritable(end, True)  # not needed for fork; it says what is meant
    try:
        with Pool(1) as pool:  # forked with the pipes
            pool.apply(large_tasks.fork_and_leave, (numpy.ones(COUNT), go_read, told_write))
            for _ in range(4):
                pool.apply(large_tasks.total_then_spoil, (numpy.full(COUNT, 7.0),))
            os.write(go_write, b"x")
            assert float(os.read(told_read, 100)) == COUNT
    finally:
        for end in (go_read, go_write, told_read, told_write):
            os.close(end)


def test_a_child_of_the_task_can_read_the_argument():
    """The mapping is inherited, as all of the worker's memory is."""
    with Pool(1, daemon=False) as pool:
        assert pool.apply(large_tasks.sum_in_child, (numpy.ones(COUNT),)) == COUNT


def test_a_thread_that_outlives_the_task_reads_on_undisturbed(one):
    """Making the pages own and using the segment again happen beside it."""
    one.apply(large_tasks.read_in_thread, (numpy.ones(COUNT), 400))
    for _ in range(20):
        one.apply(large_tasks.total_then_spoil, (numpy.full(COUNT, 7.0),))
    assert one.apply(large_tasks.thread_saw) == []


def test_a_death_while_the_argument_is_rebuilt_costs_that_task_only():
    """The segment goes to the next task as if nothing had happened."""
    with Pool(1) as pool:
        for _ in range(3):
            with pytest.raises(WorkerDiedError):
                pool.apply(large_tasks.total, (large_tasks.Dying(numpy.ones(COUNT)),))
            assert pool.apply(large_tasks.total, (numpy.ones(COUNT),)) == COUNT


def test_workers_hold_no_descriptors_of_segments(one):
    """They are closed once mapped, however often a segment is sent again."""
    before = one.apply(large_tasks.descriptors)
    for _ in range(10):
        one.apply(large_tasks.keep, (numpy.ones(COUNT),))
    assert one.apply(large_tasks.descriptors) == before
