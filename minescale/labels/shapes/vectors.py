"""Polygon files of any common format in: checked, repaired, in longitude and latitude, with a report."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import pyproj
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from minescale.errors import StoreError, UsageError
from minescale.labels.shapes.antimeridian import crossing, cut
from minescale.labels.shapes.archives import check_archive
from minescale.labels.shapes.kml import read_kml
from minescale.labels.shapes.polygons import Polygons, ReadReport

PARQUET = (".parquet", ".geoparquet")
KML = (".kml", ".kmz")
WRITERS: Mapping[str, str] = {".gpkg": "GPKG", ".geojson": "GeoJSON", ".json": "GeoJSON", ".kml": "KML"}
"""GDAL's driver for a file name's ending; :data:`PARQUET` is written by geopandas."""

_SEGMENT_M = 1000.0
"""Edges of projected files are straight in their own system: cut to this length before they are turned to degrees."""

_POLE = 90 + 1e-6
"""Published world maps miss the pole by a rounding error."""

_SURFACES = ("Polygon", "MultiPolygon")
_NO_POLYGON = {"Point": "point", "MultiPoint": "point", "LineString": "line", "MultiLineString": "line"}


def read_polygons(
    path: str | Path,
    *,
    layer: str | None = None,
    epoch: int | None = None,
    name_column: str | None = None,
    crs: str | None = None,
) -> Polygons:
    """Read KML, KMZ, GeoPackage, Shapefile (zipped too), GeoJSON, GeoParquet or whatever else GDAL reads.

    Invalid rings are repaired; shapes without an area are left out; both are counted in ``report``. Polygons across
    the antimeridian are cut there.

    Parameters
    ----------
    layer : needed where the file has several layers of shapes.
    epoch : year of the imagery that the shapes were drawn on.
    name_column : column with each shape's name; default: ``name`` in any spelling, else names stay empty.
    crs : coordinate system of a file that does not say its own.

    Raises
    ------
    UsageError
        No such file or layer or column; a file that cannot be read, has no coordinate system, has coordinates that
        are no degrees, or has no polygon at all.
    """
    file = Path(path)
    if not file.exists():
        raise UsageError(f"no such file: {file}")
    ending = file.suffix.lower()
    if layer is not None and ending in (*KML, *PARQUET):
        raise UsageError(f"{file.name} has no layers", got=layer, expected="no layer: all of the file is read")
    dropped: dict[str, int] = {}
    repaired = 0
    if ending in KML:
        placemarks = read_kml(file)
        frame, dropped, repaired = placemarks.frame, placemarks.dropped, placemarks.repaired
    elif ending in PARQUET:
        frame = _reading(file, lambda: gpd.read_parquet(file))
    else:
        if ending == ".zip":
            check_archive(file)
        frame = read_layer(file, layer)
    given = None if crs is None else _parsed(crs)
    if given is not None and frame.crs is None:
        frame = frame.set_crs(given)
    elif given is not None and frame.crs != given:
        raise UsageError(f"{file.name} says which coordinate system it is in", got=crs, expected=frame.crs.to_string())
    return to_polygons(
        frame, source=file.name, epoch=epoch, name_column=name_column, dropped=dropped, repaired=repaired
    )


def to_polygons(
    frame: gpd.GeoDataFrame,
    *,
    source: str,
    epoch: int | None = None,
    name_column: str | None = None,
    dropped: Mapping[str, int] | None = None,
    repaired: int = 0,
) -> Polygons:
    """Any table of shapes as valid polygons in EPSG:4326.

    Parameters
    ----------
    source : what it was read from, for messages.
    dropped, repaired : what the reader of the format left out or mended before.

    Raises
    ------
    UsageError
        as `read_polygons` does.
    """
    causes = Counter(dropped or {})
    read = len(frame) + causes.total()
    if frame.geometry.name != "geometry":
        frame = frame.rename_geometry("geometry")
    table = with_names(frame, name_column, source).reset_index(drop=True)
    shapes = np.array([_surfaces(shape, causes) for shape in shapely.force_2d(table.geometry.to_numpy())], object)
    if not shapely.is_missing(shapes).all():
        shapes = _degrees(_only(table, shapes), source)
    # Before repairs: a ring that jumps across the antimeridian looks as if it crossed itself.
    across = crossing(shapes)
    for i in np.flatnonzero(across):
        shapes[i] = cut(shapes[i])
        causes["round a pole"] += shapes[i] is None
    invalid = ~shapely.is_valid(shapes) & ~shapely.is_missing(shapes)
    for i in np.flatnonzero(invalid):
        shapes[i] = areas_only(shapes[i])
        causes["no area"] += shapes[i] is None
    kept = ~shapely.is_missing(shapes)
    causes = +causes
    if not kept.any():
        raise UsageError(
            f"{source} has no polygons",
            got=", ".join(f"{count} x {cause}" for cause, count in causes.items()) or "no shapes at all",
            expected="polygons with an area",
            fix="read_points for a file of points" if "point" in causes else None,
        )
    degrees = gpd.GeoDataFrame(table.drop(columns="geometry"), geometry=shapes, crs=4326)
    report = ReadReport(
        read, repaired + int((invalid & kept).sum()), dict(sorted(causes.items())), int((across & kept).sum())
    )
    return Polygons(frame=degrees[kept].reset_index(drop=True), source=source, epoch=epoch, report=report)


def areas_only(shape: BaseGeometry) -> BaseGeometry | None:
    """The polygons of a shape, made valid; None where it has none."""
    valid = shapely.make_valid(shape, method="structure", keep_collapsed=False)
    parts = [p for p in shapely.get_parts(valid) if p.geom_type in ("Polygon", "MultiPolygon") and p.area > 0]
    if not parts:
        return None
    return parts[0] if len(parts) == 1 else shapely.union_all(parts)


def write_polygons(polygons: Polygons, path: str | Path, *, overwrite: bool = False) -> Path:
    """Write GeoPackage, GeoJSON, KML or GeoParquet, by the file name's ending.

    Raises
    ------
    UsageError
        for another ending, or a file that exists.
    StoreError
        where it cannot be written; nothing is left behind.
    """
    target = Path(path)
    ending = target.suffix.lower()
    if ending not in WRITERS and ending not in PARQUET:
        known = ", ".join([*WRITERS, *PARQUET])
        raise UsageError("unknown format for polygons", got=target.name, expected=f"a name that ends in {known}")
    if target.exists() and not overwrite:
        raise UsageError(f"{target} exists", fix="another file name, or overwrite")
    from pyogrio.errors import DataSourceError, FeatureError, FieldError

    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".polygons-", dir=target.parent) as scratch:
            partial = Path(scratch) / target.name
            if ending in PARQUET:
                polygons.frame.to_parquet(partial)
            else:
                polygons.frame.to_file(partial, driver=WRITERS[ending], layer=target.stem)
            partial.replace(target)
    except (OSError, DataSourceError, FeatureError, FieldError) as error:
        raise StoreError(f"cannot write {target}", got=error, fix="a writable folder with free space") from error
    return target


def read_layer(file: Path, layer: str | None) -> gpd.GeoDataFrame:
    """One layer of shapes as GDAL reads it, with a column ``id``: the file's own, or the feature's number.

    Raises
    ------
    UsageError
        for a file that cannot be read, an unknown layer, or several of which none is named.
    """
    import pyogrio

    listed: NDArray[Any] = _reading(file, lambda: pyogrio.list_layers(file))  # type: ignore[no-untyped-call]
    layers = [str(name) for name, kind in listed if kind is not None]
    if layer is not None and layer not in layers:
        raise UsageError(f"{file.name} has no such layer", got=layer, expected=", ".join(layers) or "any layer at all")
    if layer is None and len(layers) != 1:
        if not layers:
            raise UsageError(f"{file.name} has no shapes", got="tables only", fix="read_points for coordinates")
        raise UsageError(f"{file.name} has several layers", got=", ".join(layers), fix="layer=<name>")
    frame: gpd.GeoDataFrame = _reading(file, lambda: gpd.read_file(file, layer=layer or layers[0], fid_as_index=True))
    if frame.empty and file.suffix.lower() in (".geojson", ".json"):
        # GDAL skips, without a word, features that lack their "type", as some drawing tools write them.
        features = _reading(file, lambda: json.loads(file.read_text(encoding="utf-8"))["features"])
        frame = gpd.GeoDataFrame.from_features(features, columns=None if features else ["geometry"], crs=4326)
    if all(str(column).casefold() != "id" for column in frame.columns):
        frame.insert(0, "id", frame.index)
    return frame


def _reading(file: Path, read: Callable[[], Any]) -> Any:
    from pyogrio.errors import DataLayerError, DataSourceError, FeatureError, GeometryError

    try:
        return read()
    except (DataLayerError, DataSourceError, FeatureError, GeometryError, ValueError, OSError) as error:
        raise UsageError(
            f"cannot read {file.name}",
            got=str(error).splitlines()[0],
            expected="a whole KML, KMZ, GeoPackage, Shapefile, GeoJSON or GeoParquet file",
        ) from error


def _parsed(crs: str) -> pyproj.CRS:
    try:
        return pyproj.CRS.from_user_input(crs)
    except pyproj.exceptions.CRSError as error:
        raise UsageError("coordinate system is not understood", got=crs, expected="EPSG:<code>, PROJ or WKT") from error


def with_names(table: pd.DataFrame, column: str | None, source: str) -> pd.DataFrame:
    """The table with a column ``name`` (str, empty where unknown) before its own.

    Raises
    ------
    UsageError
        for a ``column`` that it does not have.
    """
    columns = [str(c) for c in table.columns if c != "geometry"]
    if column is not None and column not in columns:
        raise UsageError(f"{source} has no such column", got=column, expected=", ".join(columns) or "no columns")
    chosen = column or next((c for c in columns if c.casefold() == "name"), None)
    names = (
        pd.Series("", index=table.index)
        if chosen is None
        else table[chosen].map(lambda value: "" if pd.isna(value) else str(value).strip())
    )
    # A GeoPackage tells columns apart by their letters only: no second name in another spelling may stay.
    own = table.drop(columns=chosen) if str(chosen).casefold() == "name" else table
    own = own.rename(columns={c: f"source_{c}" for c in own.columns if str(c).casefold() == "name"})
    own.insert(0, "name", names)
    return own


def _surfaces(shape: BaseGeometry | None, causes: Counter[str]) -> BaseGeometry | None:
    """Polygon or MultiPolygon as it is, those of a collection, or None with its cause counted."""
    if shape is None or shape.is_empty:
        causes["no geometry"] += 1
        return None
    if not np.isfinite(shapely.get_coordinates(shape)).all():
        causes["coordinates without a number"] += 1
        return None
    if shape.geom_type in _SURFACES:
        return shape
    parts = shapely.get_parts(shapely.get_parts(shape))
    surfaces = parts[[part.geom_type in _SURFACES for part in parts]]
    if not len(surfaces):
        causes[_NO_POLYGON.get(shape.geom_type, "no polygon in a collection")] += 1
        return None
    return surfaces[0] if len(surfaces) == 1 else shapely.multipolygons(surfaces)


def _only(table: gpd.GeoDataFrame, shapes: NDArray[np.object_]) -> gpd.GeoSeries:
    return gpd.GeoSeries(shapes, crs=table.crs, index=table.index)


def _degrees(shapes: gpd.GeoSeries, source: str) -> NDArray[np.object_]:
    """The shapes in EPSG:4326; edges of projected ones stay where they are."""
    if shapes.crs is None:
        raise UsageError(
            f"{source} does not say which coordinate system it is in",
            expected="a .prj file, or a CRS in the file",
            fix="crs='EPSG:4326' for longitude and latitude, or the code of its system",
        )
    if not shapes.crs.is_geographic:
        shapes = shapes.segmentize(_SEGMENT_M / shapes.crs.axis_info[0].unit_conversion_factor)
    degrees = shapes.to_crs(4326)
    west, south, east, north = degrees.total_bounds
    if not (-_POLE <= south <= north <= _POLE and -540 <= west <= east <= 540):
        swapped = -90 <= west <= east <= 90 and -180 <= south <= north <= 180
        raise UsageError(
            f"{source} has coordinates that are no longitudes and latitudes",
            got=f"{west:g} to {east:g}, {south:g} to {north:g}",
            expected="-180 to 180, -90 to 90",
            fix="longitude first" if swapped else "the coordinate system that the numbers are in",
        )
    placed = np.array(degrees.to_numpy(), object)
    if south < -90 or north > 90:
        return shapely.transform(placed, lambda xy: np.column_stack([xy[:, 0], np.clip(xy[:, 1], -90, 90)]))
    return placed
