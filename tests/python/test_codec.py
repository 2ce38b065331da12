"""Objects to payload bytes and back (python/bindings/codec.cpp)."""

import array
import math
import multiprocessing
import pickle
import threading

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast import ResultDecodeError, _core

KIB32 = 32 * 1024

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(2**63) - 2, 2**63 + 1)
    | st.floats(allow_nan=False)
    | st.text()
    | st.text(st.characters(max_codepoint=255))
    | st.binary()
)
values = st.recursive(
    scalars, lambda inner: st.tuples(inner, inner) | st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=30
)


def same_types(left, right):
    """Equal, and of the same types all the way down (True == 1 would pass a plain comparison)."""
    if type(left) is not type(right):
        return False
    if isinstance(left, (tuple, list)):
        return len(left) == len(right) and all(map(same_types, left, right))
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same_types(left[key], right[key]) for key in left)
    return left == right


@settings(max_examples=150, deadline=None)
@given(values)
def test_values_come_back_as_they_were(value):
    """With their exact types."""
    assert same_types(_core.decode(_core.encode(value)), value)


@pytest.mark.parametrize("size", [0, 1, KIB32 - 20, KIB32 - 1, KIB32, KIB32 + 1, 1 << 20])
@pytest.mark.parametrize(
    "make", [bytes, lambda n: "x" * n, lambda n: "é" * n, lambda n: "日" * n, bytearray, lambda n: [b"x" * n]]
)
def test_any_size(make, size):
    """At and around the limit between ring and buffer."""
    value = make(size)
    assert same_types(_core.decode(_core.encode(value)), value)


@settings(max_examples=400, deadline=None)
@given(st.binary(max_size=200))
def test_nonsense_is_refused_without_a_crash(payload):
    """P8: any bytes: a value or an Exception, never a crash. (Pickle tags excluded: those run what they say.)"""
    if payload[:1] in (b"\x0d", b"\x0e", b"\x0f", b"\x10"):
        payload = b"\x01" + payload
    try:
        _core.decode(payload)
    except (ValueError, SystemError):
        pass


@pytest.mark.parametrize(
    "value", [None, 5, 2**40, 1.5, "text", "日本", b"bytes", (1, ("a", None)), "y" * KIB32, [1, 2], numpy.arange(500)]
)
def test_every_truncation_is_refused(value):
    """No prefix of a payload decodes."""
    payload = _core.encode(value)
    for end in range(min(len(payload), 300)):
        with pytest.raises((ValueError, EOFError, pickle.UnpicklingError)):
            _core.decode(payload[:end])


def test_subclasses_keep_their_types():
    """Only exact types take the compact code."""

    for value in (Text("a"), Number(5), Pair((1, 2)), True):
        back = _core.decode(_core.encode(value))
        assert type(back) is type(value) and back == value


class Text(str):
    pass


class Number(int):
    pass


class Pair(tuple):
    pass


def test_nan_and_negative_zero():
    """Floats travel as their bits."""
    assert math.isnan(_core.decode(_core.encode(math.nan)))
    assert math.copysign(1, _core.decode(_core.encode(-0.0))) == -1


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["f8", "i4", "u1", "M8[s]"])
def test_arrays_go_out_of_band(order, dtype):
    """Aligned, writable, equal; a read-only array stays read-only."""
    values = numpy.zeros((70, 50), dtype=dtype, order=order)
    values[3, 4] = 7
    back = _core.decode(_core.encode({"a": values, "b": (values, 1)}))
    assert (back["a"] == values).all() and back["a"].dtype == values.dtype and back["a"].flags.writeable
    assert back["a"] is back["b"][0]
    if dtype == "M8[s]":
        return  # numpy exports no buffer of dates: they go inside the pickle
    values.flags.writeable = False
    assert not _core.decode(_core.encode(values)).flags.writeable
    assert (_core.decode(_core.encode(values[::2, ::3])) == values[::2, ::3]).all()


