"""Programs of test_dead_zygote.py and their tasks, which leave daemons behind."""

# Files are opened by name, as the kernel gives them (/proc, descriptors):
from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys

import holdfast
from faults import look
from faults.programs import main, note, say
from support.patience import until


def leave_daemons() -> list[int]:
    """One that only forked and one that also exec'd a program, each in a session of its own, their parent gone; returns their pids."""
    pids = []
    for program in (None, "/bin/sleep"):
        read, write = os.pipe()
        middle = os.fork()
        if middle == 0:
            os.setsid()
            if os.fork() == 0:
                os.write(write, f"{os.getpid()}\n".encode())
                if program is not None:
                    os.execv(program, [program, "1000"])
                while True:
                    signal.pause()
            os._exit(0)
        os.waitpid(middle, 0)
        pids.append(int(os.read(read, 100)))
        os.close(read)
        os.close(write)
    return pids


def leave_daemons_and_crash() -> None:
    """It notes their pids and dies when its zygote has."""
    zygote = os.getppid()
    note(" ".join(map(str, leave_daemons())))
    until(lambda: os.getppid() != zygote)
    os.kill(os.getpid(), signal.SIGKILL)


def zygote_of_this_program() -> int:
    """The youngest, which is the one that serves."""
    return max(pid for pid in look.children(os.getpid()) if look.name(pid) == "hf-zygote" and look.state(pid) != "Z")


def loses_its_zygote(start: str, worker_end: str) -> None:
    """Two workers leave daemons and end, before or after their zygote is killed. Then the pool goes on, and the lines of stdin say how it ends."""
    bystanders = [
        subprocess.Popen(["/bin/sleep", "1000"]),
        multiprocessing.get_context("fork").Process(target=signal.pause),
    ]
    bystanders[1].start()  # has all that the program had mapped
    recycled = 1 if worker_end == "left_before" else None
    pool = holdfast.Pool(2, maxtasksperchild=recycled, context=multiprocessing.get_context(start))
    workers = list(pool._pool)
    if worker_end == "crashes":
        lost = [pool.apply_async(leave_daemons_and_crash) for _ in range(2)]
    else:
        say(*pool.apply(leave_daemons), *pool.apply(leave_daemons))
    if recycled:
        until(lambda: all(worker.exitcode is not None for worker in workers))
    say("zygote", zygote_of_this_program())
    sys.stdin.readline()
    os.kill(zygote_of_this_program(), signal.SIGKILL)
    if worker_end == "crashes":
        for result in lost:
            try:
                result.get()
            except holdfast.WorkerDiedError as error:
                say("died", error.report.signal if error.report else None)
    else:
        until(lambda: all(worker.exitcode is not None for worker in workers))
    say("goes on", pool.apply(abs, (-1,)))
    while (order := sys.stdin.readline().strip()) != "end":
        if order == "terminate":
            pool.terminate()
            say("ended", pool.join())
    say(
        "bystanders",
        sum(
            process.poll() is None if isinstance(process, subprocess.Popen) else process.is_alive()
            for process in bystanders
        ),
    )
    for process in bystanders:
        process.kill()


if __name__ == "__main__":
    main(globals())
