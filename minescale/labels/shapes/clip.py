"""Polygons cut to a country or any other boundary, with areas on the ellipsoid."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import shapely

from minescale.errors import UsageError
from minescale.labels.shapes.polygons import Polygons, ReadReport
from minescale.labels.shapes.vectors import areas_only


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """How much of a boundary's ground polygons cover. Areas are geodesic; overlaps count once in ``covered_km2``."""

    polygons: int
    cut: int
    """Polygons of which a part lay outside."""
    polygons_km2: float
    """Sum of the polygons' own areas within the boundary."""
    covered_km2: float
    boundary_km2: float

    @property
    def share(self) -> float:
        return self.covered_km2 / self.boundary_km2


def select(polygons: Polygons, column: str, value: str) -> Polygons:
    """The polygons whose ``column`` is ``value``, letter case aside: one country of many.

    Raises
    ------
    UsageError
        for a column that is not there, or a value that no polygon has.
    """
    if column not in polygons.frame or column == "geometry":
        known = ", ".join(c for c in polygons.frame.columns if c != "geometry")
        raise UsageError(f"{polygons.source} has no such column", got=column, expected=known)
    values = polygons.frame[column].astype("string")
    wanted = (values.str.casefold() == value.casefold()).fillna(False).to_numpy(bool)
    if not wanted.any():
        some = ", ".join(sorted(values.dropna().unique())[:8])
        raise UsageError(
            f"no polygon of {polygons.source} has that {column}", got=value, expected=f"one of {some}, ..."
        )
    left = int((~wanted).sum())
    return _kept(polygons, polygons.frame[wanted], f"other {column}", left)


def clip(polygons: Polygons, boundary: Polygons) -> tuple[Polygons, Coverage]:
    """What of the polygons lies within the boundary; attributes stay, parts without an area go.

    Returns
    -------
    polygons, and how much of the boundary they cover.

    Raises
    ------
    UsageError
        where nothing lies within it.
    """
    area = shapely.union_all(boundary.frame.geometry.to_numpy())
    shapes = polygons.frame.geometry.to_numpy().copy()
    shapely.prepare(area)
    inside = shapely.covers(area, shapes)
    crossing = shapely.intersects(area, shapes) & ~inside
    parts = shapely.intersection(shapes[crossing], area)
    shapes[crossing] = [None if shapely.is_empty(part) else areas_only(part) for part in parts]
    shapes[~inside & ~crossing] = None
    kept = ~shapely.is_missing(shapes)
    if not kept.any():
        raise UsageError(
            f"no polygon of {polygons.source} lies within {boundary.source}",
            got=_bounds(polygons),
            expected=f"something within {_bounds(boundary)}",
        )
    clipped = _kept(
        polygons, polygons.frame.set_geometry(list(shapes), crs=4326)[kept], "outside the boundary", int((~kept).sum())
    )
    union = shapely.union_all(shapes[kept])
    coverage = Coverage(
        polygons=len(clipped),
        cut=int((crossing & kept).sum()),
        polygons_km2=float(np.sum(clipped.areas_km2())),
        covered_km2=_area_km2(clipped, union),
        boundary_km2=_area_km2(boundary, area),
    )
    return clipped, coverage


def _area_km2(like: Polygons, shape: shapely.Geometry) -> float:
    frame = like.frame.iloc[:1].set_geometry([shape], crs=4326)
    return float(replace(like, frame=frame).areas_km2()[0])


def _kept(polygons: Polygons, frame: pd.DataFrame, cause: str, left: int) -> Polygons:
    report = polygons.report
    dropped = {**report.dropped, cause: report.dropped.get(cause, 0) + left} if left else report.dropped
    changed = ReadReport(report.read, report.repaired, dropped, report.cut)
    return replace(polygons, frame=frame.reset_index(drop=True), report=changed)


def _bounds(polygons: Polygons) -> str:
    return " ".join(f"{v:g}" for v in polygons.frame.total_bounds)
