"""Nearest-neighbour warps as look-ups: where each target pixel comes from is computed once and used for many images.

Scenes of one granule share their grid, so one set of positions serves every date and band; decoding, gathering and
fusing are one pass over memory. Two grids are seldom turned by much: most target pixels come from one run of
neighbours in an image row, and runs are copied as vectors.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from minescale.kernels._jit import kernel
from minescale.kernels.scaling import CEILING, FLOOR

_SHORT = 8
"""Runs below this many pixels are not worth the start of a vector loop."""
_CEILING, _FLOOR, _NOTHING = np.uint16(CEILING), np.uint16(FLOOR), np.uint16(0)


class Runs(NamedTuple):
    """Where target pixels come from: run after run, in the order of the flat target, covering all of it."""

    first: NDArray[np.int32]
    """(n + 1,) flat target position where each run begins, and the target's size at last."""
    start: NDArray[np.int32]
    """(n,) flat image position of a run's first pixel; -1 where the run has no image."""
    repeat: int
    """Pixels of a run that come from one image pixel, before the next one's: 1, or 2 where 20 m go onto 10 m."""


class Decoding(NamedTuple):
    """What stored numbers become."""

    table: NDArray
    """(65536,) uint8 or uint16: the value of every possible number."""
    minus: int
    """What the table subtracts, where it does nothing but that and clip to the valid range; else -1."""
    nodata: int
    """The one number that such a table turns into 0."""


def decoding(table: NDArray) -> Decoding:
    """A table for :func:`fill`; one that only subtracts is recognised, because arithmetic takes vectors."""
    empty = np.flatnonzero(table == 0)
    if table.dtype == np.uint16 and len(empty) == 1:
        nodata, somewhere = int(empty[0]), 40_000 if empty[0] != 40_000 else 40_001
        minus = somewhere - int(table[somewhere])
        expected = np.clip(np.arange(65536) - minus, FLOOR, CEILING)
        expected[nodata] = 0
        if minus >= 0 and np.array_equal(table, expected):
            return Decoding(table, minus, nodata)
    return Decoding(table, -1, 0)


def nearest_runs(
    net_cols: NDArray[np.float64],
    net_rows: NDArray[np.float64],
    step: int,
    shape: tuple[int, int],
    image: tuple[int, int],
) -> Runs:
    """Where the image pixels under the centres of all target pixels lie.

    Parameters
    ----------
    net_cols, net_rows : float64 (ny, nx), image coordinates (pixel edges whole) of the target pixel centres
        ``0, step, 2 * step, ...`` along both axes, reaching at least to the last pixel; NaN = no position.
    step : target pixels between net points, a power of two; positions between them are interpolated linearly.
    shape : (y, x) of the target.
    image : (y, x) of the image.
    """
    across = np.nanmedian(np.abs(np.diff(net_cols, axis=1))) if np.isfinite(net_cols).any() else np.nan
    repeat = max(round(step / float(across)), 1) if across > 0 else 1
    first, start = _nearest_runs(net_cols, net_rows, step, image[0], image[1], shape[0], shape[1], repeat)
    return Runs(first, start, repeat)


def needed_pixels(
    net_cols: NDArray[np.float64],
    net_rows: NDArray[np.float64],
    step: int,
    shape: tuple[int, int],
    image: tuple[int, int],
) -> tuple[int, int, int, int]:
    """(row0, row1, col0, col1) of the image pixels that :func:`nearest_runs` refers to; row1 = 0 without any.

    Arguments as there.
    """
    row0, row1, col0, col1 = _needed_pixels(net_cols, net_rows, step, shape[0], shape[1], image[0], image[1])
    return int(row0), int(row1), int(col0), int(col1)


def fill(stored: NDArray, decode: Decoding, out: NDArray, *, fresh: bool = False) -> None:
    """``out = decoded stored`` where ``out`` is 0: decode and fuse in one pass. ``fresh``: everywhere.

    ``stored`` and ``out`` are (y, x) of one shape, ``stored`` uint8 or uint16, ``out`` of the table's type; both may
    be windows of larger arrays.
    """
    source, across = _flat(stored)
    target, along = _flat(out)
    table, minus, nodata = decode
    arithmetic = minus >= 0 and stored.dtype == out.dtype == np.uint16
    if arithmetic:
        _fill_minus(
            source, across, np.uint16(minus), np.uint16(nodata), target, along, out.shape[0], out.shape[1], fresh
        )
    else:
        _fill(source, across, table, target, along, out.shape[0], out.shape[1], fresh)


