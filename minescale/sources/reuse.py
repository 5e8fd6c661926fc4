"""Decoded blocks at a tile's edge, kept in the process for the neighbours that it reads next.

Tiles seldom end where source blocks do: halos, masks grown by a radius, and scenes of another zone make neighbours
touch the same blocks. A block stays only while a tile ahead needs it, and leaves with the read that takes it.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

Image = tuple[str, int | None]
"""Address and overview."""
Block = tuple[int, int]
"""(row, column)."""

STALE_TURNS = 16
"""Tiles after which a kept block is taken to be left over: the tile that wanted it went to another worker."""

_kept: OrderedDict[tuple[Image, Block], tuple[NDArray[Any], int]] = OrderedDict()
_lock = threading.Lock()
_bytes = 0
_turn = 0


def next_tile() -> None:
    """Count the tiles of this process."""
    global _turn  # noqa: PLW0603 - one store per process
    with _lock:
        _turn += 1


def take(image: Image, blocks: Sequence[Block]) -> dict[Block, NDArray[Any]]:
    """The kept ones of ``blocks``; they are not kept any longer."""
    global _bytes  # noqa: PLW0603
    found = {}
    with _lock:
        for block in blocks:
            entry = _kept.pop((image, block), None)
            if entry is not None:
                found[block] = entry[0]
                _bytes -= entry[0].nbytes
    return found


def keep(image: Image, blocks: Mapping[Block, NDArray[Any]], budget: int) -> None:
    """Keep copies of ``blocks`` while all kept blocks fit into ``budget`` bytes.

    Where they do not fit, left-overs go first, and then new blocks stay out: the oldest are the next to be needed.
    """
    global _bytes  # noqa: PLW0603
    for block, pixels in blocks.items():
        with _lock:
            while _kept and _bytes + pixels.nbytes > budget:
                key, (oldest, turn) = next(iter(_kept.items()))
                if _turn - turn <= STALE_TURNS:
                    return
                del _kept[key]
                _bytes -= oldest.nbytes
            if pixels.nbytes > budget:
                return
            if (image, block) not in _kept:
                _kept[image, block] = (pixels.copy(), _turn)
                _bytes += pixels.nbytes


def kept_bytes() -> int:
    """Bytes of all kept blocks."""
    return _bytes
