"""Co-occurrence of classes: how often value j lies at an offset from value i.

``C(i, j) = sum over y, x of [I(y, x) = i and I(y + dy, x + dx) = j]`` (Haralick et al. 1973,
doi:10.1109/TSMC.1973.4309314, neither made symmetric nor normed). Pairs of which one half lies outside the image do not
count: edges are not wrapped.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from minescale.errors import UsageError
from minescale.kernels._arrays import given
from minescale.kernels._jit import kernel


def cooccurrence(
    classes: NDArray[np.uint8], n: int, dy: int = 0, dx: int = 1, ignore: int | None = None
) -> NDArray[np.int64]:
    """Count the pairs of class values that lie ``dy`` rows and ``dx`` columns apart.

    Parameters
    ----------
    classes : uint8 (y, x), values 0 to n - 1, and ``ignore``.
    n : number of classes, 1 to 256.
    dy, dx : offset of the second pixel, rows down and columns right; either may be negative, or larger than the image.
        Offset 0, 0 counts the classes themselves, on the diagonal.
    ignore : value whose pixels are in no pair; None: every pixel counts.

    Returns
    -------
    int64 (n, n): first axis the class of the pixel, second that of the pixel at the offset.

    Raises
    ------
    UsageError
        where a pixel is neither a class nor ``ignore``.
    """
    image = given(classes, "classes", (np.uint8,), 2)
    if not 1 <= n <= 256:
        raise UsageError("number of classes", got=n, expected="1 to 256")
    counts = np.zeros((n, n), np.int64)
    strange = _pairs(image, n, dy, dx, -1 if ignore is None else ignore, counts)
    if strange >= 0:
        raise UsageError("a pixel has a value that is no class", got=strange, expected=f"0 to {n - 1}")
    return counts


@kernel
def _pairs(image: NDArray, n: int, dy: int, dx: int, ignore: int, counts: NDArray) -> int:
    """Fill ``counts``; the first value met that is neither a class nor ignored, or -1."""
    height, width = image.shape
    for y in range(height):
        for x in range(width):
            value = np.int64(image[y, x])
            if value >= n and value != ignore:
                return int(value)
    for y in range(max(0, -dy), min(height, height - dy)):
        row, other = image[y], image[y + dy]
        for x in range(max(0, -dx), min(width, width - dx)):
            i, j = np.int64(row[x]), np.int64(other[x + dx])
            if ignore not in (i, j):
                counts[i, j] += 1
    return -1
