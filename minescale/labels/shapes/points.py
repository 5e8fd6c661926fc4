"""Places by longitude and latitude: tables of coordinates and point layers, with what was left out."""

from __future__ import annotations

import csv
import warnings
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from numpy.typing import NDArray

from minescale.errors import UsageError
from minescale.labels.shapes.polygons import ReadReport
from minescale.labels.shapes.vectors import read_layer, with_names
from minescale.types import BBox

REGIONS: Mapping[str, BBox] = {"brazil": BBox(-75, -35, -35, 5)}
"""Boxes by name; their edges belong to them."""

TABLES = (".csv", ".tsv", ".txt")
LON_NAMES = ("lon", "longitude", "long", "lng", "x", "lon_wgs84", "gps_longitude")
LAT_NAMES = ("lat", "latitude", "y", "lat_wgs84", "gps_latitude")

FEW = 0.5
"""A region that keeps less than this share of the points is probably the wrong one: a warning says so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Points:
    """Places in longitude and latitude."""

    frame: gpd.GeoDataFrame
    """EPSG:4326, Point, index 0..n-1; column ``name`` (str, may be empty), and the source's own."""
    source: str
    """What it was read from, without folders."""
    epoch: int | None = None
    report: ReadReport

    def __len__(self) -> int:
        return len(self.frame)


def read_points(
    path: str | Path,
    *,
    columns: tuple[str, str] | tuple[int, int] | None = None,
    region: str | BBox | None = None,
    layer: str | None = None,
    epoch: int | None = None,
    name_column: str | None = None,
) -> Points:
    """Read a table of coordinates in degrees, or a layer of points in any format GDAL reads.

    Parameters
    ----------
    columns : of a table, where longitude and latitude stand: names, or positions from 0 where it has no header.
        Default: the usual names, or without a header the first two columns, **longitude first**.
    region : name in `REGIONS` or a box, edges included; points elsewhere are left out and counted.

    Warns
    -----
    UserWarning
        where the region leaves out more than half of the points.

    Raises
    ------
    UsageError
        No such file, column or region; coordinates that look swapped; no point left.
    """
    file = Path(path)
    if not file.exists():
        raise UsageError(f"no such file: {file}")
    causes: Counter[str] = Counter()
    if file.suffix.lower() in TABLES:
        table, lon, lat = _table(file, columns)
    else:
        table, lon, lat = _layer(file, layer, causes)
    table = with_names(table, name_column, file.name)
    area = None if region is None else named_region(region)
    read = len(table) + causes.total()
    _assert_order(lon, lat, area, file.name)
    known = np.isfinite(lon) & np.isfinite(lat)
    globe = known & (np.abs(lon) <= 180) & (np.abs(lat) <= 90)
    within = globe if area is None else globe & inside(lon, lat, area)
    causes["no number"] += int((~known).sum())
    causes["beyond the globe"] += int((known & ~globe).sum())
    causes["outside the region"] += int((globe & ~within).sum())
    if not within.any():
        raise UsageError(
            f"no point of {file.name} is left",
            got=", ".join(f"{count} x {cause}" for cause, count in (+causes).items()) or "an empty file",
            expected="longitudes and latitudes in degrees" if area is None else f"points within {area}",
            fix=None if area is None else "another region, or none",
        )
    if within.sum() < FEW * globe.sum():
        warnings.warn(
            f"{file.name}: the region keeps {within.sum()} of {globe.sum()} points; is it the right one?", stacklevel=2
        )
    frame = gpd.GeoDataFrame(table[within], geometry=shapely.points(lon[within], lat[within]), crs=4326)
    report = ReadReport(read, 0, dict(sorted((+causes).items())))
    return Points(frame=frame.reset_index(drop=True), source=file.name, epoch=epoch, report=report)


def named_region(region: str | BBox) -> BBox:
    """A region by its name, or the box as it is.

    Raises
    ------
    UsageError
        for an unknown name.
    """
    if isinstance(region, BBox):
        return region
    if region.casefold() not in REGIONS:
        raise UsageError(
            "unknown region", got=region, expected=", ".join(REGIONS), fix="a box: west, south, east, north"
        )
    return REGIONS[region.casefold()]


