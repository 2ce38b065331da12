"""A signal handler that raises in the caller while an outcome is being made: the caller's exception, and the outcome is still there (P2)."""

import signal

import caller_signal_tasks as tasks
import pytest

import holdfast
from holdfast import _errors

ALARM, INT = signal.SIGALRM, signal.SIGINT
KINDS = {ALARM: tasks.Raised, INT: KeyboardInterrupt}


@pytest.fixture(autouse=True)
def handlers():
    """SIGALRM raises an Exception; SIGINT is Python's own. Nothing may be left over."""
    before = signal.signal(ALARM, tasks.raise_it), signal.signal(INT, signal.default_int_handler)
    tasks.INTERRUPTIONS.clear()
    tasks.ANSWERS.clear()
    yield
    signal.signal(ALARM, before[0])
    signal.signal(INT, before[1])
    assert not tasks.INTERRUPTIONS


@pytest.fixture
def pool():
    with holdfast.Pool(1) as pool:
        yield pool


@pytest.mark.parametrize("number", KINDS)
def test_a_result_that_is_interrupted_is_there_at_the_next_get(pool, number):
    result = pool.apply_async(tasks.interrupted, (7,))
    result.wait(20)
    tasks.INTERRUPTIONS.append(number)
    with pytest.raises(KINDS[number]):
        result.get(20)
    assert result.get(20).value == 7
    assert result.successful()


@pytest.mark.parametrize("number", KINDS)
@pytest.mark.parametrize("times", [1, 2, 3])
def test_a_map_that_is_interrupted_loses_no_item(pool, number, times):
    result = pool.map_async(tasks.interrupted, range(5), chunksize=1)
    result.wait(20)
    tasks.INTERRUPTIONS.extend([number] * times)
    with pytest.raises(KINDS[number]):
        result.get(20)
    assert [item.value for item in result.get(20)] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("number", KINDS)
@pytest.mark.parametrize("method", ["imap", "imap_unordered"])
def test_an_iterator_that_is_interrupted_gives_its_item_next(pool, method, number):
    items = getattr(pool, method)(tasks.interrupted, range(3))
    assert next(items).value == 0
    tasks.INTERRUPTIONS.append(number)
    with pytest.raises(KINDS[number]):
        next(items)
    assert [item.value for item in items] == [1, 2]


@pytest.mark.parametrize("number", KINDS)
def test_an_exception_of_a_task_that_is_interrupted(pool, number):
    result = pool.apply_async(tasks.raises_interrupted, (5,))
    result.wait(20)
    tasks.INTERRUPTIONS.append(number)
    with pytest.raises(KINDS[number]):
        result.get(20)
    with pytest.raises(tasks.InterruptedError_) as caught:
        result.get(20)
    assert caught.value.args == (5,) and "raises_interrupted" in str(caught.value.__cause__)


SUBMITS = {
    "apply": lambda pool, item: pool.apply(tasks.value_of, (item,)),
    "keyword": lambda pool, item: pool.apply(tasks.value_of, (), {"item": item}),
    "map": lambda pool, item: pool.map(tasks.value_of, [tasks.InterruptedPickling(1), item])[1],
    "map of an iterator": lambda pool, item: pool.map(tasks.value_of, iter([item]))[0],
    "starmap": lambda pool, item: pool.starmap(tasks.value_of, [(item, 0)])[0],
    "function": lambda pool, item: pool.apply(item, (0,)),
    "imap's function": lambda pool, item: next(pool.imap(item, [0])),
}
HANDLERS = {
    tasks.raise_it: tasks.Raised,
    tasks.raise_from_star: tasks.Raised,
    tasks.refuse_it: tasks.Refused,
    signal.default_int_handler: KeyboardInterrupt,
}


@pytest.mark.parametrize("handler", HANDLERS, ids=lambda handler: handler.__name__)
@pytest.mark.parametrize("submit", SUBMITS)
def test_an_argument_that_is_interrupted_is_the_callers_exception(pool, submit, handler):
    """And no item's: nothing was submitted, and the same call works."""
    signal.signal(ALARM, handler)
    before = pool.stats()["items_submitted"]
    item = tasks.InterruptedPickling(7)
    tasks.INTERRUPTIONS.append(ALARM)
    with pytest.raises(HANDLERS[handler]) as caught:
        SUBMITS[submit](pool, item)
    assert caught.value.__cause__ is None  # no remote traceback
    assert pool.stats()["items_submitted"] == before
    assert SUBMITS[submit](pool, item) == 7


