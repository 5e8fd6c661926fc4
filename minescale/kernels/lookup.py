"""Nearest-neighbour warps as look-ups: where each target pixel comes from is computed once and used for many images.

Scenes of one granule share their grid, so one set of positions serves every date and band. Two grids are seldom
turned by much: most target pixels come from runs of neighbours in an image row, which are copied as vectors.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from minescale.kernels._jit import kernel


class Runs(NamedTuple):
    """Where target pixels come from: runs of them that lie side by side in one row of an image."""

    first: NDArray[np.int32]
    """(n,) flat target position of each run."""
    length: NDArray[np.int32]
    """(n,) target pixels of each run."""
    row: NDArray[np.int32]
    """(n,) image row."""
    col: NDArray[np.int32]
    """(n,) image column of each run's first pixel; the others come after it."""
    repeat: int
    """Pixels of a run that come from one image pixel, before the next one's: 1, or 2 where 20 m go onto 10 m."""

    def at(self, which: slice | NDArray[np.int64]) -> Runs:
        return Runs(self.first[which], self.length[which], self.row[which], self.col[which], self.repeat)


class Positions(NamedTuple):
    """Where all target pixels come from, block by block of the image."""

    runs: Runs
    """Sorted by block; a run stays within one."""
    blocks: dict[tuple[int, int], slice]
    """Runs of each (row, column) of blocks that is used."""
    reach: dict[tuple[int, int], tuple[int, int, int, int]]
    """Rows and columns (row0, row1, col0, col1) of the target that hold all pixels of each of these blocks."""
    nowhere: tuple[NDArray[np.int32], NDArray[np.int32]]
    """(first, length) of the target's runs without an image."""

    def of_block(self, block: tuple[int, int]) -> Runs:
        return self.runs.at(self.blocks.get(block, slice(0, 0)))


def nearest_positions(
    net_cols: NDArray[np.float64],
    net_rows: NDArray[np.float64],
    step: int,
    shape: tuple[int, int],
    image: tuple[int, int],
    block: tuple[int, int],
) -> Positions:
    """Where the image pixels under the centres of all target pixels lie.

    Parameters
    ----------
    net_cols, net_rows : float64 (ny, nx), image coordinates (pixel edges whole) of the target pixel centres
        ``0, step, 2 * step, ...`` along both axes, reaching at least to the last pixel; NaN = no position.
    step : target pixels between net points, a power of two; positions between them are interpolated linearly.
    shape : (y, x) of the target.
    image : (y, x) of the image.
    block : (y, x) of the image's blocks.
    """
    across = np.nanmedian(np.abs(np.diff(net_cols, axis=1))) if np.isfinite(net_cols).any() else np.nan
    repeat = max(round(step / float(across)), 1) if across > 0 else 1
    first, start = _nearest_runs(net_cols, net_rows, step, image[0], image[1], shape[0], shape[1], repeat)
    length, somewhere = np.diff(first), start >= 0
    row, col = np.divmod(start[somewhere], np.int32(image[1]))
    runs = _cut(Runs(first[:-1][somewhere], length[somewhere], row, col, repeat), block[1])
    across_blocks = -(-image[1] // block[1])
    number = runs.row // block[0] * across_blocks + runs.col // block[1]
    order = np.argsort(number, kind="stable")
    used, begins = np.unique(number[order], return_index=True)
    bounds = np.append(begins, len(order)).tolist()
    parts = {divmod(int(n), across_blocks): slice(i, j) for n, i, j in zip(used, bounds, bounds[1:], strict=False)}
    runs = runs.at(order)
    return Positions(runs, parts, _reach(runs, begins, parts, shape[1]), (first[:-1][~somewhere], length[~somewhere]))


def _reach(
    runs: Runs, begins: NDArray[np.intp], parts: dict[tuple[int, int], slice], width: int
) -> dict[tuple[int, int], tuple[int, int, int, int]]:
    if not len(begins):
        return {}
    row, col = np.divmod(runs.first, np.int32(width))  # a run stays within one row of the target
    edges = (
        np.minimum.reduceat(row, begins),
        np.maximum.reduceat(row, begins) + 1,
        np.minimum.reduceat(col, begins),
        np.maximum.reduceat(col + runs.length, begins),
    )
    return dict(zip(parts, zip(*(edge.tolist() for edge in edges), strict=True), strict=True))


def _cut(runs: Runs, width: int) -> Runs:
    """Runs that end where a block of ``width`` columns does."""
    last = runs.col + (runs.length - 1) // runs.repeat
    pieces = last // width - runs.col // width + 1
    if (pieces == 1).all():
        return runs
    which = np.repeat(np.arange(len(pieces)), pieces)
    number = np.arange(len(which)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    own = runs.col[which]
    begin = np.where(number == 0, own, (own // width + number) * width)
    skipped = (begin - own) * runs.repeat
    until = ((own // width + number + 1) * width - own) * runs.repeat
    length = np.minimum(until, runs.length[which]) - skipped
    first, begin = runs.first[which] + skipped, begin.astype(np.int32)
    return Runs(first.astype(np.int32), length.astype(np.int32), runs.row[which], begin, runs.repeat)


def needed_pixels(
    net_cols: NDArray[np.float64],
    net_rows: NDArray[np.float64],
    step: int,
    shape: tuple[int, int],
    image: tuple[int, int],
) -> tuple[int, int, int, int]:
    """(row0, row1, col0, col1) of the image pixels that :func:`nearest_positions` refers to; row1 = 0 without any.

    Arguments as there.
    """
    row0, row1, col0, col1 = _needed_pixels(net_cols, net_rows, step, shape[0], shape[1], image[0], image[1])
    return int(row0), int(row1), int(col0), int(col1)


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
