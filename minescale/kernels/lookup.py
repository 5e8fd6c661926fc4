"""Nearest-neighbour warps as look-ups: where each target pixel comes from is computed once and used for many images.

Scenes of one granule share their grid, so one set of positions serves every date and band; decoding, gathering and
fusing are one pass over memory.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from minescale.kernels._jit import kernel


def nearest_table(
    net_cols: NDArray[np.float64],
    net_rows: NDArray[np.float64],
    step: int,
    shape: tuple[int, int],
    image: tuple[int, int],
) -> NDArray[np.int32]:
    """Flat position of the image pixel under each target pixel's centre.

    Parameters
    ----------
    net_cols, net_rows : float64 (ny, nx), image coordinates (pixel edges whole) of the target pixel centres
        ``0, step, 2 * step, ...`` along both axes, reaching at least to the last pixel; NaN = no position.
    step : target pixels between net points; positions between them are interpolated linearly.
    shape : (y, x) of the target.
    image : (y, x) of the image.

    Returns
    -------
    int32 (y, x): ``row * width + column``, -1 outside the image.
    """
    table = np.empty(shape, np.int32)
    _nearest_table(net_cols, net_rows, step, image[0], image[1], table)
    return table


def fill(stored: NDArray, table: NDArray, out: NDArray) -> None:
    """``out = table[stored]`` where ``out`` is 0: decode and fuse in one pass.

    ``stored`` and ``out`` are (y, x) of one shape, ``stored`` uint8 or uint16, ``out`` of the table's type; it may be
    a window of a larger array. ``table`` has 65,536 entries.
    """
    _fill(stored, table, out)


def fill_gathered(stored: NDArray, table: NDArray, positions: NDArray[np.int32], out: NDArray) -> None:
    """``out[i] = table[stored.flat[positions[i]]]`` where ``out`` is 0 and the position is not negative.

    ``positions`` and ``out`` are (y, x) of one shape, ``stored`` is C-contiguous; types as for :func:`fill`.
    """
    _fill_gathered(stored.reshape(-1), table, positions, out)


@kernel
def _nearest_table(
    net_cols: NDArray, net_rows: NDArray, step: int, height: int, width: int, table: NDArray
) -> None:  # pragma: no cover - compiled
    ny, nx = table.shape
    for y in range(ny):
        j = min(y // step, net_cols.shape[0] - 2)
        v = (y - j * step) / step
        for x in range(nx):
            i = min(x // step, net_cols.shape[1] - 2)
            u = (x - i * step) / step
            top_c = net_cols[j, i] + u * (net_cols[j, i + 1] - net_cols[j, i])
            low_c = net_cols[j + 1, i] + u * (net_cols[j + 1, i + 1] - net_cols[j + 1, i])
            top_r = net_rows[j, i] + u * (net_rows[j, i + 1] - net_rows[j, i])
            low_r = net_rows[j + 1, i] + u * (net_rows[j + 1, i + 1] - net_rows[j + 1, i])
            col = np.floor(top_c + v * (low_c - top_c))
            row = np.floor(top_r + v * (low_r - top_r))
            # Written so that NaN falls outside.
            if col >= 0 and col < width and row >= 0 and row < height:
                table[y, x] = np.int32(row) * width + np.int32(col)
            else:
                table[y, x] = -1


@kernel
def _fill(stored: NDArray, table: NDArray, out: NDArray) -> None:  # pragma: no cover - compiled
    ny, nx = stored.shape
    for y in range(ny):
        for x in range(nx):
            if out[y, x] == 0:
                out[y, x] = table[stored[y, x]]


@kernel
def _fill_gathered(
    flat: NDArray, table: NDArray, positions: NDArray, out: NDArray
) -> None:  # pragma: no cover - compiled
    ny, nx = positions.shape
    for y in range(ny):
        for x in range(nx):
            position = positions[y, x]
            if position >= 0 and out[y, x] == 0:
                out[y, x] = table[flat[position]]
