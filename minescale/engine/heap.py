"""Keep freed memory for the next tile, or the next step of a training.

Dask sets ``MALLOC_TRIM_THRESHOLD_`` for its workers, which makes glibc give every freed block of a tile back to the
system and fault it in again, page by page, for the next one: about a third of a scan's CPU time. Tiles are all of one
size, so a worker keeps what one tile took.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -3, -4, -8
"""Parameter numbers of glibc's ``mallopt`` (malloc.h)."""
_KEPT_BYTES = 16 << 20
"""Free memory at the top of the heap that is kept."""
_MAPPED_FROM = 4 << 20
"""Larger blocks come straight from the system and go back to it: a heap with holes of that size would only grow."""

_DEFAULT_MAPPINGS, _DEFAULT_TRIM = 65536, 128 << 10
"""What glibc starts with (mallopt(3))."""
_ARENAS = 2
"""Heaps, whatever the number of threads: each has gaps of its own, and read threads spend no time in malloc."""


_GAPS_BYTES = 96 << 20
"""Free memory inside the heaps that is kept: about what one tile frees and the next one takes again."""


class _HeapSizes(ctypes.Structure):
    """glibc's ``struct mallinfo2``."""

    _fields_: ClassVar = [
        (name, ctypes.c_size_t)
        for name in (
            "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"
        )
    ]  # fmt: skip


def give_back_gaps() -> None:
    """Between tiles: give free pages in the gaps of the heaps to the system where they have become many.

    What lives on from tile to tile lies between freed blocks, and gaps that fit nothing grow. Does nothing where the C
    library is not glibc 2.33 or later.
    """
    libc = ctypes.CDLL(None) if sys.platform.startswith("linux") else None
    sizes = getattr(libc, "mallinfo2", None)
    if libc is None or sizes is None:
        return
    sizes.restype = _HeapSizes
    if sizes().fordblks > _GAPS_BYTES:
        libc.malloc_trim(0)


def keep_freed_memory() -> None:
    """Set this process's allocator; does nothing where the C library is not glibc."""
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_TRIM_THRESHOLD, _KEPT_BYTES)
        mallopt(_MMAP_THRESHOLD, _MAPPED_FROM)
        mallopt(_ARENA_MAX, _ARENAS)


@contextmanager
def keeping_all() -> Iterator[None]:
    """Within: what is freed stays, whatever its size; afterwards glibc's own defaults, and the rest is given back.

    Every step of a training takes and frees the same blocks of several MB. Mapped afresh each time, up to half of the
    CPU time of two threads went into page faults. Does nothing where the C library is not glibc.
    """
    libc = ctypes.CDLL(None) if sys.platform.startswith("linux") else None
    mallopt = getattr(libc, "mallopt", None)
    if libc is None or mallopt is None:
        yield
        return
    mallopt(_MMAP_MAX, 0)
    mallopt(_TRIM_THRESHOLD, 2**31 - 1)
    try:
        yield
    finally:
        mallopt(_MMAP_MAX, _DEFAULT_MAPPINGS)
        mallopt(_TRIM_THRESHOLD, _DEFAULT_TRIM)
        libc.malloc_trim(0)
