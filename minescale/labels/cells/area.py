"""The area that a dataset is made for: which cells share ground with it, which shapes are near enough to matter."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from minescale.errors import UsageError
from minescale.labels.cells.coverage import cells_over, polygon_parts
from minescale.labels.cells.grid import CellGrid, Ints


class Area:
    """Ground that is looked at: geometries in EPSG:4326 as one, asked about quickly.

    Parameters
    ----------
    whole : count only cells that lie wholly within; default: those that share ground with it, not an edge alone.
    """

    def __init__(self, shape: Any, *, whole: bool = False) -> None:
        self.whole = whole
        self.shape = shapely.union_all(polygon_parts(shape))
        if self.shape.is_empty:
            raise UsageError("area is empty", expected="polygons with an area, or a bbox")
        shapely.prepare(self.shape)

    def reaches(self, grid: CellGrid, rows: Ints, cols: Ints) -> NDArray[np.bool_]:
        """Which cells belong to the area."""
        if not len(rows):
            return np.zeros(0, np.bool_)
        boxes = grid.boxes(rows, cols)
        if self.whole:
            return np.asarray(shapely.covers(self.shape, boxes), np.bool_)
        reached: NDArray[np.bool_] = shapely.intersects(self.shape, boxes)
        reached[reached] = ~shapely.touches(self.shape, boxes[reached])
        return reached

    def cells(self, grid: CellGrid) -> Iterator[tuple[Ints, Ints]]:
        """All cells that belong to the area, rows and columns, a few rows at a time."""
        for rows, cols in cells_over(grid, self.shape):
            own = self.reaches(grid, rows, cols) if self.whole else np.ones(len(rows), np.bool_)
            yield rows[own], cols[own]

    def near(self, shapes: NDArray[np.object_], grid: CellGrid) -> NDArray[np.bool_]:
        """Which shapes may reach into a cell that shares ground with the area."""
        west, south, east, north = shapely.bounds(self.shape)
        rows = np.clip(grid.row_span(south, north), -grid.rows_to_pole, grid.rows_to_pole - 1)
        low, high = float(grid.bounds(rows[0], 0)[1]), float(grid.bounds(rows[1], 0)[3])
        widest = 360.0 / float(min(grid.columns(rows[0]), grid.columns(rows[1])))
        bounds = shapely.bounds(shapes)
        return (
            (bounds[:, 0] <= east + widest)
            & (bounds[:, 2] >= west - widest)
            & (bounds[:, 1] <= high)
            & (bounds[:, 3] >= low)
        )
