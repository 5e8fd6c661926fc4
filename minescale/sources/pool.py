"""Read threads of a process: more of them than cores, because reads wait for the network.

Each thread has its own queue, and jobs of one name always go to one thread: it meets the same files again, and its
open handles serve.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TypeVar
from zlib import crc32

T = TypeVar("T")

_threads: dict[tuple[int, int], ThreadPoolExecutor] = {}
_lock = threading.Lock()


def start_all(jobs: Sequence[tuple[str, Callable[[], T]]], threads: int) -> list[Future[T]]:
    """Queue (name, job) pairs on the process's read threads; futures in their order."""
    return [_thread(crc32(name.encode()) % max(threads, 1)).submit(job) for name, job in jobs]


def gather(futures: Sequence[Future[T]]) -> list[T]:
    """Results of :func:`start_all`.

    All jobs have ended when it returns or raises, so none still writes to an array the caller gave up.
    """
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
