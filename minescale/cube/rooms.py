"""Rooms for stacks of layers: one budget for all tiles that a process has under way.

A room serves again and again, because fresh pages cost as much as the composite. One that is dropped with its tile,
because the tile went elsewhere, frees its share of the budget by itself.
"""

from __future__ import annotations

import math
import threading
from weakref import WeakSet

import numpy as np
from numpy.typing import NDArray

BUDGET = 160 << 20
"""Bytes of all rooms of a process: six tiles' bands of twelve layers at 1024 px, or two of 36."""


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
        if lent + need > BUDGET and not must:
            return None
        if room is None:
            while _spare and lent + need + sum(room.values.nbytes for room in _spare) > BUDGET:
                _spare.pop(0)
            room = Room(size)
        else:
            _spare.remove(room)
        _lent.add(room)
        return room


def give_back(room: Room) -> None:
    """End the use of a room: nothing reads into it any more."""
    with _lock:
        _lent.discard(room)
        _spare.append(room)
