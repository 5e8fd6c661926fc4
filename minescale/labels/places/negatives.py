"""Places without a grid: points as a table of samples, negatives drawn from protected areas, named kinds or a box."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import shapely
from numpy.typing import ArrayLike

from minescale.errors import UsageError
from minescale.labels.cells.ancillary import containing
from minescale.labels.cells.coverage import polygon_parts
from minescale.labels.cells.grid import CellGrid
from minescale.labels.cells.sampling import points_inside
from minescale.labels.shapes.polygons import Polygons
from minescale.types import BBox

POINT_COLUMNS = ("id", "site", "source", "class", "kind", "lon", "lat", "side_m")
SIDE_M = 5000.0
"""Edge of the window round a point, where nobody asks for another."""
SITE_SIDE_M = 5500.0
"""Points in one cell of this size are one site."""
FOREST_SAMPLES = 800


def point_table(
    lon: ArrayLike, lat: ArrayLike, *, prefix: str, source: str, label: int, kind: str | None, side_m: float
) -> pd.DataFrame:
    """Points as samples with :data:`POINT_COLUMNS`; ``id`` is the prefix and a number, ``site`` a cell of the grid."""
    x, y = np.atleast_1d(np.asarray(lon, np.float64)), np.atleast_1d(np.asarray(lat, np.float64))
    grid = CellGrid(SITE_SIDE_M)
    table = pd.DataFrame(
        {
            "id": [f"{prefix}-{i:05d}" for i in range(len(x))],
            "site": grid.ids(*grid.locate(x, y)),
            "source": source,
            "class": label,
            "kind": kind,
            "lon": x,
            "lat": y,
            "side_m": float(side_m),
        }
    )
    return table[list(POINT_COLUMNS)]


def generate_forest_samples(
    protected: Polygons,
    n: int = FOREST_SAMPLES,
    seed: int = 0,
    *,
    side_m: float = SIDE_M,
    avoid: Polygons | None = None,
    within: BBox | None = None,
) -> pd.DataFrame:
    """Negatives from protected areas: ``n`` points, uniform by area over their union, the same for a seed.

    Parameters
    ----------
    side_m : edge of the window round each point, in metres.
    avoid : mining polygons that no window may reach into.
    within : part of the protected areas to take.

    Returns
    -------
    Columns :data:`POINT_COLUMNS` with ``kind`` forest, and ``area_name``: the name of the protected area, or null.

    Raises
    ------
    UsageError
        where no protected area lies within the box, or none has room.
    """
    shapes = protected.frame.geometry.to_numpy()
    lon, lat = points_inside(
        _clipped(shapes, within), n, np.random.default_rng(seed), avoid=_shapes(avoid), clearance_m=side_m / 2
    )
    table = point_table(
        lon, lat, prefix=f"forest-{seed}", source=protected.source, label=0, kind="forest", side_m=side_m
    )
    names = protected.frame["name"].replace("", None).convert_dtypes()
    table["area_name"] = names.reindex(containing(shapes, lon, lat)).array
    return table


def generate_random_samples(
    area: BBox | Any, n: int, seed: int = 0, *, side_m: float = SIDE_M, avoid: Polygons | None = None
) -> pd.DataFrame:
    """Negatives of no particular kind: ``n`` points, uniform by area over a box or polygons.

    Raises
    ------
    UsageError
        where the area has no room.
    """
    shapes = _boxes(area) if isinstance(area, BBox) else area
    lon, lat = points_inside(shapes, n, np.random.default_rng(seed), avoid=_shapes(avoid), clearance_m=side_m / 2)
    return point_table(lon, lat, prefix=f"random-{seed}", source="random", label=0, kind=None, side_m=side_m)


def _shapes(polygons: Polygons | None) -> Any:
    return None if polygons is None else polygons.frame.geometry.to_numpy()


def _boxes(bbox: BBox) -> Any:
    return shapely.union_all([shapely.box(*part.as_tuple()) for part in bbox.parts()])


def _clipped(shapes: Any, within: BBox | None) -> Any:
    if within is None:
        return shapes
    clipped = polygon_parts(shapely.intersection(shapes, _boxes(within)))
    if not len(clipped):
        raise UsageError("no polygon lies within the box", got=within, expected="a box that overlaps them")
    return clipped
