"""Rooms and kept blocks share one budget; nothing of one run counts against the next."""

from __future__ import annotations

import pytest

from minescale.cube import rooms

MB = 1 << 20


@pytest.mark.parametrize(
    ("largest", "limit"),
    [
        (7 * MB, 180 * MB),  # coarse tiles: four stacks fit beside much more than the store's own part
        (24 * MB, 112 * MB),  # twelve dates at 1024 px
        (40 * MB, 108 * MB),  # two stacks and the states of one
        (100 * MB, 0),
    ],
)
def test_kept_blocks_leave_room_for_stacks(largest: int, limit: int) -> None:
    assert rooms.store_limit(largest) == limit


def test_spare_rooms_of_another_run_are_dropped() -> None:
    rooms.forget()  # of tests before this one
    room = rooms.borrow(1000, must=True)
    assert room is not None
    rooms.give_back(room)
    assert rooms.borrow(500, must=True) is room, "a room serves again"
    rooms.give_back(room)
    rooms.forget()
    assert rooms.borrow(500, must=True) is not room