def test_a_decoded_array_owns_its_memory():
    """The payload may be overwritten afterwards."""
    payload = bytearray(_core.encode(numpy.ones(1000)))
    back = _core.decode(payload)
    payload[:] = bytes(len(payload))
    assert back.sum() == 1000


def test_lambdas_and_closures_go_by_value():
    """What pickle refuses goes to cloudpickle."""
    offset = 5
    assert _core.decode(_core.encode(lambda number: number + offset))(1) == 6

    class Local:
        def value(self):
            return offset

    assert _core.decode(_core.encode(Local())).value() == 5


@pytest.mark.parametrize(
    ("value", "error", "words"),
    [
        (threading.Lock(), TypeError, "cannot pickle '_thread.lock' object"),
        (
            multiprocessing.Lock(),
            RuntimeError,
            "Lock objects should only be shared between processes through inheritance",
        ),
        ((number for number in ()), TypeError, "cannot pickle 'generator' object"),
    ],
)
def test_refusals_are_pickle_s_own(value, error, words):
    """The standard messages, which people search for."""
    with pytest.raises(error, match=words):
        _core.encode(value)


def test_reducers_registered_with_multiprocessing_count():
    """Also when the registration comes late, and under cloudpickle."""
    multiprocessing.reduction.ForkingPickler.register(array.array, reduce_array)
    try:
        assert _core.decode(_core.encode(array.array("i", [1, 2]))) == "reduced"
        assert _core.decode(_core.encode((array.array("i"), lambda: 1)))[0] == "reduced"
    finally:
        del multiprocessing.reduction.ForkingPickler._extra_reducers[array.array]


def reduce_array(_array):
    return str, ("reduced",)


def test_a_failed_pickling_leaves_nothing_behind():
    """The pickler is reused: neither half a pickle nor a memo may leak into the next payload."""
    shared = [1, 2]
    for _ in range(3):
        with pytest.raises(TypeError):
            _core.encode([shared, threading.Lock()])
        assert _core.decode(_core.encode([shared, shared])) == [shared, shared]


def test_encoding_may_be_nested():
    """An object whose __reduce__ encodes something itself."""
    assert _core.decode(_core.encode([Nester(3), 1])) == [b"done", 1]


class Nester:
    def __init__(self, depth):
        self.depth = depth

    def __reduce__(self):
        if self.depth:
            _core.encode([Nester(self.depth - 1)])
        return bytes, (b"done",)


class Bomb:
    def __init__(self, name):
        self.name = name

    def __reduce__(self):
        return explode, (self.name,)


def explode(name):
    raise {"SystemExit": SystemExit, "KeyboardInterrupt": KeyboardInterrupt, "ValueError": ValueError}[name](name)


@pytest.mark.parametrize("name", ["SystemExit", "KeyboardInterrupt"])
def test_guarded_decoding_wraps_what_would_end_the_process(name):
    """P8."""
    payload = _core.encode(Bomb(name))
    with pytest.raises(ResultDecodeError) as caught:
        _core.decode_guarded(payload)
    assert type(caught.value.__cause__).__name__ == name


def test_guarded_decoding_leaves_exceptions_alone():
    """They are for the caller to wrap."""
    with pytest.raises(ValueError, match="ValueError"):
        _core.decode_guarded(_core.encode(Bomb("ValueError")))


@pytest.mark.parametrize("writeable", [True, False])
@pytest.mark.parametrize("size", [(4 << 20) - 8, 4 << 20, (4 << 20) + 8, 9 << 20])
def test_arrays_that_are_copied_to_huge_pages(size, writeable):
    """At and around the limit: the bytes, whether it may be written to, and that each is a copy of its own."""
    array = numpy.arange(size // 8, dtype=float)
    array.flags.writeable = writeable
    payload = _core.encode(array)
    first, second = _core.decode(payload), _core.decode(payload)
    assert (first == array).all()
    assert first.flags.writeable == writeable
    if writeable:
        first[:] = -1.0
    del first
    assert (second == array).all()
    assert (_core.decode(payload) == array).all()
