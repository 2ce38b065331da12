"""A worker that the kernel kills for lack of memory, for real: the pool says so, goes on, and all results are there in the end.

The program makes a memory cgroup of 256 MiB, enters it, and counts the ones in blocks of bits, one task for each block. One block is too large for the
cgroup: its worker is killed by the kernel, and the error that comes for that task, and for no other, is OutOfMemoryError. The program
does what one does then: it cuts the block into pieces and runs those. Run it as root: `python examples/oom.py`. Without a memory cgroup to be had
it says why, and does nothing.
"""

import os
import sys
from pathlib import Path

import holdfast

MIB = 1 << 20
LIMIT = 256 * MIB
BLOCKS = [20, 40, 400, 30, 10]  # MiB


def count_ones(mib: int) -> int:
    """How many bits of a block are set: every second one."""
    block = b"\x55" * (mib * MIB)
    return sum(block[at : at + MIB].count(b"\x55") for at in range(0, len(block), MIB)) * 4


def enter_cgroup() -> Path:
    """Makes a cgroup with LIMIT and puts this process into it; the workers are born in it."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _source, where, kind, options, *_ = line.split()
        folder = Path(where) / f"holdfast-oom-{os.getpid()}"
        if kind == "cgroup" and "memory" in options.split(","):
            limits = {"memory.limit_in_bytes": LIMIT, "memory.memsw.limit_in_bytes": LIMIT}
        elif kind == "cgroup2" and "memory" in Path(where, "cgroup.controllers").read_text().split():
            limits = {"memory.max": LIMIT, "memory.swap.max": 0}
        else:
            continue
        folder.mkdir()
        for name, value in limits.items():
            if (folder / name).exists():
                (folder / name).write_text(str(value))
        (folder / "cgroup.procs").write_text("0")
        return folder
    raise OSError("no cgroup file system with a memory controller is mounted")


def leave_cgroup(folder: Path) -> None:
    """Back to the parent, and the cgroup is gone."""
    (folder.parent / "cgroup.procs").write_text("0")
    folder.rmdir()


def main() -> int:
    """Counts, is told of the kill, counts the rest in pieces, and compares."""
    try:
        folder = enter_cgroup()
    except OSError as error:
        print(f"skipped: no memory cgroup can be made here ({error})")
        return 0
    counted: dict[int, int] = {}
    with holdfast.Pool(2) as pool:
        results = [(mib, pool.apply_async(count_ones, (mib,))) for mib in BLOCKS]
        for mib, result in results:
            try:
                counted[mib] = result.get()
            except holdfast.OutOfMemoryError as error:
                print(f"the block of {mib} MiB: {error.cause}")
                print(f"  {error}")
                counted[mib] = sum(pool.map(count_ones, [mib // 8] * 8, chunksize=1))
        pool.close()
        pool.join()
    leave_cgroup(folder)
    print(f"counted {len(counted)} of {len(BLOCKS)} blocks:", counted)
    return 0 if all(counted[mib] == mib * MIB * 4 for mib in BLOCKS) else 1


if __name__ == "__main__":
    sys.exit(main())
