"""Nearest centres, and how much of a pixel belongs to chosen ones."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from minescale.errors import UsageError
from minescale.kernels._arrays import given
from minescale.kernels._jit import kernel

_BLOCK = 512
"""Pixels whose distances are added up together: they stay in the first-level cache."""


def membership(
    features: NDArray[np.float32],
    centres: NDArray[np.float32],
    spread: float,
    chosen: NDArray[np.bool_],
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """The nearest centre of each pixel, and the probability of the chosen ones together.

    Memberships are those of a mixture of equally frequent normal distributions of one spread in every direction,
    ``exp(-d² / 2 s²)`` over their sum: the nearest centre always has the largest.

    Parameters
    ----------
    features : float32 (feature, pixel), scaled, no NaN.
    centres : float32 (centre, feature), at most 255.
    spread : s, root mean square distance from a point to its centre, per feature.
    chosen : bool (centre,)

    Returns
    -------
    uint8 (pixel,) number of the nearest centre, the first on a tie; float32 (pixel,) probability 0-1.

    Raises
    ------
    UsageError
        for arrays of other types or shapes.
    """
    x, c = given(features, "features", (np.float32,), 2), given(centres, "centres", (np.float32,), 2)
    mask = given(chosen, "chosen", (np.bool_,), 1)
    if c.shape[1] != len(x) or mask.size != len(c) or not 0 < len(c) < 256 or not spread > 0:
        raise UsageError(
            "centres do not fit", got=f"{c.shape} for {len(x)} features, {mask.size} flags, spread {spread}"
        )
    nearest, share = np.empty(x.shape[1], np.uint8), np.empty(x.shape[1], np.float32)
    _membership(x, c, np.float32(0.5 / spread**2), mask, nearest, share)
    return nearest, share


@kernel
def _membership(  # pragma: no cover - compiled
    x: NDArray, centres: NDArray, steep: np.float32, chosen: NDArray, nearest: NDArray, share: NDArray
) -> None:
    columns, pixels = x.shape
    distance = np.empty((len(centres), _BLOCK), np.float32)
    for begin in range(0, pixels, _BLOCK):
        size = min(_BLOCK, pixels - begin)
        distance[:] = np.float32(0)
        for c in range(len(centres)):
            total = distance[c]
            for f in range(columns):
                row, centre = x[f, begin : begin + size], centres[c, f]
                for i in range(size):
                    total[i] += (row[i] - centre) * (row[i] - centre)
        for i in range(size):
            best = 0
            for c in range(1, len(centres)):
                if distance[c, i] < distance[best, i]:
                    best = c
            inside, everything = np.float32(0), np.float32(0)
            for c in range(len(centres)):
                weight = np.exp((distance[best, i] - distance[c, i]) * steep)
                everything += weight
                if chosen[c]:
                    inside += weight
            nearest[begin + i] = best
            share[begin + i] = inside / everything
