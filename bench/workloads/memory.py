"""The caller's memory: while many items stream through, and while many calls are held unfinished."""

# Files are opened by name, as the kernel gives them:
# ruff: noqa: PTH123
from __future__ import annotations

import mmap
import os
import time
from collections.abc import Iterator
from typing import Any

from peers import Unsupported
from workloads.base import Row, Setting, Value, Workload
from workloads.tasks import same, wait_for_byte

MIB = 1 << 20
PAYLOAD = 100  # bytes of an argument, all different


def resident() -> int:
    with open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[1]) * mmap.PAGESIZE


def streaming(setting: Setting) -> dict[str, Value]:
    """Growth = the most that is resident at any sample - what was at the start."""
    count, rest_every = setting.size["items"], setting.size["rest_every"]
    row = "memory.slow_reader" if rest_every else "memory.stream"

    def numbers() -> Iterator[int]:
        yield from range(count)

    peer = setting.open()
    peer.apply(same, (0,))
    start = most = resident()
    total = seen = 0
    for value in peer.imap_unordered(same, numbers(), setting.size["chunksize"]):
        total += value
        seen += 1
        if rest_every and seen % rest_every == 0:
            time.sleep(0.001)
        if seen % 20_000 == 0:
            most = max(most, resident())
    most = max(most, resident())
    assert seen == count and total == count * (count - 1) // 2
    peer.end()
    return {row: (most - start) / MIB}


def held(setting: Setting) -> dict[str, Value]:
    """Every worker is made to wait on a pipe; then the calls are submitted and held."""
    count = setting.size["tasks"]
    gate, opener = os.pipe()
    peer = setting.open()
    if not peer.inherits:
        peer.end()
        raise Unsupported("its workers do not inherit the pipe")
    peer.apply(same, (0,))
    blocked = [peer.submit(wait_for_byte, (gate,)) for _ in range(setting.workers)]
    calls: list[Any] = [None] * count
    start = resident()
    for number in range(count):
        calls[number] = peer.submit(same, (number.to_bytes(PAYLOAD, "big"),))
    growth = resident() - start
    os.write(opener, b"x" * setting.workers)
    assert [peer.wait(call) for call in blocked] == [b"x"] * setting.workers
    for number, call in enumerate(calls):
        assert peer.wait(call) == number.to_bytes(PAYLOAD, "big")
    peer.end()
    return {"memory.held": growth / count - PAYLOAD}


def _stream(title: str, items: int, quick_items: int, **size: int) -> dict[str, Any]:
    row = "memory.slow_reader" if size["rest_every"] else "memory.stream"
    sizes = {"smoke": {"items": 500}, "quick": {"items": quick_items}, "all": {"items": items}}
    return {
        "measure": streaming,
        "rows": {row: Row(title, "MiB")},
        "sizes": {name: one | size for name, one in sizes.items()},
        "limit_s": 900,
    }


WORKLOADS = {
    "memory_stream": Workload(
        **_stream(
            "memory growth, {items:,} items through imap_unordered({chunksize})",
            10_000_000,
            2_000_000,
            chunksize=100,
            rest_every=0,
        )
    ),
    "memory_slow_reader": Workload(
        **_stream(
            "memory growth, {items:,} items through imap_unordered({chunksize}) read slowly",
            2_000_000,
            500_000,
            chunksize=100,
            rest_every=1000,
        )
    ),
    "memory_held": Workload(
        held,
        {"memory.held": Row("memory of each of {tasks:,} unfinished apply_async beyond its payload", "bytes")},
        {"smoke": {"tasks": 100}, "quick": {"tasks": 100_000}, "all": {"tasks": 1_000_000}},
        limit_s=900,
    ),
}
