"""Pixels back to polygons: outlines of a class in a raster that somebody else has labelled."""

from __future__ import annotations

import geopandas as gpd
import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.features import shapes as outlines
from shapely.geometry import shape

from minescale.errors import UsageError
from minescale.labels.shapes.polygons import Polygons
from minescale.labels.shapes.vectors import to_polygons


def outlines_of(
    mask: NDArray[np.bool_], geobox: GeoBox, *, source: str, name: str = "", epoch: int | None = None
) -> Polygons:
    """One polygon per 4-connected patch of True, along the pixels' edges; burnt again it gives the same mask.

    Parameters
    ----------
    mask : bool (y, x) on the grid of ``geobox``.
    name : of the site; every polygon gets it.

    Raises
    ------
    UsageError
        where mask and grid differ in shape, or no pixel is True.
    """
    if mask.shape != geobox.shape.yx:
        raise UsageError("mask does not fit its grid", got=mask.shape, expected=geobox.shape.yx)
    found = outlines(mask.astype(np.uint8), mask=mask, transform=geobox.affine, connectivity=4)
    patches = [shape(geometry) for geometry, _ in found]
    if not patches:
        raise UsageError(f"no pixel of {source} is in the class", expected="a mask with True in it")
    frame = gpd.GeoDataFrame({"name": [name] * len(patches)}, geometry=patches, crs=str(geobox.crs))
    return to_polygons(frame, source=source, epoch=epoch)
