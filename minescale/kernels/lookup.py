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


def needed_pixels(
    net_cols: NDArray[np.float64],
    net_rows: NDArray[np.float64],
    step: int,
    shape: tuple[int, int],
    image: tuple[int, int],
) -> tuple[int, int, int, int]:
    """(row0, row1, col0, col1) of the image pixels that :func:`nearest_table` refers to; row1 = 0 where there are none.

    Arguments as there.
    """
    row0, row1, col0, col1 = _needed_pixels(net_cols, net_rows, step, shape[0], shape[1], image[0], image[1])
    return int(row0), int(row1), int(col0), int(col1)


def fill(stored: NDArray, table: NDArray, out: NDArray, *, fresh: bool = False) -> None:
    """``out = table[stored]`` where ``out`` is 0: decode and fuse in one pass. ``fresh``: everywhere.

    ``stored`` and ``out`` are (y, x) of one shape, ``stored`` uint8 or uint16, ``out`` of the table's type; it may be
    a window of a larger array. ``table`` has 65,536 entries.
    """
    (_write if fresh else _fill)(stored, table, out)


def fill_gathered(
    stored: NDArray, table: NDArray, positions: NDArray[np.int32], out: NDArray, *, fresh: bool = False
) -> None:
    """``out[i] = table[stored.flat[positions[i]]]`` where ``out`` is 0 and the position is not negative.

    ``fresh``: everywhere, with 0 where the position is negative. ``positions`` and ``out`` are (y, x) of one shape,
    ``stored`` is C-contiguous; types as for :func:`fill`.
    """
    (_write_gathered if fresh else _fill_gathered)(stored.reshape(-1), table, positions, out)


@kernel
def _at(net: NDArray, j: int, i: int, v: float) -> float:  # pragma: no cover - compiled
    """Between net rows ``j`` and ``j + 1``."""
    return net[j, i] + v * (net[j + 1, i] - net[j, i])


@kernel
def _nearest_table(
    net_cols: NDArray, net_rows: NDArray, step: int, height: int, width: int, table: NDArray
) -> None:  # pragma: no cover - compiled
    ny, nx = table.shape
    cells = net_cols.shape[1] - 1
    for y in range(ny):
        j = min(y // step, net_cols.shape[0] - 2)
        v = (y - j * step) / step
        out = table[y]
        for i in range(cells):
            left_c, right_c = _at(net_cols, j, i, v), _at(net_cols, j, i + 1, v)
            left_r, right_r = _at(net_rows, j, i, v), _at(net_rows, j, i + 1, v)
            for x in range(i * step, nx if i == cells - 1 else min((i + 1) * step, nx)):
                u = (x - i * step) / step
                col = np.floor(left_c + u * (right_c - left_c))
                row = np.floor(left_r + u * (right_r - left_r))
                # Written so that NaN falls outside.
                if col >= 0 and col < width and row >= 0 and row < height:
                    out[x] = np.int32(row) * width + np.int32(col)
                else:
                    out[x] = -1


@kernel
def _needed_pixels(
    net_cols: NDArray, net_rows: NDArray, step: int, ny: int, nx: int, height: int, width: int
) -> tuple[float, float, float, float]:  # pragma: no cover - compiled
    row0, row1, col0, col1 = float(height), 0.0, float(width), 0.0
    cells = net_cols.shape[1] - 1
    for y in range(ny):
        j = min(y // step, net_cols.shape[0] - 2)
        v = (y - j * step) / step
        for i in range(cells):
            left_c, right_c = _at(net_cols, j, i, v), _at(net_cols, j, i + 1, v)
            left_r, right_r = _at(net_rows, j, i, v), _at(net_rows, j, i + 1, v)
            for x in range(i * step, nx if i == cells - 1 else min((i + 1) * step, nx)):
                u = (x - i * step) / step
                col = np.floor(left_c + u * (right_c - left_c))
                row = np.floor(left_r + u * (right_r - left_r))
                if col >= 0 and col < width and row >= 0 and row < height:
                    row0, row1 = min(row0, row), max(row1, row + 1)
                    col0, col1 = min(col0, col), max(col1, col + 1)
    return row0, row1, col0, col1


@kernel
def _write(stored: NDArray, table: NDArray, out: NDArray) -> None:  # pragma: no cover - compiled
    ny, nx = stored.shape
    for y in range(ny):
        for x in range(nx):
            out[y, x] = table[stored[y, x]]


@kernel
def _write_gathered(
    flat: NDArray, table: NDArray, positions: NDArray, out: NDArray
) -> None:  # pragma: no cover - compiled
    ny, nx = positions.shape
    for y in range(ny):
        for x in range(nx):
            position = positions[y, x]
            out[y, x] = table[flat[position]] if position >= 0 else table.dtype.type(0)


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
