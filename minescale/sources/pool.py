"""Read threads of a process: more of them than cores, because reads wait for the network.

Each thread has its own queue, and job ``i`` of every call goes to thread ``i`` (modulo their number). Layers come in
the same order for neighbouring tiles, so a thread meets the same files again and its open handles serve.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TypeVar

T = TypeVar("T")

_threads: dict[tuple[int, int], ThreadPoolExecutor] = {}
_lock = threading.Lock()


def run_all(jobs: Sequence[Callable[[], T]], threads: int) -> list[T]:
    """Run ``jobs`` on the process's read threads; results in the order of the jobs.

    All jobs have ended when it returns or raises, so none still writes to an array the caller gave up.
    """
    futures = [_thread(i % max(threads, 1)).submit(job) for i, job in enumerate(jobs)]
    try:
        wait(futures)
    except BaseException:
        for future in futures:
            future.cancel()
        wait(futures)
        raise
    return [future.result() for future in futures]


def _thread(number: int) -> ThreadPoolExecutor:
    # Keyed by process: a forked child inherits the object, but not the thread.
    key = (os.getpid(), number)
    with _lock:
        thread = _threads.get(key)
        if thread is None:
            thread = _threads[key] = ThreadPoolExecutor(1, thread_name_prefix=f"minescale-read-{number}")
        return thread