def test_an_argument_that_turns_what_interrupts_it_into_another_error(pool):
    """It does not hide where that came from."""
    tasks.INTERRUPTIONS.append(ALARM)
    with pytest.raises(ValueError, match="no state") as caught:
        pool.apply_async(tasks.value_of, (tasks.InterruptedPickling(7, convert=True),))
    assert isinstance(caught.value.__cause__, tasks.Raised)


def test_an_argument_that_cannot_be_pickled_is_its_items_error(pool):
    """Only that item fails; the call itself does not raise."""
    result = pool.map_async(tasks.value_of, [tasks.InterruptedPickling(1), tasks.FailsToPickle()], 1)
    with pytest.raises(tasks.Raised):
        result.get(20)
    assert result.partial == {0: 1}


def test_a_long_map_that_is_interrupted_in_the_middle_is_given_up(pool):
    """What was submitted of it already is cancelled, and the pool goes on."""
    items = [tasks.InterruptedPickling(n) for n in range(20_000)]
    items[15_000] = interrupting = tasks.InterruptedPickling(7)
    interrupting.__class__ = tasks.InterruptsHere
    with pytest.raises(tasks.Raised):
        pool.map_async(tasks.value_of, items)
    assert pool.apply(tasks.value_of, (items[3],)) == 3


@pytest.mark.parametrize("name", ["failure", "remote_traceback"])
def test_an_error_of_ours_that_is_interrupted_while_it_is_made(pool, monkeypatch, name):
    """What a soak met: Ctrl-C in the making of a WorkerDiedError had become the outcome of the task that died."""
    make = getattr(_errors, name)

    def interrupted(*arguments):
        tasks.interrupt()
        return make(*arguments)

    monkeypatch.setattr(_errors, name, interrupted)
    result = pool.apply_async(tasks.dies if name == "failure" else tasks.raises_interrupted, (5,))
    result.wait(20)
    tasks.INTERRUPTIONS.append(INT)
    if name == "remote_traceback":
        tasks.INTERRUPTIONS.insert(0, INT)  # its unpickling comes first
    with pytest.raises(KeyboardInterrupt):
        result.get(20)
    expected = holdfast.WorkerDiedError if name == "failure" else tasks.InterruptedError_
    with pytest.raises(expected) as caught:
        result.get(20)
    assert name == "failure" or "raises_interrupted" in str(caught.value.__cause__)


def test_what_always_fails_is_the_items_own(pool):
    """A KeyboardInterrupt that comes again in the same place is no Ctrl-C."""
    result = pool.apply_async(tasks.refuses, (1,))
    for _ in range(2):
        with pytest.raises(holdfast.ResultDecodeError) as caught:
            result.get(20)
        assert isinstance(caught.value.__cause__, KeyboardInterrupt)


def test_what_always_fails_in_c_is_the_items_own_from_the_first_time_on(pool):
    for _ in range(12):  # the interpreter specialises what has run some eight times
        with pytest.raises(holdfast.ResultDecodeError) as caught:
            pool.apply(tasks.leaves, (1,))
        assert isinstance(caught.value.__cause__, SystemExit)


def test_a_storm_that_lets_no_unpickling_end_says_so(pool):
    """Nothing hangs: after some tries the outcome is an error that names what was raised."""
    result = pool.apply_async(tasks.interrupted, (7,))
    result.wait(20)
    tasks.INTERRUPTIONS.extend([ALARM] * 100)
    with pytest.raises(tasks.Raised):
        result.get(20)
    tasks.INTERRUPTIONS.clear()
    with pytest.raises(holdfast.ResultDecodeError) as caught:
        result.get(20)
    assert isinstance(caught.value.__cause__, tasks.Raised)


def test_a_handler_that_asks_for_the_result_it_interrupts(pool):
    """It cannot have it, and is told so; the interrupted call gets it."""
    result = pool.apply_async(tasks.interrupted, (7,))
    result.wait(20)

    def ask(number, frame):
        try:
            tasks.ANSWERS.append(result.get(20))
        except RuntimeError as error:
            tasks.ANSWERS.append(str(error))

    signal.signal(ALARM, ask)
    tasks.INTERRUPTIONS.append(ALARM)
    assert result.get(20).value == 7
    assert len(tasks.ANSWERS) == 1 and "signal handler interrupted" in tasks.ANSWERS[0]
