"""Cells as a table: where each one lies, what it is, which other it belongs to, how likely it was to be taken."""

from __future__ import annotations

import geopandas as gpd
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from minescale.labels.cells.cellnames import encode, quadkey
from minescale.labels.cells.grid import CellGrid, Ints
from minescale.labels.cells.pairing import Pairs
from minescale.labels.cells.stratified import RandomCells, Strata
from minescale.labels.shapes.polygons import Polygons

POSITIVE, PAIRED, RANDOM = "positive", "paired", "random"
"""Roles of a cell. A paired cell that the random draw hits as well stays ``paired`` and has its probability."""

COLUMNS = (
    "id", "name", "quadkey", "site", "source", "role", "class", "pair_id", "pair_distance_m", "lon", "lat", "side_m",
    "zoom", "west", "south", "east", "north", "overlap", "inclusion_probability", "stratum", "label_epoch", "geometry",
)  # fmt: skip
"""In this order; ``stratum`` only where there are strata."""


def cell_table(
    polygons: Polygons,
    grid: CellGrid,
    positives: Ints,
    shares: NDArray[np.float64],
    pairs: Pairs,
    drawn: RandomCells | None,
    strata: Strata | None,
) -> gpd.GeoDataFrame:
    """One row per cell with :data:`COLUMNS`: positives, then paired, then random negatives, each from south to north.

    Parameters
    ----------
    positives, shares : keys of the positive cells, ascending, and the share of each under polygons.
    pairs : their negatives, in the same order.
    """
    site_of = Sites(grid, positives)
    found = ~np.isnan(pairs.distances_m)
    ids = np.array(grid.ids(*grid.of_keys(positives)), object)
    positive = pd.DataFrame(
        {
            "key": positives,
            "role": POSITIVE,
            "class": 1,
            "overlap": shares,
            "site": site_of(positives),
            "pair_id": pd.Series(ids).where(found, None),
            "pair_distance_m": pairs.distances_m,
            "inclusion_probability": 1.0,
        }
    )
    paired = pd.DataFrame(
        {
            "key": pairs.negatives[found],
            "role": PAIRED,
            "class": 0,
            "overlap": 0.0,
            # A pair stays together, wherever its negative was found.
            "site": positive["site"].to_numpy()[found],
            "pair_id": ids[found],
            "pair_distance_m": pairs.distances_m[found],
            "inclusion_probability": np.nan,
        }
    ).sort_values("key")
    rows = [positive, paired]
    if drawn is not None:
        chance = drawn.table.set_index("key")["inclusion_probability"]
        paired["inclusion_probability"] = paired["key"].map(chance)
        fresh = drawn.table[~drawn.table["key"].isin(paired["key"])].sort_values("key")
        rows.append(
            pd.DataFrame(
                {
                    "key": fresh["key"],
                    "role": RANDOM,
                    "class": 0,
                    "overlap": 0.0,
                    "site": site_of(fresh["key"].to_numpy()),
                    "pair_id": None,
                    "pair_distance_m": np.nan,
                    "inclusion_probability": fresh["inclusion_probability"],
                }
            )
        )
    return _located(polygons, grid, pd.concat(rows, ignore_index=True), strata)


def _located(polygons: Polygons, grid: CellGrid, rows: pd.DataFrame, strata: Strata | None) -> gpd.GeoDataFrame:
    at = grid.of_keys(rows["key"].to_numpy())
    west, south, east, north = grid.bounds(*at)
    lon, lat = grid.centres(*at)
    overlap = [share or None for share in rows["overlap"].tolist()]
    places = list(zip(lat.tolist(), lon.tolist(), strict=True))
    rows = rows.assign(
        id=grid.ids(*at),
        name=[encode(y, x, grid.zoom, share) for (y, x), share in zip(places, overlap, strict=True)],
        quadkey=[quadkey(y, x, grid.zoom) for y, x in places],
        source=polygons.source,
        lon=lon,
        lat=lat,
        side_m=grid.side_m,
        zoom=grid.zoom,
        west=west,
        south=south,
        east=east,
        north=north,
        label_epoch=pd.array([polygons.epoch] * len(rows), "Int64"),
    )
    if strata is not None:
        rows["stratum"] = strata.of(lon, lat)
    frame = gpd.GeoDataFrame(rows, geometry=grid.boxes(*at), crs=4326)
    return frame[[name for name in COLUMNS if name in frame]]


class Sites:
    """Names of sites: root cells (5500 m for zooms 14 to 16) with positives, those that touch being one site.

    A site is called after its first root cell, and so alike at every zoom. Cells elsewhere are a site by root cell.
    """

    def __init__(self, grid: CellGrid, positives: Ints) -> None:
        self.grid = grid
        self.root, rows, cols = grid.root(*grid.of_keys(positives))
        self.keys = np.unique(self.root.keys(rows, cols))
        place = {key: i for i, key in enumerate(self.keys.tolist())}
        pairs = [
            (i, place[other])
            for key, i in place.items()
            for other in self.root.keys(
                *np.array(self.root.neighbours(*(int(v) for v in self.root.of_keys(key)))).T
            ).tolist()
            if other in place
        ]
        left, right = np.array(pairs, np.int64).reshape(-1, 2).T
        graph = coo_array((np.ones(len(left), np.int8), (left, right)), shape=(len(place), len(place)))
        _, label = connected_components(graph, directed=False)
        first = np.full(label.max(initial=-1) + 1, len(place))
        np.minimum.at(first, label, np.arange(len(place)))
        self.leader = self.keys[first[label]]

    def __call__(self, keys: Ints) -> list[str]:
        """Site of each cell."""
        _, rows, cols = self.grid.root(*self.grid.of_keys(keys))
        own = self.root.keys(rows, cols)
        at = np.minimum(np.searchsorted(self.keys, own), len(self.keys) - 1)
        return self.root.ids(*self.root.of_keys(np.where(self.keys[at] == own, self.leader[at], own)))
