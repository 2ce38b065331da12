"""The killing agent: one process per runner that carries out the orders of control.py.

It kills from outside, as an operator or the OOM killer would, and it sees a victim's exit by a pidfd of its own, which gives the time from
which news is measured. It never signals a process that does not carry the run's tag. It ends when its standard input closes.
"""

# Files are opened by name, as the kernel gives them (/proc, descriptors):
from __future__ import annotations

import heapq
import os
import select
import signal
import time

from faults import control, look

STOP_S = 0.01  # how long a victim of STOP_THEN_KILL stands still


class Agent:
    """Orders in, signals out; deadlines in a heap, exits by poll on pidfds."""

    def __init__(self) -> None:
        self.tag = os.environ[look.TAG_NAME]
        self.page = control.page()
        self.due: list[tuple[float, int, int]] = []  # (when, pid, signal)
        self.gathered: list[tuple[int, int]] = []
        self.watched: dict[int, int] = {}  # pidfd -> pid
        self.poll = select.poll()

    def run(self) -> None:
        orders = os.open(f"{control.folder()}/orders", os.O_RDWR | os.O_NONBLOCK)  # O_RDWR: never end-of-file
        self.poll.register(orders, select.POLLIN)
        self.poll.register(0, select.POLLIN)
        print("ready", flush=True)
        while True:
            wait = max(0.0, self.due[0][0] - time.monotonic()) if self.due else None
            for descriptor, _ in self.poll.poll(None if wait is None else wait * 1000):
                if descriptor == 0:
                    return
                if descriptor == orders:
                    self.read_orders(orders)
                else:
                    self.exited(descriptor)
            while self.due and self.due[0][0] <= time.monotonic():
                _, pid, number = heapq.heappop(self.due)
                self.send(pid, number)

    def read_orders(self, orders: int) -> None:
        for operation, pid, number, delay_us in control.ORDER.iter_unpack(os.read(orders, control.ORDER.size * 64)):
            now = time.monotonic()
            if operation == control.FORGET:
                self.due.clear()
                self.gathered.clear()
                for descriptor in list(self.watched):
                    self.unwatch(descriptor)
                self.page[control.FORGOTTEN] = 1
            elif operation == control.WATCH:
                self.watch(pid)
            elif operation == control.KILL:
                self.watch(pid)
                heapq.heappush(self.due, (now + delay_us / 1e6, pid, number))
            elif operation == control.STOP_THEN_KILL:
                self.watch(pid)
                heapq.heappush(self.due, (now + delay_us / 1e6, pid, signal.SIGSTOP))
                heapq.heappush(self.due, (now + delay_us / 1e6 + STOP_S, pid, signal.SIGKILL))
            elif operation == control.GATHER_IN:
                self.gather(pid, number)

    def gather(self, pid: int, number: int) -> None:
        """Collect workers until all are there; then kill them together, or (number 0) let them go and die by themselves."""
        self.watch(pid)
        self.gathered.append((pid, number))
        if len(self.gathered) < self.page[control.GATHER]:
            return
        self.page[control.GO] = 1
        for victim, signal_number in self.gathered:
            if signal_number:
                self.send(victim, signal_number)
            if signal_number == signal.SIGSTOP:
                heapq.heappush(self.due, (time.monotonic() + STOP_S, victim, signal.SIGKILL))

    def send(self, pid: int, number: int) -> None:
        environment = look.environment(pid)
        if f"{look.TAG_NAME}={self.tag}".encode() not in environment:
            # A process in the middle of an exec shows an empty environment for a moment; a zombie, or somebody else's, is left alone.
            if not any(environment) and look.state(pid) not in ("", "Z"):
                heapq.heappush(self.due, (time.monotonic() + 0.001, pid, number))
            return
        self.page[control.KILLED_NS] = time.monotonic_ns()
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass

    def watch(self, pid: int) -> None:
        if pid not in self.watched.values():
            try:
                descriptor = os.pidfd_open(pid)
            except ProcessLookupError:
                self.note_exit()
                return
            self.watched[descriptor] = pid
            self.poll.register(descriptor, select.POLLIN)
        self.page[control.WATCHED + pid % control.WATCHED_SLOTS] = pid

    def exited(self, descriptor: int) -> None:
        if descriptor in self.watched:  # else a FORGET came in the same look
            self.note_exit()
            self.unwatch(descriptor)

    def note_exit(self) -> None:
        if self.page[control.EXIT_NS] == 0:
            self.page[control.EXIT_NS] = time.monotonic_ns()

    def unwatch(self, descriptor: int) -> None:
        self.poll.unregister(descriptor)
        del self.watched[descriptor]
        os.close(descriptor)


if __name__ == "__main__":
    try:
        # Else its own late wake-up on a busy machine would make the news look faster than it is.
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(10))
    except PermissionError:
        pass
    Agent().run()
