"""Distance from every pixel of an image to the nearest of many line segments, exactly."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from minescale.errors import UsageError
from minescale.kernels._arrays import given, same_shape
from minescale.kernels._jit import kernel

_BLOCK = 16
"""Pixels along the edge of a block that shares one list of candidates."""


def distance_to_segments(
    x: NDArray[np.float64], y: NDArray[np.float64], segments: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Euclidean distance to the nearest segment.

    Parameters
    ----------
    x, y : float64 (y, x), where each pixel's centre lies.
    segments : float64 (n, 4): x0, y0, x1, y1 in the same units. A point is a segment of length 0.

    Returns
    -------
    float64 (y, x) in the same units; infinite where there are no segments.

    Raises
    ------
    UsageError
        for arrays of other types or shapes.
    """
    across, down = given(x, "x", (np.float64,), 2), given(y, "y", (np.float64,), 2)
    same_shape(across, down, "x and y")
    lines = given(segments, "segments", (np.float64,), 2)
    if lines.shape[1] != 4:
        raise UsageError("segments have the wrong shape", got=lines.shape, expected="(n, 4): x0, y0, x1, y1")
    found = np.empty(across.shape, np.float64)
    _nearest(across, down, lines, np.empty_like(lines), found)
    return found


@kernel
def _squared(px: float, py: float, line: NDArray) -> float:
    dx, dy = line[2] - line[0], line[3] - line[1]
    length = dx * dx + dy * dy
    along = 0.0
    if length > 0.0:
        along = min(max(((px - line[0]) * dx + (py - line[1]) * dy) / length, 0.0), 1.0)
    ox, oy = px - (line[0] + along * dx), py - (line[1] + along * dy)
    return ox * ox + oy * oy


@kernel
def _nearest(x: NDArray, y: NDArray, lines: NDArray, near: NDArray, found: NDArray) -> None:
    # What is nearest to any pixel of a block lies within d + 2r of its middle, where d is the middle's own distance
    # and r its distance to the farthest pixel: only those segments are looked at pixel by pixel.
    height, width = x.shape
    n = lines.shape[0]
    for top in range(0, height, _BLOCK):
        bottom = min(top + _BLOCK, height)
        for left in range(0, width, _BLOCK):
            right = min(left + _BLOCK, width)
            mx, my = x[(top + bottom) // 2, (left + right) // 2], y[(top + bottom) // 2, (left + right) // 2]
            reach = 0.0
            for i in range(top, bottom):
                for j in range(left, right):
                    reach = max(reach, (x[i, j] - mx) ** 2 + (y[i, j] - my) ** 2)
            nearest = np.inf
            for k in range(n):
                nearest = min(nearest, _squared(mx, my, lines[k]))
            limit = (np.sqrt(nearest) + 2.0 * np.sqrt(reach)) ** 2 * (1.0 + 1e-9)
            count = 0
            for k in range(n):
                if _squared(mx, my, lines[k]) <= limit:
                    near[count] = lines[k]
                    count += 1
            for i in range(top, bottom):
                for j in range(left, right):
                    best = np.inf
                    for k in range(count):
                        best = min(best, _squared(x[i, j], y[i, j], near[k]))
                    found[i, j] = np.sqrt(best)