def fill_gathered(stored: NDArray, decode: Decoding, runs: Runs, out: NDArray, *, fresh: bool = False) -> None:
    """``out`` = the decoded image pixels that ``runs`` name, where ``out`` is 0 and there is an image.

    ``fresh``: everywhere, with 0 where there is none. ``stored`` and ``out`` are C-contiguous; types as for
    :func:`fill`.
    """
    table, minus, nodata = decode
    arithmetic = minus >= 0 and stored.dtype == out.dtype == np.uint16
    _gather(
        stored.reshape(-1),
        table,
        arithmetic,
        np.uint16(max(minus, 0)),
        np.uint16(nodata),
        runs.first,
        runs.start,
        runs.repeat,
        out.reshape(-1),
        fresh,
    )


def _flat(array: NDArray) -> tuple[NDArray, int]:
    """A window as one row of memory, and the elements from one of its rows to the next.

    numba makes vectors only of what it knows to be contiguous.
    """
    rows, cols = array.shape
    if array.size == 0 or rows == 1:
        return array.reshape(-1), cols
    stride = array.strides[0] // array.itemsize
    return as_strided(array, ((rows - 1) * stride + cols,), (array.itemsize,)), stride


@kernel
def _at(net: NDArray, j: int, i: int, v: float) -> float:  # pragma: no cover - compiled
    """Between net rows ``j`` and ``j + 1``."""
    return net[j, i] + v * (net[j + 1, i] - net[j, i])


@kernel
def _inside(a: float, b: float, size: int) -> bool:  # pragma: no cover - compiled
    """Whether all of a line from ``a`` to ``b`` lies on 0 to ``size``; not where either is NaN."""
    return a >= 0 and a < size and b >= 0 and b < size


