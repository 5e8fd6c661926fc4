"""Read threads of a process: more of them than cores, because reads wait for the network."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, TypeVar

T = TypeVar("T")

_pools: dict[tuple[int, int], ThreadPoolExecutor] = {}
_lines: dict[tuple[int, int, str], deque[tuple[Future[Any], Callable[[], Any]]]] = {}
"""Jobs by process, number of threads and name; the first of each line runs, or is about to."""
_computing: dict[tuple[int, int], threading.Semaphore] = {}
_lock = threading.Lock()


def start_all(jobs: Sequence[tuple[str, Callable[[], T]]], threads: int) -> list[Future[T]]:
    """Queue (name, job) pairs on the process's read threads; futures in their order.

    First come, first served, but of one name's jobs only one runs at a time: what it leaves behind serves the next.
    """
    return [_queue(name, job, threads) for name, job in jobs]


def _queue(name: str, job: Callable[[], T], threads: int) -> Future[T]:
    future: Future[T] = Future()
    key = (os.getpid(), threads, name)
    with _lock:
        line = _lines.setdefault(key, deque())
        line.append((future, job))
        alone = len(line) == 1
    if alone:
        _pool(threads).submit(_run_first, key)
    return future


def _run_first(key: tuple[int, int, str]) -> None:
    """Run the first job of a line, and have the next one run."""
    future, job = _lines[key][0]
    if future.set_running_or_notify_cancel():
        try:
            future.set_result(job())
        except BaseException as error:  # noqa: BLE001 - whoever waits for the future gets it
            future.set_exception(error)
    with _lock:
        line = _lines[key]
        line.popleft()
        if not line:
            del _lines[key]
            return
    _pool(key[1]).submit(_run_first, key)


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
        return _computing.setdefault((os.getpid(), threads), threading.Semaphore(threads))


def _pool(threads: int) -> ThreadPoolExecutor:
    # Keyed by process: a forked child inherits the object, but not the threads.
    key = (os.getpid(), max(threads, 1))
    with _lock:
        pool = _pools.get(key)
        if pool is None:
            pool = _pools[key] = ThreadPoolExecutor(key[1], thread_name_prefix="minescale-read")
        return pool
