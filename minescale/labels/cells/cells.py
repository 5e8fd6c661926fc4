"""Polygons to cells: the positive ones, a near negative for each, and random negatives of the whole area."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import geopandas as gpd
import numpy as np

from minescale.errors import UsageError
from minescale.labels.cells.area import Area
from minescale.labels.cells.celltable import POSITIVE, cell_table
from minescale.labels.cells.coverage import overlaps, polygon_parts
from minescale.labels.cells.grid import CellGrid
from minescale.labels.cells.pairing import REACH_M, Pairs, pair
from minescale.labels.cells.stratified import Allocation, RandomCells, Strata, draw_cells
from minescale.labels.shapes.polygons import Polygons

MIN_OVERLAP = 0.001
"""Share of a cell under polygons from which it is a positive one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CellReport:
    """What became of polygons and cells."""

    side_m: float
    zoom: int
    polygons: int
    positive: int
    dropped: int
    """Cells with an overlap below the cut: neither positive nor negative."""
    paired: int
    unpaired: int
    """Positives without a free negative within reach."""
    contested: int
    """Positives whose closest negative was another one's already, so that they have a farther one."""
    pair_distance_m: tuple[float, float] | None
    """Median and largest distance between the middles of a pair."""
    random: int
    eligible: dict[str, int]
    """Cells without overlap that the random ones were drawn from, by stratum."""
    drawn: dict[str, int]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def make_cells(
    polygons: Polygons,
    grid: CellGrid,
    *,
    area: Any = None,
    whole: bool = False,
    min_overlap: float = MIN_OVERLAP,
    random: int = 0,
    strata: Strata | None = None,
    allocation: Allocation = "proportional",
    reach_m: float = REACH_M,
    seed: int = 0,
) -> tuple[gpd.GeoDataFrame, CellReport]:
    """Positive and negative cells of one size.

    Parameters
    ----------
    area : geometry in EPSG:4326 that cells have to reach into; default: the globe.
    whole : cells have to lie wholly within the area. Polygons that were drawn on some images only say nothing about
        ground beyond them: then the images' footprints are the area, and cells have to be whole.
    min_overlap : share of a cell from which it is positive, 1e-6 to 1.
    random : number of random negatives; they need an ``area``.
    strata, allocation : see :func:`~minescale.labels.cells.stratified.draw_cells`.
    reach_m : how far a paired negative may be from its positive.

    Returns
    -------
    table : EPSG:4326, one row per cell, columns as in ``docs/datasets/cells.md``; positives first, then paired, then
        random negatives, each from south to north. All positives have an ``inclusion_probability`` of 1, so the rows
        that have one are a probability sample of the area, but for the dropped cells.
    report

    Raises
    ------
    UsageError
        where no cell is positive, the area has no ground, or the values contradict each other.
    """
    if not 1e-6 <= min_overlap <= 1:
        raise UsageError("smallest overlap is out of range", got=min_overlap, expected="0.000001 to 1")
    where = None if area is None else Area(area, whole=whole)
    if random and where is None:
        raise UsageError(
            "random negatives need an area to be drawn from", got=f"random={random}", fix="area, --roi, --bbox"
        )
    shapes = polygon_parts(polygons.frame.geometry.to_numpy())
    if where is not None:
        shapes = shapes[where.near(shapes, grid)]
    keys, shares = overlaps(grid, shapes)
    if where is not None:
        inside = where.reaches(grid, *grid.of_keys(keys))
        keys, shares = keys[inside], shares[inside]
    chosen = shares >= min_overlap
    if not chosen.any():
        raise UsageError(
            f"no cell of {grid.side_m:g} m is positive",
            got=f"{len(polygons)} polygons of {polygons.source}, {len(keys)} cells with an overlap, "
            f"the largest {shares.max(initial=0):.2g}",
            expected=f"an overlap of at least {min_overlap:g}" + ("" if where is None else " within the area"),
            fix="an area that holds polygons, smaller cells, or a smaller least overlap",
        )
    pairs = pair(
        grid,
        keys[chosen],
        keys,
        allowed=None if where is None else lambda rows, cols: where.reaches(grid, rows, cols),
        reach_m=reach_m,
    )
    drawn = (
        None
        if where is None or not random
        else draw_cells(grid, where, random, taken=keys, seed=seed, strata=strata, allocation=allocation)
    )
    table = cell_table(polygons, grid, keys[chosen], shares[chosen], pairs, drawn, strata)
    return table, _report(polygons, grid, len(keys), table, pairs, drawn)


def delta_grid(area: Any, side_m: float, polygons: Polygons | None = None) -> gpd.GeoDataFrame:
    """Cells of any side over a country: all that share ground with it, or those that polygons reach into as well.

    The cells are those of the global grid of that size, so no edge of the country is lost, and two countries share the
    cells on their border.

    Returns
    -------
    EPSG:4326, columns ``id``, ``lon``, ``lat``, ``side_m``, and with ``polygons`` ``overlap``, from south to north.

    Raises
    ------
    UsageError
        where the area has no ground, or no cell is left.
    """
    grid, where = CellGrid(side_m), Area(area)
    if polygons is None:
        keys = np.concatenate([grid.keys(rows, cols) for rows, cols in where.cells(grid)])
        columns = {}
    else:
        keys, shares = overlaps(grid, polygons.frame.geometry.to_numpy())
        inside = where.reaches(grid, *grid.of_keys(keys))
        keys, columns = keys[inside], {"overlap": shares[inside]}
        if not len(keys):
            raise UsageError(
                "no cell is left", got=f"{len(polygons)} polygons of {polygons.source}", expected="one in the area"
            )
    at = grid.of_keys(keys)
    lon, lat = grid.centres(*at)
    return gpd.GeoDataFrame(
        {"id": grid.ids(*at), "lon": lon, "lat": lat, "side_m": grid.side_m, **columns},
        geometry=grid.boxes(*at),
        crs=4326,
    )


def _report(
    polygons: Polygons, grid: CellGrid, touched: int, table: gpd.GeoDataFrame, pairs: Pairs, drawn: RandomCells | None
) -> CellReport:
    roles = table["role"].value_counts()
    apart = pairs.distances_m[~np.isnan(pairs.distances_m)]
    return CellReport(
        side_m=grid.side_m,
        zoom=grid.zoom,
        polygons=len(polygons),
        positive=int(roles[POSITIVE]),
        dropped=touched - int(roles[POSITIVE]),
        paired=len(apart),
        unpaired=pairs.unpaired,
        contested=pairs.contested,
        pair_distance_m=(float(np.median(apart)), float(apart.max())) if len(apart) else None,
        random=int((table["inclusion_probability"].notna() & (table["class"] == 0)).sum()),
        eligible=drawn.eligible if drawn is not None else {},
        drawn=drawn.drawn if drawn is not None else {},
    )
