"""Maps of a set: the cells of its area, and those that hold mining."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from minescale.errors import UsageError
from minescale.labels.auditing.nearness import without_place
from minescale.labels.cells.coverage import cells_over
from minescale.labels.cells.grid import CellGrid
from minescale.labels.pictures.drawing import INK, MINE, MUTED, PALE, figure
from minescale.labels.sets.dataset import Dataset
from minescale.labels.shapes.polygons import Polygons

MOST_CELLS = 4000
"""More cells than this are no longer seen one by one."""
_FINEST_M, _LARGEST_M = 100.0, 500_000.0
_DEGREE_M = 111_195.0


class Places:
    """What the maps show, in longitude and latitude."""

    def __init__(
        self,
        dataset: Dataset,
        mining: NDArray[np.bool_],
        boundary: Polygons | None,
        polygons: Polygons | None,
        cell_m: float | None,
    ) -> None:
        self.name = dataset.name
        known = ~without_place(dataset)
        self.points = (
            dataset.samples[["lon", "lat"]].to_numpy(float)[known] if known.any() else np.empty((0, 2), np.float64)
        )
        self.mining = mining[known]
        self.polygons = np.empty(0, object) if polygons is None else polygons.frame.geometry.to_numpy()
        self.boundary = None if boundary is None else shapely.union_all(boundary.frame.geometry.to_numpy())
        self.cell_m = cell_m
        self._edge_m = _edge(dataset)

    @property
    def area(self) -> Any:
        """The boundary, or the box round samples and polygons with a margin.

        Raises
        ------
        UsageError
            where nothing has a place.
        """
        if self.boundary is not None:
            return self.boundary
        bounds = [*np.column_stack([self.points, self.points]), *shapely.bounds(self.polygons)]
        if not bounds:
            raise UsageError(f"no sample of {self.name} has coordinates", fix="a boundary, or polygons")
        low, high = np.min(bounds, axis=0)[:2], np.max(bounds, axis=0)[2:]
        margin = max(0.05 * float((high - low).max()), 0.6 * (self._edge_m or 1000) / _DEGREE_M)
        return shapely.box(*(low - margin), *(high + margin))

    @property
    def footprints(self) -> NDArray[np.object_]:
        """Mines: the polygons, or the places of samples that hold mining."""
        if len(self.polygons):
            return self.polygons
        return shapely.points(self.points[self.mining])

    def grid(self) -> CellGrid:
        """Cells of the asked or the samples' size; doubled until there are few enough to be seen."""
        west, south, east, north = self.area.bounds
        across = (east - west) * math.cos(math.radians((south + north) / 2)) * _DEGREE_M
        ground = across * (north - south) * _DEGREE_M
        side = self.cell_m or max(self._edge_m or 5500.0, _FINEST_M)
        while self.cell_m is None and ground / side**2 > MOST_CELLS and side < _LARGEST_M / 2:
            side *= 2
        return CellGrid(side)


def draw_grid(path: Path, places: Places) -> None:
    """The cells of the whole area, with the footprints of mining in red."""
    grid = places.grid()
    boxes = _boxes(grid, places.area)
    _map(path, places, boxes, f"Cells of {grid.side_m:,.0f} m over the area of {places.name}: {len(boxes):,}")


def draw_cells(path: Path, places: Places) -> None:
    """Only the cells that meet a footprint."""
    grid = places.grid()
    prints = places.footprints
    if not len(prints):
        raise UsageError(f"no sample of {places.name} holds mining, and no polygons were given", fix="polygons")
    if shapely.get_type_id(prints[0]) == shapely.GeometryType.POINT:
        rows, cols = grid.locate(shapely.get_x(prints), shapely.get_y(prints))
        keys = np.unique(grid.keys(rows, cols))
        boxes = grid.boxes(*grid.of_keys(keys))
    else:
        boxes = _boxes(grid, prints)
    _map(path, places, boxes, f"Cells of {grid.side_m:,.0f} m that hold mining of {places.name}: {len(boxes):,}")


def _boxes(grid: CellGrid, shapes: Any) -> NDArray[np.object_]:
    found = [grid.boxes(rows, cols) for rows, cols in cells_over(grid, shapes)]
    return np.concatenate(found) if found else np.empty(0, object)


def _map(path: Path, places: Places, boxes: NDArray[np.object_], title: str) -> None:
    from matplotlib.collections import LineCollection, PolyCollection

    west, south, east, north = _seen(places, boxes)
    stretch = 1 / max(math.cos(math.radians((south + north) / 2)), 0.1)
    tall = (north - south) * stretch / (east - west)
    width, height = (8.0, 8.0 * tall) if tall <= 1 else (7.0 / tall, 7.0)
    with figure(path, max(width, 4.5) + 0.6, max(height, 2.5) + 1.0, title) as made:
        axes = made.subplots()
        corners = [shapely.get_coordinates(box) for box in boxes]
        axes.add_collection(PolyCollection(corners, facecolor="white", edgecolor=MUTED, linewidth=0.35))
        if places.boundary is not None:
            rings = [shapely.get_coordinates(r) for p in shapely.get_parts(places.boundary) for r in [p.exterior]]
            axes.add_collection(LineCollection(rings, colors=INK, linewidths=1.0))
        if len(places.polygons):
            shells = [shapely.get_coordinates(p.exterior) for p in shapely.get_parts(places.polygons)]
            axes.add_collection(PolyCollection(shells, facecolor=MINE, edgecolor=MINE, linewidth=1.0, alpha=0.8))
        for chosen, colour, said in ((~places.mining, "#3b528b", "without"), (places.mining, MINE, "with")):
            if chosen.any():
                x, y = places.points[chosen].T
                axes.plot(x, y, ".", color=colour, markersize=3.5, label=f"{len(x):,} samples {said} mining")
        axes.set_xlim(west, east)
        axes.set_ylim(south, north)
        axes.set_aspect(stretch)
        axes.set_facecolor(PALE)
        axes.set_xlabel("longitude")
        axes.set_ylabel("latitude")
        if len(places.points):
            axes.legend(loc="upper left", bbox_to_anchor=(0, -0.07), frameon=False, fontsize=8, ncols=2)


def _seen(places: Places, boxes: NDArray[np.object_]) -> NDArray[np.float64]:
    """West, south, east, north of the area and its cells, with a little air."""
    bounds = np.array([places.area.bounds, *shapely.bounds(boxes)])
    low, high = bounds[:, :2].min(axis=0), bounds[:, 2:].max(axis=0)
    air = 0.02 * float((high - low).max())
    return np.concatenate([low - air, high + air])


def _edge(dataset: Dataset) -> float | None:
    if dataset.resolution_m is None:
        return None
    return float(dataset.resolution_m) * max(dataset.reader.image(0).shape[1:])
