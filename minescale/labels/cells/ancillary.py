"""What other maps say about places: country, land cover and the like, joined as columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from numpy.typing import NDArray

from minescale.errors import UsageError


def containing(shapes: NDArray[np.object_], lon: Any, lat: Any) -> NDArray[np.intp]:
    """For each point the position of the first polygon that contains it; -1 where none does."""
    lon, lat = np.asarray(lon, np.float64), np.asarray(lat, np.float64)
    shapely.prepare(shapes)
    point, shape = shapely.STRtree(shapes).query(shapely.points(lon, lat))
    inside = shapely.contains_xy(shapes[shape], lon[point], lat[point])
    found = np.full(len(lon), len(shapes), np.intp)
    np.minimum.at(found, point[inside], shape[inside])
    return np.where(found == len(shapes), -1, found)


def join(table: pd.DataFrame, layer: gpd.GeoDataFrame, columns: Mapping[str, str]) -> pd.DataFrame:
    """Columns of a layer of polygons, for the polygon that each place's middle lies in.

    Parameters
    ----------
    table : columns ``lon`` and ``lat`` in degrees.
    layer : polygons with a CRS; where several contain a place, the first counts.
    columns : new name by the layer's own name, such as ``{"iso_a3": "country"}``.

    Returns
    -------
    A copy with the new columns. Every row stays: a place outside all polygons, and a missing value, is null.

    Raises
    ------
    UsageError
        for columns that the layer lacks or the table has, and a layer without CRS.
    """
    absent = [name for name in columns if name not in layer]
    if absent:
        raise UsageError("layer has no such column", got=absent, expected=sorted(set(layer) - {"geometry"}))
    taken = [name for name in columns.values() if name in table]
    if taken:
        raise UsageError("table has these columns already", got=taken, fix="other names for the joined columns")
    if layer.crs is None:
        raise UsageError("layer says no CRS", expected="one", fix='layer.set_crs("EPSG:4326") where it is in degrees')
    at = containing(layer.to_crs(4326).geometry.to_numpy(), table["lon"], table["lat"])
    joined = table.copy()
    for name, new in columns.items():
        # Nullable types, so that whole numbers stay whole beside nulls; -1 is no row.
        values = layer[name].reset_index(drop=True).convert_dtypes()
        joined[new] = values.reindex(at).array
    return joined
