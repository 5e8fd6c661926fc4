"""Polygons on an image's grid: which of them are near, and where they lie in its coordinate system."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pyproj
import shapely
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from shapely.geometry.base import BaseGeometry

from minescale.errors import UsageError
from minescale.labels.shapes.polygons import Polygons
from minescale.sources.windows import crs_text

SEGMENT_DEGREES = 0.01
"""Edges are straight in longitude and latitude (RFC 7946, 3.1.1). Cut to this length before they are projected, they
bend with the grid: a chord of 1 km leaves its arc by less than 0.1 m up to 60 degrees of latitude."""

_EDGE_POINTS = 33
_DEGREE_M = 110_574.0
"""The shortest degree of latitude, at the equator: margins in degrees come out too wide rather than too narrow."""


@dataclass(frozen=True, slots=True)
class Extent:
    """A box in longitude and latitude; longitudes run on across the antimeridian, so ``west`` <= ``east`` always."""

    west: float
    south: float
    east: float
    north: float

    @property
    def everywhere(self) -> bool:
        return self.east - self.west >= 360 and self.south <= -90 and self.north >= 90

    def grown(self, metres: float) -> Extent:
        """The box with at least ``metres`` more on every side."""
        lat = metres / _DEGREE_M
        south, north = max(self.south - lat, -90.0), min(self.north + lat, 90.0)
        parallel = math.cos(math.radians(max(abs(south), abs(north))))
        lon = 360.0 if parallel < 1e-6 else lat / parallel
        if self.east - self.west + 2 * lon >= 360:
            return Extent(-180.0, south, 180.0, north)
        return Extent(self.west - lon, south, self.east + lon, north)


def extent_of(geobox: GeoBox) -> Extent:
    """Where an image lies on the globe, its bent edges included.

    Raises
    ------
    UsageError
        for an image without a coordinate system.
    """
    if geobox.crs is None:
        raise UsageError("image has no coordinate system", expected="a grid with a CRS", fix="write it into the file")
    rows, cols = geobox.shape.yx
    along = np.linspace(0, 1, _EDGE_POINTS)
    i = np.concatenate([0 * along, along, 0 * along + 1, along[::-1]]) * rows
    j = np.concatenate([along, 0 * along + 1, along[::-1], 0 * along]) * cols
    lon, lat = lonlat(geobox, i, j)
    turn = np.diff(lon, append=lon[0])
    if not _is_geographic(crs_text(geobox)):
        turn = (turn + 180) % 360 - 180
        lon = lon[0] + np.concatenate([[0], np.cumsum(turn[:-1])])
    if abs(turn.sum()) > 180:  # once round: a pole lies inside
        south, north = (-90.0, lat.max()) if lat.mean() < 0 else (lat.min(), 90.0)
        return Extent(-180.0, float(south), 180.0, float(north))
    # Edges bulge between their points by less than a step.
    bulge = np.abs(np.diff(lat)).max() / 8
    return Extent(lon.min(), max(float(lat.min() - bulge), -90.0), lon.max(), min(float(lat.max() + bulge), 90.0))


def lonlat(geobox: GeoBox, rows: NDArray[Any], cols: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Longitude and latitude of places in pixels, counted from the outer corner of the first one."""
    a, b, c, d, e, f = tuple(geobox.affine)[:6]
    x, y = a * cols + b * rows + c, d * cols + e * rows + f
    crs = crs_text(geobox)
    if _is_geographic(crs):
        return x, y
    lon, lat = _transformer(crs, "EPSG:4326").transform(x, y)
    return np.asarray(lon), np.asarray(lat)


def near(polygons: Polygons, extent: Extent) -> NDArray[np.object_]:
    """Polygons whose boxes meet the extent, moved by whole turns of 360 degrees so that they lie in its longitudes.

    A multi-polygon comes in its parts: of one that was cut at the antimeridian each may need another turn.
    """
    shapes = polygons.frame.geometry.to_numpy()
    found: list[NDArray[np.object_]] = []
    for turn in (-360.0, 0.0, 360.0):
        west, east = max(extent.west - turn, -180.0), min(extent.east - turn, 180.0)
        if west >= east:
            continue
        box = shapely.box(west, extent.south, east, extent.north)
        parts = shapely.get_parts(shapes[np.sort(polygons.frame.sindex.query(box))])
        chosen = parts[shapely.intersects(shapely.envelope(parts), box)]
        found.append(shapely.transform(chosen, lambda xy, by=turn: xy + np.array([by, 0.0])) if turn else chosen)
    return np.concatenate(found) if found else np.empty(0, object)


def on_grid(polygons: Polygons, geobox: GeoBox) -> list[BaseGeometry]:
    """What of the polygons may meet the image, in its coordinate system.

    Parts that lie well outside are cut away first: far from its middle a projection tears shapes apart.
    """
    extent = extent_of(geobox)
    wide = extent.grown(_DEGREE_M * max(extent.east - extent.west, extent.north - extent.south, 1e-3) / 8)
    shapes = shapely.clip_by_rect(near(polygons, extent), wide.west, wide.south, wide.east, wide.north)
    shapes = shapely.segmentize(shapes[~shapely.is_empty(shapes)], SEGMENT_DEGREES)
    crs = crs_text(geobox)
    if not _is_geographic(crs):
        to_grid = _transformer("EPSG:4326", crs)
        shapes = shapely.transform(shapes, lambda xy: np.column_stack(to_grid.transform(xy[:, 0], xy[:, 1])))
    return list(shapes)


@lru_cache(maxsize=64)
def _is_geographic(crs: str) -> bool:
    return bool(pyproj.CRS(crs).is_geographic)


@lru_cache(maxsize=64)
def _transformer(source: str, target: str) -> pyproj.Transformer:
    return pyproj.Transformer.from_crs(source, target, always_xy=True)
