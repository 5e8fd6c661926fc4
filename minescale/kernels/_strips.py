"""Strips: runs of whole image rows, short enough that all their layers stay in a core's cache.

The per-band composites (median, percentile, latest) share the steps here. A sample is valid where its layer is
CLEAR and its value is not 0. numba does not notice a change here when it loads a caller's cached code: after an edit,
delete numba's cache files (``__pycache__/*.nbi``) of ``networks.py`` and ``composite.py``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from minescale.kernels._jit import kernel
from minescale.sensors import CLEAR

STRIP = 2048
_CLEAR = np.uint8(CLEAR)
_ZERO, _FULL = np.uint16(0), np.uint16(0xFFFF)


@kernel
def strip_rows(width: int) -> int:
    """Rows per strip: about 2048 pixels, long enough for memory to stream and short enough for the cache."""
    return max(1, STRIP // max(1, width))


@kernel
def strip_states(states: NDArray, factor: int, t: int, top: int, bottom: int, width: int, fine: NDArray) -> NDArray:
    """States of layer ``t`` for the pixels of rows top to bottom; repeated into ``fine`` where they are coarser."""
    if factor == 1:
        layer: NDArray = states[t].reshape(states.shape[1] * states.shape[2])[top * width : bottom * width]
        return layer
    for y in range(top, bottom):
        coarse = states[t, y // factor]
        line = fine[(y - top) * width : (y - top + 1) * width]
        if factor == 2:
            for cell in range(coarse.size):
                line[2 * cell] = coarse[cell]
                line[2 * cell + 1] = coarse[cell]
        else:
            for cell in range(coarse.size):
                for step in range(factor):
                    line[cell * factor + step] = coarse[cell]
    return fine[: (bottom - top) * width]


@kernel
def _alternate(source: NDArray, state: NDArray, fill: NDArray, row: NDArray) -> None:
    for x in range(source.size):
        value = source[x]
        masked = (state[x] != _CLEAR) | (value == 0)
        row[x] = fill[x] if masked else value
        fill[x] ^= _FULL if masked else _ZERO


@kernel
def fill_strip(
    stack: NDArray, states: NDArray, factor: int, top: int, bottom: int, work: NDArray, fill: NDArray, fine: NDArray
) -> None:
    """Samples of rows top to bottom into ``work``; masked ones, and layers that pad it, become 0 and 65535 in turn.

    ``fill`` ends as 0 where an even number was replaced and as 65535 where an odd one was.
    """
    depth, height, width = stack.shape
    count = (bottom - top) * width
    flat = stack.reshape(depth, height * width)
    part = fill[:count]
    part[:] = 0
    for t in range(depth):
        state = strip_states(states, factor, t, top, bottom, width, fine)
        _alternate(flat[t, top * width : bottom * width], state, part, work[t, :count])
    for t in range(depth, work.shape[0]):
        for x in range(count):
            work[t, x] = part[x]
            part[x] ^= _FULL
