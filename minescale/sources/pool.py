"""One pool of read threads per process: reads wait for the network, so there are more of them than cores."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TypeVar

T = TypeVar("T")

_pools: dict[tuple[int, int], ThreadPoolExecutor] = {}
_lock = threading.Lock()


def run_all(jobs: Sequence[Callable[[], T]], threads: int) -> list[T]:
    """Run ``jobs`` on the process's pool; results in the order of the jobs.

    All jobs have ended when it returns or raises, so none still writes to an array the caller gave up.
    """
    if not jobs:
        return []
    pool = _pool(max(threads, 1))
    futures = [pool.submit(job) for job in jobs]
    try:
        wait(futures)
    except BaseException:
        for future in futures:
            future.cancel()
        wait(futures)
        raise
    return [future.result() for future in futures]


def _pool(threads: int) -> ThreadPoolExecutor:
    # Keyed by process: a forked child inherits the object, but not the threads.
    key = (os.getpid(), threads)
    with _lock:
        pool = _pools.get(key)
        if pool is None:
            pool = _pools[key] = ThreadPoolExecutor(threads, thread_name_prefix="minescale-read")
        return pool