@kernel
def _nearest_runs(
    net_cols: NDArray, net_rows: NDArray, step: int, height: int, width: int, ny: int, nx: int, repeat: int
) -> tuple[NDArray, NDArray]:  # pragma: no cover - compiled
    first, start = np.empty(4 * ny + 1, np.int32), np.empty(4 * ny, np.int32)
    n = 0
    positions = np.empty(nx, np.int32)
    cells = net_cols.shape[1] - 1
    part = 1.0 / step
    for y in range(ny):
        j = min(y // step, net_cols.shape[0] - 2)
        v = (y - j * step) * part
        for i in range(cells):
            left_c, right_c = _at(net_cols, j, i, v), _at(net_cols, j, i + 1, v)
            left_r, right_r = _at(net_rows, j, i, v), _at(net_rows, j, i + 1, v)
            cell = positions[i * step : nx if i == cells - 1 else min((i + 1) * step, nx)]
            across, down = right_c - left_c, right_r - left_r
            # The last cell may reach past its right net point, so its own end counts.
            end = (cell.size - 1) * part
            if _inside(left_c, left_c + end * across, width) and _inside(left_r, left_r + end * down, height):
                for x in range(cell.size):
                    u = x * part
                    cell[x] = np.int32(left_r + u * down) * np.int32(width) + np.int32(left_c + u * across)
                continue
            for x in range(cell.size):
                u = x * part
                col, row = np.floor(left_c + u * across), np.floor(left_r + u * down)
                # Written so that NaN falls outside.
                if col >= 0 and col < width and row >= 0 and row < height:
                    cell[x] = np.int32(row) * width + np.int32(col)
                else:
                    cell[x] = -1
        if n + nx > start.size:  # room for a row of single pixels
            first, start = _longer(first, 2 * n + nx + 1), _longer(start, 2 * n + nx)
        expected, more = np.int32(-2), 0
        for x in range(nx):
            position = positions[x]
            if position != expected:
                first[n], start[n] = y * nx + x, position
                n += 1
                expected, more = position, repeat
            more -= 1
            if more == 0 and position >= 0:
                expected, more = position + np.int32(1), repeat
    first[n] = ny * nx
    return first[: n + 1].copy(), start[:n].copy()


@kernel
def _longer(array: NDArray, size: int) -> NDArray:  # pragma: no cover - compiled
    longer = np.empty(size, array.dtype)
    longer[: array.size] = array
    return longer


@kernel
def _needed_pixels(
    net_cols: NDArray, net_rows: NDArray, step: int, ny: int, nx: int, height: int, width: int
) -> tuple[float, float, float, float]:  # pragma: no cover - compiled
    row0, row1, col0, col1 = float(height), 0.0, float(width), 0.0
    part = 1.0 / step
    for j in range(net_cols.shape[0] - 1):
        y0, y1 = j * step, ny if j == net_cols.shape[0] - 2 else min((j + 1) * step, ny)
        for i in range(net_cols.shape[1] - 1):
            x0, x1 = i * step, nx if i == net_cols.shape[1] - 2 else min((i + 1) * step, nx)
            if y1 <= y0 or x1 <= x0:
                continue
            # Positions are bilinear in a cell: the extremes lie in its corners, unless it sticks out of the image.
            corners, y_step, x_step = True, max(y1 - y0 - 1, 1), max(x1 - x0 - 1, 1)
            while True:
                for y in range(y0, y1, y_step):
                    v = (y - y0) * part
                    left_c, right_c = _at(net_cols, j, i, v), _at(net_cols, j, i + 1, v)
                    left_r, right_r = _at(net_rows, j, i, v), _at(net_rows, j, i + 1, v)
                    for x in range(x0, x1, x_step):
                        u = (x - x0) * part
                        col = np.floor(left_c + u * (right_c - left_c))
                        row = np.floor(left_r + u * (right_r - left_r))
                        if col >= 0 and col < width and row >= 0 and row < height:
                            row0, row1 = min(row0, row), max(row1, row + 1)
                            col0, col1 = min(col0, col), max(col1, col + 1)
                        elif corners:
                            corners = False
                if corners or (y_step == 1 and x_step == 1):
                    break
                y_step = x_step = 1
    return row0, row1, col0, col1


@kernel
def _row(source: NDArray, table: NDArray, target: NDArray, fresh: bool) -> None:  # pragma: no cover - compiled
    if fresh:
        for x in range(target.size):
            target[x] = table[source[x]]
    else:
        for x in range(target.size):
            if target[x] == 0:
                target[x] = table[source[x]]


@kernel
def _subtract(number: np.uint16, minus: np.uint16, nodata: np.uint16) -> np.uint16:  # pragma: no cover - compiled
    value = np.uint16(number - minus) if number > minus else _FLOOR
    value = min(value, _CEILING)
    return value if number != nodata else _NOTHING


@kernel
def _row_minus(
    source: NDArray, minus: np.uint16, nodata: np.uint16, target: NDArray, fresh: bool
) -> None:  # pragma: no cover - compiled
    if fresh:
        for x in range(target.size):
            target[x] = _subtract(source[x], minus, nodata)
    else:
        for x in range(target.size):
            before, value = target[x], _subtract(source[x], minus, nodata)
            target[x] = before if before != 0 else value


@kernel
def _fill(
    source: NDArray, across: int, table: NDArray, target: NDArray, along: int, ny: int, nx: int, fresh: bool
) -> None:  # pragma: no cover - compiled
    for y in range(ny):
        _row(source[y * across : y * across + nx], table, target[y * along : y * along + nx], fresh)


@kernel
def _fill_minus(
    source: NDArray,
    across: int,
    minus: np.uint16,
    nodata: np.uint16,
    target: NDArray,
    along: int,
    ny: int,
    nx: int,
    fresh: bool,
) -> None:  # pragma: no cover - compiled
    for y in range(ny):
        _row_minus(source[y * across : y * across + nx], minus, nodata, target[y * along : y * along + nx], fresh)


@kernel
def _gather(
    source: NDArray,
    table: NDArray,
    arithmetic: bool,
    minus: np.uint16,
    nodata: np.uint16,
    first: NDArray,
    start: NDArray,
    repeat: int,
    target: NDArray,
    fresh: bool,
) -> None:  # pragma: no cover - compiled
    longest = 0
    for n in range(start.size):
        longest = max(longest, first[n + 1] - first[n])
    scratch, wide = np.empty(longest // repeat + 1, target.dtype), np.empty(longest, target.dtype)
    for n in range(start.size):
        a, b, s = first[n], first[n + 1], start[n]
        if s < 0:
            if fresh:
                target[a:b] = 0
            continue
        if b - a < _SHORT:
            for x in range(a, b):
                if fresh or target[x] == 0:
                    target[x] = table[source[s + (x - a) // repeat]]
            continue
        pixels, piece = source[s : s + (b - a - 1) // repeat + 1], target[a:b]
        values = piece if repeat == 1 else scratch[: pixels.size]
        if arithmetic:
            _row_minus(pixels, minus, nodata, values, fresh or repeat > 1)
        else:
            _row(pixels, table, values, fresh or repeat > 1)
        if repeat > 1 and fresh:
            _spread(values, repeat, piece)
        elif repeat > 1:
            _spread(values, repeat, wide[: b - a])
            for x in range(piece.size):
                before, value = piece[x], wide[x]
                piece[x] = before if before != 0 else value


@kernel
def _spread(values: NDArray, repeat: int, target: NDArray) -> None:  # pragma: no cover - compiled
    """``target[x] = values[x // repeat]``."""
    whole = target.size // repeat
    if repeat == 2:
        for k in range(whole):
            target[2 * k] = values[k]
            target[2 * k + 1] = values[k]
    else:
        for k in range(whole):
            for x in range(k * repeat, (k + 1) * repeat):
                target[x] = values[k]
    for x in range(whole * repeat, target.size):
        target[x] = values[whole]
