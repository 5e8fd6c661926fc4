"""Pieces of a tile: rectangles so small that all layers of one fit into a given room.

Cuts lie on multiples of a power of two, counted from the scenes' own first pixel: that is where source blocks end, so
that a block is decoded for one piece and not for two. A block larger than a piece is met by pieces that follow each
other, and the process keeps it from one to the next (:mod:`minescale.sources.reuse`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

SMALLEST = 64
"""Edges go no lower; the reader's nets of positions have this step, so that a piece gets the positions of its tile."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Rows and columns [start, stop)."""

    row0: int
    row1: int
    col0: int
    col1: int

    def shape(self, factor: int = 1) -> tuple[int, int]:
        """(y, x) of the piece in pixels that are ``factor`` times finer."""
        return (self.row1 - self.row0) * factor, (self.col1 - self.col0) * factor

    def slices(self, factor: int = 1) -> tuple[slice, slice]:
        """Where the piece lies in an image of pixels that are ``factor`` times finer."""
        return slice(self.row0 * factor, self.row1 * factor), slice(self.col0 * factor, self.col1 * factor)


def cut(shape: tuple[int, int], most: int, origin: tuple[int, int] = (0, 0)) -> list[Piece]:
    """Pieces of ``shape`` (y, x) of at most ``most`` pixels each, neighbours close together in the list.

    As few pieces as halving, rows first, leads to; larger than ``most`` only where no edge could be halved.

    Parameters
    ----------
    origin : (y, x) position of the first pixel on the lattice along whose multiples is cut.
    """
    if math.prod(shape) <= most:
        return [Piece(0, shape[0], 0, shape[1])]
    height = width = 1 << max(max(shape) - 1, SMALLEST).bit_length()
    while True:
        rows, cols = _spans(shape[0], origin[0], height), _spans(shape[1], origin[1], width)
        pieces = [Piece(*row, *col) for row in rows for col in cols]
        if width <= SMALLEST or max(math.prod(piece.shape()) for piece in pieces) <= most:
            order = {piece: _interleaved(n // len(cols), n % len(cols)) for n, piece in enumerate(pieces)}
            return sorted(pieces, key=order.__getitem__)
        if height >= width:
            height //= 2
        else:
            width //= 2


def _spans(length: int, origin: int, step: int) -> list[tuple[int, int]]:
    """0 to ``length``, cut where ``origin`` plus position is a multiple of ``step``, but for slivers at the ends."""
    sliver = step // 4
    inner = [at for at in range(-origin % step, length, step) if sliver < at < length - sliver]
    return list(zip([0, *inner], [*inner, length], strict=True))


def _interleaved(row: int, col: int) -> int:
    """Place along a curve that finishes a quarter before it begins the next."""
    return sum((row >> bit & 1) << 2 * bit + 1 | (col >> bit & 1) << 2 * bit for bit in range(16))
