"""Areas that can be compared anywhere on the globe, by a cylindrical equal-area projection."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pyproj
import shapely
from numpy.typing import ArrayLike, NDArray

EQUAL_AREA = "EPSG:6933"
"""Lambert's cylindrical equal-area projection on the WGS 84 ellipsoid (Snyder 1987, p. 76-85; Brodzik et al. 2012):
parallels and meridians are straight, so a box of longitude and latitude is a rectangle with its exact area."""


@cache
def _projection() -> tuple[pyproj.Transformer, pyproj.Transformer]:
    there = pyproj.Transformer.from_crs("EPSG:4326", EQUAL_AREA, always_xy=True)
    back = pyproj.Transformer.from_crs(EQUAL_AREA, "EPSG:4326", always_xy=True)
    return there, back


def to_equal_area(lon: ArrayLike, lat: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Metres east and north on the equal-area plane, of degrees."""
    x, y = _projection()[0].transform(np.asarray(lon, np.float64), np.asarray(lat, np.float64))
    return x, y


def from_equal_area(x: ArrayLike, y: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Degrees of longitude and latitude, of metres on the equal-area plane."""
    lon, lat = _projection()[1].transform(np.asarray(x, np.float64), np.asarray(y, np.float64))
    return lon, lat


def areas_m2(shapes: Any) -> NDArray[np.float64]:
    """Area of each of ``shapes``, an array of geometries in EPSG:4326, in square metres.

    Only corners are projected: for edges of cell size (km) what lies between a straight edge and its image is less
    than a millionth of the area; for edges of many degrees take :meth:`Polygons.areas_km2`.
    """

    def project(points: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.column_stack(to_equal_area(points[:, 0], points[:, 1]))

    areas: NDArray[np.float64] = shapely.area(shapely.transform(np.asarray(shapes, object), project))
    return areas
