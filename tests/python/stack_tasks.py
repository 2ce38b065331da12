"""Tasks of test_stacks.py: ways to crash, to be stuck, and to use faulthandler oneself."""

import ctypes
import faulthandler
import os
import signal
import sys
import threading
import time
from pathlib import Path

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


def spin_in_c():
    """For seconds in C, with the GIL."""
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
