"""numpy arrays out of the workers and into them, one call at a time: as private copies (the default), and as views of shared memory.

The task of the views returns an array that its worker has already: making one would be most of what is measured.
"""

from __future__ import annotations

import statistics
import time
from functools import partial

from peers import RAY
from workloads.base import Row, Setting, Value, Workload
from workloads.tasks import filled, kept, total

WARM = 2  # calls that are not counted: segments and pages are there then
MIB = 1 << 20


def arrays_back(setting: Setting, mib: int) -> dict[str, Value]:
    count, times = mib * MIB // 8, []
    peer = setting.open()
    for number in range(WARM + setting.size["calls"]):
        began = time.perf_counter()
        answer = peer.apply(filled, (count, float(number)))
        times.append(time.perf_counter() - began)
        assert answer.nbytes == mib * MIB
        assert (answer[:: 4096 // 8] == number).all() and answer[-1] == number  # every page of it
        del answer
    peer.end()
    return {f"array_back.{mib}": statistics.median(times[WARM:]) * 1e3}


def arrays_in(setting: Setting, mib: int) -> dict[str, Value]:
    """Each task reads its array whole and then writes into it: the next one, sent the same array, must not see that."""
    import numpy

    count, times = mib * MIB // 8, []
    array = numpy.ones(count)
    peer = setting.open()
    for number in range(WARM + setting.size["calls"]):
        array[-1] = number
        began = time.perf_counter()
        answer = peer.apply(total, (array,))
        times.append(time.perf_counter() - began)
        assert answer == count - 1 + number and array[0] == 1.0
    peer.end()
    return {f"array_in.{mib}": statistics.median(times[WARM:]) * 1e3}


def arrays_view(setting: Setting, mib: int) -> dict[str, Value]:
    """Shared results where the peer has them; what the peer does by default where not."""
    import numpy

    count, times = mib * MIB // 8, []
    step = 4096 // 8
    expected = numpy.arange(0, count, step, dtype=float)
    peer = setting.open(sharing=True)
    for number in range(2 * WARM + setting.size["calls"]):  # both workers may have an array to make
        began = time.perf_counter()
        answer = peer.apply(kept, (count, -1.0 - number))
        times.append(time.perf_counter() - began)
        assert answer.nbytes == mib * MIB
        assert answer[-1] == -1.0 - number and (answer[::step] == expected).all()  # every page of it
        del answer
    peer.end()
    return {f"array_view.{mib}": statistics.median(times[2 * WARM :]) * 1e3}


WORKLOADS = {}
for _mib, _calls in ((1, 100), (64, 8), (512, 3)):
    _sizes = {"quick": {"calls": _calls}, "all": {"calls": _calls}}
    if _mib == 1:
        _sizes["smoke"] = {"calls": 2}
    WORKLOADS[f"arrays_back_{_mib}"] = Workload(
        partial(arrays_back, mib=_mib), {f"array_back.{_mib}": Row(f"a {_mib} MiB numpy array back", "ms")}, _sizes
    )
    WORKLOADS[f"arrays_in_{_mib}"] = Workload(
        partial(arrays_in, mib=_mib), {f"array_in.{_mib}": Row(f"a {_mib} MiB numpy array in", "ms")}, _sizes
    )
    WORKLOADS[f"arrays_view_{_mib}"] = Workload(
        partial(arrays_view, mib=_mib),
        {f"array_view.{_mib}": Row(f"a {_mib} MiB numpy array back, as a view", "ms")},
        _sizes,
        also=(RAY,),
    )
