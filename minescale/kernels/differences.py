"""TIFF's predictor undone: blocks that were stored as differences between neighbours in a row."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from minescale.kernels._jit import kernel


def sum_differences(block: NDArray) -> None:
    """Turn differences into values in place: each pixel is the sum of its row up to it, modulo the type's range.

    ``block`` is (y, x) uint8 or uint16, C-contiguous, one sample per pixel (TIFF 6.0, section 14, predictor 2).
    """
    _sum_differences(block)


@kernel
def _sum_differences(block: NDArray) -> None:  # pragma: no cover - compiled
    height = block.shape[0]
    # Sums in registers, since adding to the pixel before would wait for its store; four rows, since each waits for
    # its own last sum.
    for y in range(0, height - 3, 4):
        r0, r1, r2, r3 = block[y], block[y + 1], block[y + 2], block[y + 3]
        t0, t1, t2, t3 = np.uint32(0), np.uint32(0), np.uint32(0), np.uint32(0)
        for x in range(r0.size):
            t0, t1 = np.uint32(t0 + r0[x]), np.uint32(t1 + r1[x])
            t2, t3 = np.uint32(t2 + r2[x]), np.uint32(t3 + r3[x])
            r0[x], r1[x], r2[x], r3[x] = t0, t1, t2, t3
    for y in range(height // 4 * 4, height):
        row, total = block[y], np.uint32(0)
        for x in range(row.size):
            total = np.uint32(total + row[x])
            row[x] = total
