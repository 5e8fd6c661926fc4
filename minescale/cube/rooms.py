"""Rooms for stacks of layers: one budget for them and for kept blocks, whatever tiles a process has under way.

A block that is not kept is decoded again, so kept blocks come first; but two rooms there always are. Rooms that are
free read ahead. A room serves again and again, because fresh pages cost as much as the composite. One that is dropped
with its tile, because the tile went elsewhere, frees its share of the budget by itself.
"""

from __future__ import annotations

import math
import threading
from weakref import WeakSet

import numpy as np
from numpy.typing import NDArray

from minescale.sources import reuse

BUDGET = 208 << 20
"""Bytes of rooms and kept blocks together: eight bands of twelve layers at 1024 px, or four beside 112 MiB."""
LEAST = 2
"""Rooms that there must be room for: one to composite from, one to read into."""
AHEAD = 4
"""Rooms that there should be room for, so that reads go on: kept blocks beyond :data:`STORE` leave as many."""
STORE = 112 << 20
"""Bytes of kept blocks that come before those."""


class Room:
    """Memory for one piece of a tile."""

    def __init__(self, size: int) -> None:
        self.values: NDArray[np.uint16] = np.empty(size, np.uint16)
        """Flat; holds what its last user left."""

    def stack(self, shape: tuple[int, ...]) -> NDArray[np.uint16]:
        """The first values as an array."""
        return self.values[: math.prod(shape)].reshape(shape)


_lent: WeakSet[Room] = WeakSet()
_spare: list[Room] = []
_lock = threading.Lock()


def borrow(size: int, *, must: bool) -> Room | None:
    """A room of at least ``size`` uint16 values; None where it does not fit into the budget, unless it ``must`` be."""
    with _lock:
        lent = sum(room.values.nbytes for room in _lent)
        fitting = [room for room in _spare if room.values.size >= size]
        room = min(fitting, key=lambda room: room.values.size, default=None)
        need = room.values.nbytes if room else 2 * size
        budget = _share(max(need, *(other.values.nbytes for other in (*_lent, *_spare)), 0))
        if lent + need > budget and not must:
            return None
        if room is not None:
            _spare.remove(room)
        # The store may have grown since: what is spare then goes, even if it has served before.
        while _spare and lent + need + sum(room.values.nbytes for room in _spare) > budget:
            _spare.pop(0)
        room = room or Room(size)
        _lent.add(room)
        return room


def store_limit(largest: int) -> int:
    """Bytes that kept blocks may take beside rooms of which the largest has so many."""
    # The states of a stack's pixels, which its composite needs, take half of what it takes.
    most = max(BUDGET - LEAST * largest - largest // 2, 0)
    return min(most, max(BUDGET - AHEAD * largest, STORE))


def _share(largest: int) -> int:
    """Bytes that rooms may take where the largest has so many; kept blocks are held to the rest."""
    reuse.hold_to(store_limit(largest))
    least = LEAST * largest
    # Deep stacks fill the store within a tile: a third room would soon be too much.
    return least if 2 * least > BUDGET else max(BUDGET - reuse.touched_bytes(), least)


def give_back(room: Room) -> None:
    """End the use of a room: nothing reads into it any more."""
    with _lock:
        _lent.discard(room)
        _spare.append(room)


def forget() -> None:
    """Drop spare rooms: those of another run's larger tiles would leave less to kept blocks."""
    with _lock:
        _spare.clear()
