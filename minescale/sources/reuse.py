"""Decoded blocks at a tile's edge, kept in the process for the neighbours that it reads next.

Tiles seldom end where source blocks do: halos, masks grown by a radius, and scenes of another zone make neighbours
touch the same blocks. Of a block only what tiles ahead need is kept, and only while they do: it leaves with the read
that takes it.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from minescale.sources.slab import Room, Slab
from minescale.sources.windows import Window

Image = tuple[str, int | None]
"""Address and overview."""
Block = tuple[int, int]
"""(row, column)."""

STALE_TURNS = 16
"""Tiles after which a kept block is taken to be left over: the tile that wanted it went to another worker."""


@dataclass(frozen=True, slots=True, eq=False)
class Kept:
    """A part of a block."""

    window: Window
    """Its place in the image."""
    room: Room
    turn: int

    @property
    def pixels(self) -> NDArray[Any]:
        """As stored; they are there as long as this object."""
        return self.room.pixels


_kept: OrderedDict[tuple[Image, Block], Kept] = OrderedDict()
_slab = Slab(0)
_limit = 1 << 62
"""Bytes up to which the slab may be used."""
_lock = threading.Lock()
_turn = 0


def next_tile() -> None:
    """Count the tiles of this process."""
    global _turn  # noqa: PLW0603 - one store per process
    with _lock:
        _turn += 1


def take(image: Image, needed: Mapping[Block, Window], wanted: Mapping[Block, Window]) -> dict[Block, Kept]:
    """What is kept of the ``needed`` parts of blocks, where it is all of a part.

    It stays only where it is ``wanted`` again.
    """
    found = {}
    with _lock:
        for block, part in needed.items():
            kept = _kept.pop((image, block), None)
            if kept is None or not kept.window.covers(part):
                continue
            found[block] = kept
            if block in wanted:
                _kept[image, block] = Kept(kept.window, kept.room, _turn)
    return found


def keep(image: Image, block: Block, window: Window, pixels: NDArray[Any], budget: int) -> None:
    """Keep a copy of the part of a block under ``window``, while all that is kept fits into ``budget`` bytes.

    Where it does not fit, left-overs go first, and then new blocks stay out: the oldest are the next to be needed.
    """
    global _slab  # noqa: PLW0603
    with _lock:
        if _slab.size != budget:
            _kept.clear()
            _slab = Slab(budget)
        while (room := _slab.room(pixels.shape, pixels.dtype, _limit)) is None:
            key, oldest = next(iter(_kept.items()), (None, None))
            if key is None or oldest is None or _turn - oldest.turn <= STALE_TURNS:
                return
            del _kept[key], oldest
        kept = Kept(window, room, _turn)
    kept.pixels[:] = pixels  # before anybody can take it
    with _lock:
        _kept[image, block] = kept


def kept_bytes() -> int:
    """Bytes of all kept blocks."""
    with _lock:
        return sum(kept.pixels.nbytes for kept in _kept.values())


def forget() -> None:
    """Drop what is kept: what one run left over is not for the next."""
    with _lock:
        _kept.clear()


def touched_bytes() -> int:
    """Bytes that kept blocks have ever taken: the store's part of this process's memory."""
    with _lock:
        return _slab.touched


def hold_to(limit: int) -> None:
    """Let the store grow to ``limit`` bytes, if its budget allows for as many; the rest of memory is for others."""
    global _limit  # noqa: PLW0603
    with _lock:
        _limit = limit
