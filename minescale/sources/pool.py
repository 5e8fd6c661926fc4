"""Read threads of a process: more of them than cores, because reads wait for the network."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TypeVar

T = TypeVar("T")

_pools: dict[tuple[int, int], ThreadPoolExecutor] = {}
_computing: dict[int, threading.Semaphore] = {}
_lock = threading.Lock()


def start_all(jobs: Sequence[Callable[[], T]], threads: int) -> list[Future[T]]:
    """Queue jobs on the process's read threads, first come first served; futures in their order."""
    pool = _pool(max(threads, 1))
    return [pool.submit(job) for job in jobs]


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


def computing(threads: int) -> threading.Semaphore:
    """Hold it while computing: of all threads that wait for the network, only ``threads`` compute at a time.

    More of them would only push each other's blocks out of the cores' caches.
    """
    with _lock:
        return _computing.setdefault(threads, threading.Semaphore(threads))


def _pool(threads: int) -> ThreadPoolExecutor:
    # Keyed by process: a forked child inherits the object, but not the threads.
    key = (os.getpid(), threads)
    with _lock:
        pool = _pools.get(key)
        if pool is None:
            pool = _pools[key] = ThreadPoolExecutor(threads, thread_name_prefix="minescale-read")
        return pool
