"""Nearest-neighbour warps as look-ups: where each target pixel comes from is computed once and used for many images.

Scenes of one granule share their grid, so one table serves every date and band; and a gather costs a fraction of a
warp.
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


def gather(image: NDArray, table: NDArray[np.int32], target: NDArray) -> None:
    """``target[i] = image.flat[table[i]]`` where the table is not negative; the rest of ``target`` stays.

    ``image`` and ``target`` are (y, x), of one element type, ``table`` int32 of the target's shape.
    """
    _gather(image.reshape(-1), table, target)


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
def _gather(flat: NDArray, table: NDArray, target: NDArray) -> None:  # pragma: no cover - compiled
    ny, nx = table.shape
    for y in range(ny):
        for x in range(nx):
            position = table[y, x]
            if position >= 0:
                target[y, x] = flat[position]
