"""Writes the seeds in fuzz/corpus: small, one meaning each. Run it again after a change of a format; the result is committed."""

import pathlib
import struct

ROOT = pathlib.Path(__file__).parent / "corpus"


def save(target: str, name: str, data: bytes) -> None:
    """Store one seed."""
    folder = ROOT / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)


def padded(data: bytes) -> bytes:
    """Fill up to a multiple of 8, as every frame is."""
    return data + bytes(-len(data) % 8)


def head(length: int, kind: int, form: int = 0, slot: int = 0) -> bytes:
    """The 8 bytes that every frame begins with."""
    return struct.pack("<IBBH", length, kind, form, slot)


def result(kind: int, payload: bytes, item: int = 0, form: int = 0) -> bytes:
    """A result frame."""
    return padded(head(32 + len(payload), kind, form) + struct.pack("<IIQQ", item, 0, 7, 1500) + payload)


def id_frame(kind: int, ident: int, payload: bytes = b"", form: int = 0) -> bytes:
    """A function, forget_function or buffer_gone frame."""
    return padded(head(16 + len(payload), kind, form) + struct.pack("<Q", ident) + payload)


def chunk(slot: int, count: int, chunk_id: int) -> bytes:
    """A chunk frame."""
    return head(48, 3, 0, slot) + struct.pack("<IHHQQQII", count, 1, 0, chunk_id, 2, 3, 1, 0)


def item(slot: int, index: int, chunk_id: int, payload: bytes, form: int = 0) -> bytes:
    """An item frame."""
    return padded(head(16 + len(payload), 4, form, slot) + struct.pack("<II", index, chunk_id) + payload)


def next_item(slot: int, payload: bytes, form: int = 0) -> bytes:
    """A short item frame."""
    return padded(head(8 + len(payload), 6, form, slot) + payload)


def items(slot: int, first: int, chunk_id: int, payloads: list[bytes], count: int | None = None) -> bytes:
    """A frame of several items."""
    records = b"".join(struct.pack("<H", len(each)) + each for each in payloads)
    count = len(payloads) if count is None else count
    return padded(head(24 + len(records), 7, 0, slot) + struct.pack("<IIII", first, chunk_id, count, 0) + records)


def next_done(payload: bytes, run_time: int = 12) -> bytes:
    """A short result frame; the run time is in units of 10 ns."""
    return padded(struct.pack("<II", 8 + len(payload), 4 | run_time << 8) + payload)


REFERENCE = struct.pack("<QQ", 5, 5 << 30)


def result_frames() -> None:
    """Seeds for result_frame."""
    save("result_frame", "done", result(1, b"hello"))
    save("result_frame", "empty", result(1, b""))
    save("result_frame", "raised", result(2, b"x" * 100, item=9))
    save("result_frame", "note", result(3, b"warning"))
    save("result_frame", "large", result(1, REFERENCE, form=1))
    save("result_frame", "run_of_three", result(1, b"a") + result(2, b"bb") + result(1, REFERENCE, form=1))
    save(
        "result_frame",
        "short_ones",
        result(1, b"a") + next_done(b"bb") + result(3, b"note") + next_done(b"") + next_done(b"12345678"),
    )
    save("result_frame", "short_without_context", next_done(b"bb"))
    save("result_frame", "cut_short", result(1, b"x" * 64)[:64])
    save("result_frame", "zeros", bytes(64))
    save("result_frame", "ones", b"\xff" * 64)


def task_frames() -> None:
    """Seeds for task_frame."""
    save("task_frame", "function", id_frame(1, 3, b"pickled function"))
    save("task_frame", "function_large", id_frame(1, 3, REFERENCE, form=1))
    save("task_frame", "forget_function", id_frame(2, 3))
    save("task_frame", "buffer_gone", id_frame(5, 5))
    save("task_frame", "chunk_of_two", chunk(4, 2, 8) + item(4, 0, 8, b"first") + item(4, 1, 8, REFERENCE, form=1))
    save(
        "task_frame",
        "short_items",
        chunk(4, 3, 8) + next_item(4, b"first") + next_item(4, REFERENCE, form=1) + next_item(4, b""),
    )
    save("task_frame", "short_of_another_slot", chunk(4, 3, 8) + next_item(5, b"first"))
    three = [b"first", b"", b"third"]
    save("task_frame", "items", chunk(4, 4, 8) + items(4, 0, 8, three) + next_item(4, b"fourth"))
    save("task_frame", "items_too_few", chunk(4, 4, 8) + items(4, 0, 8, three, count=4))
    save("task_frame", "items_cut", items(4, 0, 8, three)[:32])
    save("task_frame", "item_empty", item(63, 0, 8, b""))
    save("task_frame", "slot_outside", item(64, 0, 8, b""))
    save("task_frame", "zeros", bytes(48))


