"""The tests' own clock and waits (support/patience.py) can fail: a promise that was broken is told, and a wait in vain ends before the outer limit."""

import pytest

from support import patience


def test_a_broken_promise_is_told():
    """An hour for what was promised in a second, on any machine; the words have both."""
    watch = patience.Stopwatch()
    watch.check(1)
    watch.began -= 3600
    assert "promised 1 s" in watch.late(1)
    with pytest.raises(AssertionError, match="took 3600"):
        watch.check(1)


def test_the_end_may_have_been_told_by_another_process():
    """Only what passed until then counts."""
    watch = patience.Stopwatch()
    told = watch.began + 0.5
    watch.began -= 1e-3
    assert watch.late(0.6, at=told) == ""
    assert watch.late(0.5, at=told + 3600)


@pytest.mark.limit(5 + patience.RESERVE_SECONDS)
def test_a_wait_in_vain_ends_before_the_outer_limit():
    """So that it can say what it waited for."""
    assert 0 < patience.seconds_left() <= 5
    assert patience.until(lambda: True)
    assert not patience.until(lambda: False, limit_s=0.01)
    patience.set_limit(0)  # of this test: long over
    assert not patience.until(lambda: False)
