"""What the dataset commands' options name: files with a column, classes of a raster, an area."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minescale.errors import UsageError

if TYPE_CHECKING:
    from minescale.labels.places.rasterclasses import RasterClasses
    from minescale.labels.shapes.points import Points
    from minescale.labels.shapes.polygons import Polygons

_RASTER = re.compile(r"(?P<file>.+):(?:(?P<values>\d+(?:,\d+)*)|>=(?P<least>-?\d+(?:\.\d+)?))")


def file_and_column(text: str) -> tuple[Path, str]:
    """``FILE:COLUMN``."""
    file, colon, column = text.rpartition(":")
    if not colon or not file or not column:
        raise UsageError("a layer's column is not named", got=text, expected="FILE:COLUMN")
    return Path(file), column


def source(text: str) -> Polygons | Points | RasterClasses:
    """``FILE:3,24`` or ``FILE:>=50``: classes of a raster; a csv: points; any other file: polygons."""
    from minescale.labels.places.rasterclasses import RasterClasses
    from minescale.labels.shapes.points import TABLES, read_points
    from minescale.labels.shapes.vectors import read_polygons

    found = _RASTER.fullmatch(text)
    if found:
        values = tuple(int(v) for v in found["values"].split(",")) if found["values"] else ()
        return RasterClasses(
            path=Path(found["file"]), values=values, at_least=float(found["least"]) if found["least"] else None
        )
    return read_points(text) if Path(text).suffix.lower() in TABLES else read_polygons(text)


def area_of(
    roi: Path | None, layer: str | None, where: str | None, bbox: tuple[float, float, float, float] | None
) -> Any:
    """Polygons of a file (those with COLUMN=VALUE), or a box, in EPSG:4326; None where neither is given."""
    import shapely

    from minescale.labels.shapes.clip import select
    from minescale.labels.shapes.vectors import read_polygons
    from minescale.types import BBox

    if roi is not None and bbox:
        raise UsageError("--roi and --bbox both name an area", got=f"{roi.name}, {bbox}", expected="one of them")
    if roi is None and (where is not None or layer is not None):
        raise UsageError("--roi-where and --roi-layer are about --roi", got=where or layer, fix="--roi FILE as well")
    if bbox:
        return shapely.union_all([shapely.box(*part.as_tuple()) for part in BBox.of(bbox).parts()])
    if roi is None:
        return None
    polygons = read_polygons(roi, layer=layer)
    if where is not None:
        column, equals, value = where.partition("=")
        if not equals:
            raise UsageError("--roi-where names no value", got=where, expected="COLUMN=VALUE")
        polygons = select(polygons, column, value)
    return polygons.frame.geometry.to_numpy()