def message(
    kind: int,
    *,
    worker: int = 1,
    pid: int = 100,
    a: int = 0,
    b: int = 0,
    c: int = 0,
    usage: tuple[int, int, int] = (0, 0, 0),
) -> bytes:
    """A control message."""
    return struct.pack("<IIiiqqqqqq", kind, worker, pid, 0, a, b, c, *usage)


def control_messages() -> None:
    """Seeds for control_message; the first byte is route + 4 * descriptors."""
    seeds = {
        "start": (0 + 4 * 2, message(1, a=1)),
        "reap": (0, message(2, a=1)),
        "stop_zygote": (0, message(3)),
        "zygote_hello": (1 + 4, message(4)),
        "started": (1 + 4, message(5)),
        "start_failed": (1, message(6, a=11)),
        "exited": (1, message(7, a=9, usage=(1000, 2000, 1 << 26))),
        "hello": (2, message(8, a=1, b=101)),
        "hello_for_everybody": (2, message(8, a=1, b=1)),
        "ready": (2, message(9)),
        "init_failed": (2, message(10, a=200)),
        "wake": (2, message(11)),
        "buffer_request": (2, message(12, a=1 << 26)),
        "buffer": (3 + 4, message(13, a=3, b=65536, c=-1)),
        "buffer_refused": (3, message(14, a=1 << 40, b=12)),
        "paused": (1, message(15, a=3_000_000_000)),
        "stalled": (2 + 4, message(16, a=60_000)),
        "wrong_route": (2, message(13, a=3, b=65536, c=-1)),
    }
    for name, (first, data) in seeds.items():
        save("control_message", name, bytes([first]) + data)


def step(op: int, where: int, value: int) -> bytes:
    """One step of a parent_channel script."""
    return struct.pack("<BBQ", op, where, value & (2**64 - 1))


def store_frame(frame: bytes, op: int = 1, at: int = 0) -> bytes:
    """Steps that store a frame into the ring, word by word."""
    words = struct.unpack(f"<{len(frame) // 8}Q", frame)
    return b"".join(step(op, at + i, word) for i, word in enumerate(words))


def packed(next_: int, end: int, tag: int) -> int:
    """A chunk word."""
    return next_ | end << 22 | tag << 44


def parent_scripts() -> None:
    """Seeds for parent_channel. Page words: 8 task_tail, 16 result_head, 24 task_head, 32 result_tail, 40 sleeping, 64 + slot: chunk words."""
    tail, read, use = 3, step(4, 0, 0), step(5, 0, 10)
    frame = result(1, b"payload!")
    save("parent_channel", "one_result", store_frame(frame) + step(tail, 0, len(frame) // 8) + read)
    whole_ring_pad = step(1, 0, 131072 | 0xFF << 32)
    save(
        "parent_channel",
        "pad_of_a_whole_ring",
        whole_ring_pad + step(0, 32, 131072) + read + step(0, 32, 131072 + 8) + read,
    )
    save("parent_channel", "pad_beyond_the_tail", whole_ring_pad + step(tail, 0, 100) + read)
    short = frame + next_done(b"short") + next_done(b"")
    save("parent_channel", "short_results", store_frame(short) + step(tail, 0, len(short) // 8) + read)
    run, rest = step(8, 200, 0), next_done(b"x" * 40) + next_done(b"") + next_done(b"yes")
    save("parent_channel", "a_run", store_frame(frame + rest) + step(tail, 0, len(frame + rest) // 8) + run + read)
    save("parent_channel", "a_run_without_room", store_frame(frame + rest) + step(tail, 0, 40) + step(8, 10, 0) + read)
    save("parent_channel", "crooked_tail", step(0, 32, 4) + read + read)
    save("parent_channel", "tail_too_far", step(0, 32, 1 << 40) + read)
    save("parent_channel", "tail_goes_back", store_frame(frame) + step(tail, 0, 5) + read + step(tail, 0, 0) + read)
    save("parent_channel", "claims", step(0, 64 + 3, packed(1, 50, 1)) + use + step(0, 64 + 3, packed(2, 10, 1)) + use)
    save(
        "parent_channel",
        "claims_backwards",
        step(0, 64 + 3, packed(9, 50, 1)) + use + step(0, 64 + 3, packed(0, 10, 1)) + use,
    )
    save("parent_channel", "head_ahead", step(6, 0, 5) + step(0, 24, 1 << 20) + step(7, 0, 0) + read)
    save("parent_channel", "head_follows", step(6, 0, 5) + step(0, 24, 48) + step(7, 0, 0) + read)
    save("parent_channel", "restless_progress", step(0, 57, 1) + step(7, 0, 0))


if __name__ == "__main__":
    result_frames()
    task_frames()
    control_messages()
    parent_scripts()
