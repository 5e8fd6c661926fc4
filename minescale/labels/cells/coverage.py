"""Which cells shapes reach into, and how much of each cell they cover.

Shapes are cut along rows first. What a row's strip leaves of a polygon is connected, so it reaches into every column
between its westernmost and easternmost point: cells are found without asking one by one. To touch is not to reach
into: an overlap has an area.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from minescale.labels.cells.grid import CellGrid, Ints, ranges
from minescale.labels.shapes.antimeridian import crossing, cut
from minescale.labels.shapes.equalarea import areas_m2

BATCH = 4096
"""Pieces that are cut at a time, which bounds memory."""
_ROWS = 32
"""Rows of which cells are listed at a time."""
DECIMALS = 9
"""Digits to which overlap is rounded (0.03 m² of a cell of 5500 m), so that no cut hangs on the last bit."""


def polygon_parts(shapes: Any) -> NDArray[np.object_]:
    """Polygons of a geometry or an array of them, one by one, cut at the antimeridian where they cross it."""
    parts = shapely.get_parts(np.atleast_1d(np.asarray(shapes, object)))
    parts = parts[(shapely.get_type_id(parts) == shapely.GeometryType.POLYGON) & ~shapely.is_empty(parts)]
    across = crossing(parts)
    if not across.any():
        return parts
    pieces = [cut(shape) for shape in parts[across]]
    return np.concatenate([parts[~across], polygon_parts([piece for piece in pieces if piece is not None])])


def cells_over(grid: CellGrid, shape: Any) -> Iterator[tuple[Ints, Ints]]:
    """Every cell that a shape, or an array of shapes, reaches into: once each, ordered by row and column.

    Memory does not grow with the number of cells: they come a few rows at a time.

    Yields
    ------
    rows, cols
    """
    parts = polygon_parts(shape)
    if not len(parts):
        return
    bounds = shapely.bounds(parts)
    first, last = grid.row_span(bounds[:, 1], bounds[:, 3])
    for start in range(int(first.min()), int(last.max()) + 1, _ROWS):
        stop = min(start + _ROWS, int(last.max()) + 1)
        here = parts[(first < stop) & (last >= start)]
        keys = [
            grid.keys(rows, cols)
            for strip_rows, pieces in _strips(grid, here, (start, stop - 1))
            for rows, cols, _ in [_spread(grid, strip_rows, pieces)]
        ]
        if keys:
            yield grid.of_keys(np.unique(np.concatenate(keys)))


def overlaps(grid: CellGrid, shapes: Any) -> tuple[Ints, NDArray[np.float64]]:
    """Share of each cell that the union of shapes covers, by equal area.

    Parameters
    ----------
    shapes : array of polygons in EPSG:4326; ground under several counts once.

    Returns
    -------
    keys : :meth:`CellGrid.keys` of the cells reached into, ascending.
    shares : float64 in (0, 1], rounded to :data:`DECIMALS`; what rounds to 0 is left out.
    """
    keys: list[Ints] = []
    pieces: list[NDArray[np.object_]] = []
    for strip_rows, strip_pieces in _strips(grid, polygon_parts(shapes)):
        rows, cols, of = _spread(grid, strip_rows, strip_pieces)
        single = np.bincount(of, minlength=len(strip_pieces))[of] == 1
        cut = strip_pieces[of]
        for part in range(0, len(cut), BATCH):
            here = slice(part, part + BATCH)
            several = ~single[here]
            boxes = grid.boxes(rows[here][several], cols[here][several])
            cut[here][several] = shapely.intersection(cut[here][several], boxes)
        keys.append(grid.keys(rows, cols))
        pieces.append(cut)
    if not keys:
        return np.zeros(0, np.int64), np.zeros(0)
    return _shares(grid, np.concatenate(keys), np.concatenate(pieces))


def _shares(grid: CellGrid, keys: Ints, pieces: NDArray[np.object_]) -> tuple[Ints, NDArray[np.float64]]:
    order = np.argsort(keys, kind="stable")
    pieces = pieces[order]
    cells, starts, counts = np.unique(keys[order], return_index=True, return_counts=True)
    merged = pieces[starts]
    for i in np.flatnonzero(counts > 1):
        merged[i] = shapely.union_all(pieces[starts[i] : starts[i] + counts[i]])
    covered = areas_m2(merged) / areas_m2(grid.boxes(*grid.of_keys(cells)))
    shares = np.round(np.minimum(covered, 1.0), DECIMALS).astype(np.float64)
    return cells[shares > 0], shares[shares > 0]


def _strips(
    grid: CellGrid, parts: NDArray[np.object_], within: tuple[int, int] | None = None
) -> Iterator[tuple[Ints, NDArray[np.object_]]]:
    """Polygons cut along the grid's rows (those ``within`` a first and last one): rows, and a connected piece each."""
    if not len(parts):
        return
    bounds = shapely.bounds(parts)
    first, last = grid.row_span(bounds[:, 1], bounds[:, 3])
    whole = first == last
    if within is not None:
        first, last = np.maximum(first, within[0]), np.minimum(last, within[1])
    counts = np.maximum(last - first + 1, 0)
    for start, stop in _batches(counts):
        owner = np.repeat(np.arange(start, stop), counts[start:stop])
        rows = first[owner] + ranges(counts[start:stop])
        for at in range(0, len(rows), BATCH):
            here, of = rows[at : at + BATCH], owner[at : at + BATCH]
            _, south, _, north = grid.bounds(here, np.zeros_like(here))
            pieces, cut = parts[of], ~whole[of]
            pieces[cut] = shapely.intersection(pieces[cut], shapely.box(-180.0, south[cut], 180.0, north[cut]))
            found, whose = shapely.get_parts(pieces, return_index=True)
            solid = shapely.get_type_id(found) == shapely.GeometryType.POLYGON
            yield here[whose[solid]], found[solid]


def _spread(grid: CellGrid, rows: Ints, pieces: NDArray[np.object_]) -> tuple[Ints, Ints, NDArray[np.intp]]:
    """Cells that each piece of a row reaches into: rows, columns, and which piece."""
    bounds = shapely.bounds(pieces)
    first, last = grid.col_span(rows, bounds[:, 0], bounds[:, 2])
    counts = np.maximum(last - first + 1, 0)
    of = np.repeat(np.arange(len(pieces)), counts)
    return rows[of], first[of] + ranges(counts), of


def _batches(counts: Ints) -> Iterator[tuple[int, int]]:
    """Runs of consecutive items whose counts add up to about :data:`BATCH`; a larger item is a run of its own."""
    start, total = 0, 0
    for i, n in enumerate(counts.tolist()):
        if total and total + n > BATCH:
            yield start, i
            start, total = i, 0
        total += n
    if total:
        yield start, len(counts)
