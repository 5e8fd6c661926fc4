"""Polygons with where they came from and what had to be repaired: the value that every label begins with."""

from __future__ import annotations

from dataclasses import dataclass, field

import geopandas as gpd
import pyproj
import shapely

from minescale.errors import UsageError

GEODESIC = pyproj.Geod(ellps="WGS84")


@dataclass(frozen=True, slots=True)
class ReadReport:
    """What became of the shapes of a file."""

    read: int
    """Shapes found."""
    repaired: int = 0
    """Invalid rings made valid, kept."""
    dropped: dict[str, int] = field(default_factory=dict)
    """Shapes left out, by cause."""
    cut: int = 0
    """Shapes across the antimeridian, cut there, kept."""

    @property
    def kept(self) -> int:
        return self.read - sum(self.dropped.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Polygons:
    """Valid polygons in longitude and latitude."""

    frame: gpd.GeoDataFrame
    """EPSG:4326, Polygon or MultiPolygon, index 0..n-1; column ``name`` (str, may be empty), and the source's own."""
    source: str
    """What it was read from, without folders."""
    epoch: int | None = None
    """Year of the imagery that the shapes were drawn on; None where nobody says."""
    report: ReadReport

    def __post_init__(self) -> None:
        if self.frame.crs is None or self.frame.crs.to_epsg() != 4326:
            raise UsageError(
                f"polygons of {self.source} are not in longitude and latitude",
                got=self.frame.crs,
                expected="EPSG:4326",
                fix="frame.to_crs(4326), or set_crs first where the file does not say",
            )

    def __len__(self) -> int:
        return len(self.frame)

    def areas_km2(self) -> list[float]:
        """Area of each on the WGS 84 ellipsoid (Karney 2013, as PROJ computes it), holes taken off."""
        # PROJ adds up signed rings: a hole that runs the way of its shell would be added.
        oriented = shapely.orient_polygons(self.frame.geometry.to_numpy())
        return [abs(GEODESIC.geometry_area_perimeter(shape)[0]) / 1e6 for shape in oriented]
