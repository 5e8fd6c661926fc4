"""Polygons for tests, from shapes in any coordinate system."""

from __future__ import annotations

import geopandas as gpd
from affine import Affine
from odc.geo.geobox import GeoBox
from shapely.geometry.base import BaseGeometry

from minescale.labels.shapes.polygons import Polygons, ReadReport

UTM33 = "EPSG:32633"


def polygons(*shapes: BaseGeometry, crs: str = UTM33, names: list[str] | None = None, **columns: object) -> Polygons:
    """Shapes whose edges are short, so that it does not matter in which system they are straight."""
    table = {"name": names or [""] * len(shapes), **columns}
    frame = gpd.GeoDataFrame(table, geometry=list(shapes), crs=crs)
    frame = frame.set_geometry(frame.segmentize(50 if crs.startswith("EPSG:32") else 0.01)).to_crs(4326)
    return Polygons(frame=frame, source="test", report=ReadReport(len(shapes)))


def grid(rows: int, cols: int, *, left: float = 500_000, top: float = 5_600_000, res: float = 10.0) -> GeoBox:
    """A north-up grid in UTM zone 33."""
    return GeoBox((rows, cols), Affine(res, 0, left, 0, -res, top), UTM33)
