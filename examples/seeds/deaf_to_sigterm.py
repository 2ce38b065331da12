"""Seed 002, "The Stubborn Process": a worker that ignores SIGTERM, and a caller who has had enough of waiting.

Standard pool: terminate() sends SIGTERM and waits for the worker's exit, here ten minutes. holdfast: SIGTERM, and after the grace
period (0.5 s here, 5 s by default) SIGKILL, which "cannot be caught or ignored", as the seed says.
"""

import multiprocessing
import signal
import sys
import time

from _story import end, open_pool, say


def run(rank):
    if rank == 0:
        print("hi from rank 0", flush=True)
    else:
        # Simulate a process stuck in a blocking operation: it is deaf to SIGTERM
        signal.signal(signal.SIGTERM, lambda signum, frame: None)
        time.sleep(600)


if __name__ == "__main__":
    with open_pool(2, holdfast_only={"grace": 0.5}) as pool:
        result = pool.map_async(run, range(2), chunksize=1)
        try:
            result.get(timeout=0.3)
        except multiprocessing.TimeoutError:
            say("timed out; the process is stuck: terminate() and join()")
        finally:
            pool.terminate()  # forcefully terminates worker processes
            pool.join()  # waits for worker processes to exit
        say(f"terminated; children left: {multiprocessing.active_children()}")
    end()
    sys.exit(0)
