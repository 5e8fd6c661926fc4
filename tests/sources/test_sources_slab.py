"""Rooms of one slab never overlap, and what is dropped serves again."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from minescale.sources.slab import PAGE, Slab

SIZE = 16 * PAGE


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 5 * PAGE), st.integers(0, 20), st.integers(0, SIZE)), max_size=40))
def test_rooms_are_apart_within_the_limit_and_come_back(steps: list[tuple[int, int, int]]) -> None:
    slab = Slab(SIZE)
    rooms, highest = [], 0
    for number, (size, drop, limit) in enumerate(steps):
        room = slab.room((size,), np.uint8, limit)
        if room is not None:
            room.pixels[:] = number
            rooms.append((number, room))
            end = room.pixels.ctypes.data + size - slab._memory.ctypes.data
            assert end <= limit
            highest = max(highest, end)
        elif limit == SIZE:
            assert all(stop - start < size for start, stop in slab._free), (
                "first fit takes any gap that is large enough"
            )
        assert highest <= slab.touched < highest + PAGE or not rooms
        del room
        if drop < len(rooms):
            del rooms[drop]
        assert all((other.pixels == value).all() for value, other in rooms)
    rooms.clear()
    whole = slab.room((SIZE // 2,), np.uint16, SIZE)
    assert whole is not None, "gaps grow together"
    assert whole.pixels.shape == (SIZE // 2,)
    assert slab.room((1,), np.uint8, SIZE) is None
