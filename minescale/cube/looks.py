"""Clear looks: which layers see which ground, one bit per layer and pixel, and which layers a composite keeps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from minescale.cube.pieces import Piece
from minescale.kernels import masking
from minescale.sensors import CLEAR, NODATA
from minescale.sources.demand import Demand

CELL = 64
"""Pixels along the edge of a cell of demand; a multiple of 8."""


class Looks:
    """What quality bands say of (layer, y, x), taken in a few layers at a time."""

    def __init__(self, layers: int, shape: tuple[int, int]) -> None:
        self.shape = shape
        self._bits = np.zeros((layers, shape[0], -(-shape[1] // 8)), np.uint8)
        self._demands: dict[tuple[Piece, int], list[Demand]] = {}
        self.clear_count = np.zeros(shape, np.uint16)
        """(y, x) layers that are clear."""
        self.observed = np.zeros(shape, bool)
        """(y, x) whether any layer has an observation."""
        self.clear = np.zeros(layers, np.int64)
        """Clear pixels of each layer."""
        self.observations = np.zeros(layers, np.int64)
        """Pixels of each layer that have an observation, clear or not."""

    def add(self, which: Sequence[int], states: NDArray[np.uint8]) -> None:
        """Take in the uint8 (layer, y, x) states of the layers at the positions ``which``."""
        self.clear_count += masking.clear_count(states)
        self.observed |= masking.observed(states)
        self.clear[which] = masking.clear_per_layer(states)
        for i, layer in zip(which, states, strict=True):
            self.observations[i] = np.count_nonzero(layer != NODATA)
            self._bits[i] = np.packbits(layer == CLEAR, axis=1)

    def keep(self, which: Sequence[int]) -> None:
        """Forget the bits of all layers but ``which``; they are counted from 0 in this order from now on."""
        if len(which) < len(self._bits):
            self._bits = self._bits[which]
            self._demands.clear()

    def layer(self, i: int) -> NDArray[np.bool_]:
        """bool (y, x): where layer ``i`` is clear."""
        return np.unpackbits(self._bits[i], axis=1, count=self.shape[1]).astype(bool)

    def states(self, piece: Piece) -> NDArray[np.uint8]:
        """uint8 (layer, y, x) of a piece: CLEAR, or 0 where a layer is not."""
        first, rows = piece.col0 // 8, slice(piece.row0, piece.row1)
        found = np.empty((len(self._bits), *piece.shape()), np.uint8)
        for states, bits in zip(found, self._bits, strict=True):
            # CLEAR is 1, so that bits are states.
            part = np.unpackbits(bits[rows, first : -(-piece.col1 // 8)], axis=1, count=piece.col1 - 8 * first)
            states[:] = part[:, piece.col0 - 8 * first :]
        return found

    def demands(self, piece: Piece, factor: int) -> list[Demand]:
        """Of each layer, the part of a piece where it is clear, in pixels ``factor`` times finer than the looks.

        All bands ask for the same few: they are kept.
        """
        if (piece, factor) not in self._demands:
            first = piece.col0 // 8
            part = self._bits[:, piece.row0 : piece.row1, first : -(-piece.col1 // 8)]
            rows, cols = (np.arange(0, n, step) for n, step in zip(part.shape[1:], (CELL, CELL // 8), strict=True))
            found = np.bitwise_or.reduceat(np.bitwise_or.reduceat(part, rows, axis=1), cols, axis=2) != 0
            shift = (piece.col0 - 8 * first) * factor
            self._demands[piece, factor] = [Demand(cells, CELL * factor, shift) for cells in found]
        return self._demands[piece, factor]


def choose_layers(looks: Looks, limit: int) -> list[int]:
    """Indices, oldest first, of at most ``limit`` layers: the clearest, but none that would leave ground unseen.

    A plain "clearest first" drops the only look at a corner that one orbit alone covers; so while another layer sees
    pixels that no chosen one sees, it takes the place of the least clear chosen layer whose going costs less than it
    brings.
    """
    clear = looks.clear
    order = [int(i) for i in np.lexsort((np.arange(len(clear)), -clear)) if clear[i] > 0]
    chosen, spare = order[:limit], order[limit:]
    if spare:
        counts = np.zeros(looks.shape, np.uint16)
        for i in chosen:
            counts += looks.layer(i)
        for candidate in spare:
            fresh = looks.layer(candidate)
            gain = int(np.count_nonzero(fresh & (counts == 0)))
            if gain == 0:
                continue
            alone = (counts == 1) & ~fresh
            losses = [int(np.count_nonzero(looks.layer(i) & alone)) for i in chosen]
            victim = min(range(len(chosen)), key=lambda j: (losses[j], clear[chosen[j]]))
            if losses[victim] < gain:
                counts += fresh
                counts -= looks.layer(chosen[victim])
                chosen[victim] = candidate
    return sorted(chosen)
