"""Decoded blocks at a tile's edge, kept in the process for the neighbours that it reads next.

Tiles seldom end where source blocks do: halos, masks grown by a radius, and scenes of another zone make neighbours
touch the same blocks. A block stays only while a tile ahead needs it, and leaves with the read that takes it.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Image = tuple[str, int | None]
"""Address and overview."""
Block = tuple[int, int]
"""(row, column)."""

STALE_TURNS = 16
"""Tiles after which a kept block is taken to be left over: the tile that wanted it went to another worker."""

_kept: OrderedDict[tuple[Image, Block], tuple[NDArray[Any], int]] = OrderedDict()
_spare: dict[tuple[object, ...], list[NDArray[Any]]] = {}
"""Arrays of blocks that nobody needs any more, by shape and type: fresh memory costs as much as the copy into it."""
_lock = threading.Lock()
_bytes = _spare_bytes = 0
_turn = 0


def next_tile() -> None:
    """Count the tiles of this process."""
    global _turn  # noqa: PLW0603 - one store per process
    with _lock:
        _turn += 1


def take(image: Image, blocks: Sequence[Block]) -> dict[Block, NDArray[Any]]:
    """The kept ones of ``blocks``; they are not kept any longer. Hand them to :func:`keep` or :func:`give_back`."""
    global _bytes  # noqa: PLW0603
    found = {}
    with _lock:
        for block in blocks:
            entry = _kept.pop((image, block), None)
            if entry is not None:
                found[block] = entry[0]
                _bytes -= entry[0].nbytes
    return found


def keep(image: Image, block: Block, pixels: NDArray[Any], budget: int, *, owned: bool = False) -> None:
    """Keep a block while all that is kept fits into ``budget`` bytes: a copy of it, or itself where it is ``owned``.

    Where it does not fit, left-overs go first, and then new blocks stay out: the oldest are the next to be needed.
    """
    global _bytes  # noqa: PLW0603
    with _lock:
        while _kept and _bytes + pixels.nbytes > budget:
            key, (oldest, turn) = next(iter(_kept.items()))
            if _turn - turn <= STALE_TURNS:
                return
            del _kept[key]
            _bytes -= oldest.nbytes
        if pixels.nbytes > budget or (image, block) in _kept:
            return
        _bytes += pixels.nbytes
        _drop_spare(budget)
    kept = pixels
    if not owned:
        kept = room(pixels.shape, pixels.dtype)
        kept[:] = pixels  # before anybody can take it
    with _lock:
        if (image, block) in _kept:
            _bytes -= pixels.nbytes
        else:
            _kept[image, block] = (kept, _turn)


def give_back(blocks: Iterable[NDArray[Any]], budget: int) -> None:
    """Leave arrays from :func:`take` for the next blocks."""
    global _spare_bytes  # noqa: PLW0603
    with _lock:
        for pixels in blocks:
            _spare.setdefault((pixels.shape, pixels.dtype), []).append(pixels)
            _spare_bytes += pixels.nbytes
        _drop_spare(budget)


def room(shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
    """An array for a block; what it holds is left over from another."""
    global _spare_bytes  # noqa: PLW0603
    with _lock:
        spare = _spare.get((shape, np.dtype(dtype)))
        if spare:
            _spare_bytes -= spare[-1].nbytes
            return spare.pop()
    return np.empty(shape, dtype)


def _drop_spare(budget: int) -> None:
    global _spare_bytes  # noqa: PLW0603
    while _spare and _bytes + _spare_bytes > budget:
        key, arrays = next(iter(_spare.items()))
        if arrays:
            _spare_bytes -= arrays.pop().nbytes
        else:
            del _spare[key]


def kept_bytes() -> int:
    """Bytes of all kept blocks."""
    return _bytes


def forget() -> None:
    """Drop what is kept: what one run left over is not for the next."""
    global _bytes  # noqa: PLW0603
    with _lock:
        _kept.clear()
        _bytes = 0