def inside(lon: NDArray[np.float64], lat: NDArray[np.float64], area: BBox) -> NDArray[np.bool_]:
    """Which points lie in a box or on its edge; the box may cross the antimeridian."""
    across = (lon >= area.west) | (lon <= area.east)
    along = across if area.crosses_antimeridian else (lon >= area.west) & (lon <= area.east)
    return along & (lat >= area.south) & (lat <= area.north)


def _assert_order(lon: NDArray[np.float64], lat: NDArray[np.float64], area: BBox | None, source: str) -> None:
    """Refuse columns that make more sense the other way round: on the globe, or in the region."""
    fits = int(((np.abs(lon) <= 180) & (np.abs(lat) <= 90)).sum())
    swapped = int(((np.abs(lat) <= 180) & (np.abs(lon) <= 90)).sum())
    where = "on the globe"
    if fits == swapped and area is not None:
        fits, swapped = int(inside(lon, lat, area).sum()), int(inside(lat, lon, area).sum())
        where = "in the region"
    if swapped > fits:
        raise UsageError(
            f"{source}: longitude and latitude look swapped",
            got=f"{fits} of {len(lon)} points {where}, {swapped} the other way round",
            expected="longitude, then latitude",
            fix="columns=(<longitude>, <latitude>) with the two exchanged",
        )


def _table(
    file: Path, columns: tuple[str, str] | tuple[int, int] | None
) -> tuple[pd.DataFrame, NDArray[np.float64], NDArray[np.float64]]:
    """The table without its coordinates, longitudes, latitudes; NaN where a cell is no number."""
    try:
        text = file.read_text(encoding="utf-8-sig")
        first = next((line for line in text.splitlines() if line.strip()), "")
        separator = max(",;\t", key=first.count)
        cells = [cell.strip() for cell in next(csv.reader([first], delimiter=separator), [])]
        header = not any(_is_number(cell) for cell in cells)
        table = pd.read_csv(
            file, sep=separator, header=0 if header else None, encoding="utf-8-sig", skipinitialspace=True
        )
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"cannot read {file.name}", got=error, expected="a UTF-8 table, a row per place") from error
    table.columns = [str(c).strip() if header else f"column_{c}" for c in table.columns]
    chosen = _columns(list(table.columns), columns, header, file.name)
    lon, lat = (pd.to_numeric(table[c], errors="coerce").to_numpy(np.float64) for c in chosen)
    return table.drop(columns=list(chosen)), lon, lat


def _columns(
    present: list[str], wanted: tuple[str, str] | tuple[int, int] | None, header: bool, source: str
) -> tuple[str, str]:
    if wanted is None and not header:
        wanted = (0, 1)
    if wanted is None:
        folded = {name.casefold(): name for name in present}
        lon = next((folded[n] for n in LON_NAMES if n in folded), None)
        lat = next((folded[n] for n in LAT_NAMES if n in folded), None)
        if lon is None or lat is None:
            raise UsageError(
                f"{source} does not name its longitudes and latitudes",
                got=", ".join(present),
                expected="such as lon, lat or longitude, latitude",
                fix="columns=('<longitude>', '<latitude>')",
            )
        return lon, lat
    positions = [present[c] if isinstance(c, int) and 0 <= c < len(present) else c for c in wanted]
    missing = [c for c in positions if c not in present]
    if missing or len(set(positions)) != 2:
        raise UsageError(f"{source} has no such columns", got=wanted, expected=", ".join(present))
    return str(positions[0]), str(positions[1])


def _layer(
    file: Path, layer: str | None, causes: Counter[str]
) -> tuple[gpd.GeoDataFrame, NDArray[np.float64], NDArray[np.float64]]:
    frame = read_layer(file, layer)
    if frame.crs is None:
        raise UsageError(f"{file.name} does not say which coordinate system it is in", fix="a file that does")
    frame = frame[~(frame.geometry.isna() | frame.geometry.is_empty)]
    frame = frame.to_crs(4326).explode(ignore_index=True)
    points = (frame.geom_type == "Point").to_numpy()
    causes["no point"] += int((~points).sum())
    frame = frame[points].reset_index(drop=True)
    places = shapely.get_coordinates(frame.geometry.to_numpy())
    return pd.DataFrame(frame.drop(columns=frame.geometry.name)), places[:, 0], places[:, 1]


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
