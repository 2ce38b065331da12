"""Tasks of test_stacks.py: ways to crash, to be stuck, and to use faulthandler oneself."""

import ctypes
import faulthandler
import os
import resource
import signal
import sys
import threading
import time
from pathlib import Path

import holdfast

LIBC = ctypes.PyDLL(None)  # calls keep the GIL
SMALL_STACK = 64 * 1024


def same(value):
    return value


def pid():
    return os.getpid()


def read_nothing():
    """SIGSEGV."""
    ctypes.string_at(0)


def read_nothing_with_the_gil():
    ctypes.pythonapi.PyBytes_FromString(ctypes.c_char_p(None))


def read_nothing_on_a_small_stack():
    """In a thread as C extensions have them: 64 KiB of stack."""
    before = threading.stack_size(SMALL_STACK)
    thread = threading.Thread(target=read_nothing)
    thread.start()
    threading.stack_size(before)
    thread.join()


def in_a_thread_unknown_to_python():
    """A native thread that crashes while this one waits."""
    handle = ctypes.c_ulong()
    start = ctypes.cast(LIBC.strlen, ctypes.c_void_p)  # strlen(NULL)
    LIBC.pthread_create(ctypes.byref(handle), None, start, None)
    time.sleep(60)


def use_up_the_stack():
    """C recursion without end: only the alternate stack is left for a handler."""
    callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)

    def compare(left, right):
        array = (ctypes.c_int * 2)(2, 1)
        LIBC.qsort(array, 2, 4, again)
        return 0

    again = callback(compare)
    sys.setrecursionlimit(10**9)
    # Python 3.12 has a limit of its own for recursion through C, which cannot be raised: the stack ends before it.
    resource.setrlimit(resource.RLIMIT_STACK, (1 << 20, resource.getrlimit(resource.RLIMIT_STACK)[1]))
    compare(0, 0)


def abort():
    os.abort()


def divide():
    signal.raise_signal(signal.SIGFPE)


def exit_code():
    os._exit(3)


class CrashesWhenPickled:
    def __reduce__(self):
        read_nothing()
        return (same, (1,))


def crash_in_pickle():
    return CrashesWhenPickled()


def crash_in_initializer():
    read_nothing()


def enable(path):
    """As programs do it themselves; the descriptor stays open."""
    faulthandler.enable(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
    return faulthandler.is_enabled()


def enable_and_disable():
    faulthandler.enable(2)
    faulthandler.disable()


def disable():
    faulthandler.disable()


def handle_crashes():
    """A handler of the program's own for what would be a crash."""
    signal.signal(signal.SIGABRT, lambda *_: os._exit(9))
    os.kill(os.getpid(), signal.SIGABRT)
    time.sleep(60)


def crash_in_a_forked_child():
    """It is not the worker: the worker's text is not its to write."""
    child = os.fork()
    if child == 0:
        read_nothing()
    status = os.waitpid(child, 0)[1]
    return os.WTERMSIG(status)


def close_descriptors_and_crash(path):
    """The number of our descriptor may be a file of the program's."""
    os.closerange(3, 256)
    opened = [os.open(path, os.O_RDWR | os.O_CREAT, 0o600) for _ in range(64)]
    assert opened
    read_nothing()


def sleep_with_the_gil():
    """In C."""
    LIBC.sleep(60)


def wait_at(path):
    """Until somebody opens the FIFO's other end."""
    Path(path).read_bytes()
    return "done"


def stop_myself():
    os.kill(os.getpid(), signal.SIGSTOP)


def block_everything():
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    time.sleep(60)


def answering_signal():
    """The one that ours have taken: the highest real-time signal with a handler that is not Python's."""
    status = Path("/proc/self/status").read_text()
    caught = int(status.split("SigCgt:")[1].split()[0], 16)
    return max(number for number in range(35, 65) if caught >> (number - 1) & 1)


def ignore_the_signal():
    signal.signal(answering_signal(), signal.SIG_IGN)
    time.sleep(60)


def take_the_signal():
    signal.signal(answering_signal(), lambda *_: None)
    time.sleep(60)


def with_threads(value):
    """Threads come and go while somebody looks."""
    thread = threading.Thread(target=same, args=(value,))
    thread.start()
    thread.join()
    return value


def pool_in_a_worker():
    with holdfast.Pool(1) as pool:
        pool.apply(same, (1,))
        (text,) = pool.dump_stacks(30).values()
        try:
            pool.apply(read_nothing)
        except holdfast.WorkerDiedError as error:
            return text, error.worker_traceback


def pool_without_signals():
    """A program that uses every real-time signal."""
    for number in range(signal.SIGRTMIN, signal.SIGRTMAX + 1):
        signal.signal(number, signal.default_int_handler)
    with holdfast.Pool(1, context="fork") as pool:
        one = pool.apply(same, (1,))
        (text,) = pool.dump_stacks(30).values()
        return text, one


def forge_stacks():
    """What a task can write into the memory that it shares with the pool: nonsense in place of its stacks, after a crash that was none."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        if "memfd:holdfast-ring" in line:
            begin, end = (int(number, 16) for number in line.split()[0].split("-"))
    text = b"\xff" * (64 * 1024 - 3) + b"\x1b\n\x07"
    ctypes.memmove(end - len(text), text, len(text))
    ctypes.memmove(begin + 448 + 52, b"\x01\0\0\0", 4)  # ChannelPage::crash_signal
    signal.signal(signal.SIGSEGV, signal.SIG_DFL)
    signal.raise_signal(signal.SIGSEGV)
