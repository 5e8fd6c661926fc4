"""One piece of memory for all kept blocks: among other objects in the heap they would leave gaps.

Rooms of it are given out first fit, from the bottom: no more of it is ever resident than its fullest moment needed.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from typing import Any

import numpy as np
from numpy.typing import NDArray

PAGE = 4096


class Slab:
    """``size`` bytes. :meth:`room` is for one thread at a time; rooms may be dropped anywhere."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.touched = 0
        """Bytes that have ever been part of a room."""
        self._memory = np.empty(size, np.uint8)
        self._free = [(0, size)]
        """(start, stop) of what nobody has, in order and with something between them."""
        self._dropped: deque[tuple[int, int]] = deque()
        """Rooms that went: a room may go while another thread, or this very one, is in :meth:`room`."""

    def room(self, shape: tuple[int, ...], dtype: Any, limit: int) -> Room | None:
        """Memory for an array within the first ``limit`` bytes; None where no gap there is large enough."""
        while self._dropped:
            self._take_back(*self._dropped.popleft())
        size = -(-int(np.prod(shape)) * np.dtype(dtype).itemsize // PAGE) * PAGE
        for i, (start, stop) in enumerate(self._free):
            if min(stop, limit) - start >= size:
                self.touched = max(self.touched, start + size)
                self._free[i : i + 1] = [(start + size, stop)] if stop - start > size else []
                return Room(self, start, start + size, shape, dtype)
        return None

    def _take_back(self, start: int, stop: int) -> None:
        i = bisect_left(self._free, (start, stop))
        if i < len(self._free) and self._free[i][0] == stop:
            stop = self._free.pop(i)[1]
        if i > 0 and self._free[i - 1][1] == start:
            i, start = i - 1, self._free.pop(i - 1)[0]
        self._free.insert(i, (start, stop))


class Room:
    """A part of a slab, until the last reference to it goes."""

    def __init__(self, slab: Slab, start: int, stop: int, shape: tuple[int, ...], dtype: Any) -> None:
        self._slab, self._span = slab, (start, stop)
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        self.pixels: NDArray[Any] = slab._memory[start : start + size].view(dtype).reshape(shape)
        """Holds what its last user left. Use it no longer than the room."""

    def __del__(self) -> None:
        self._slab._dropped.append(self._span)
