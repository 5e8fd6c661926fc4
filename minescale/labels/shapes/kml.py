"""KML and KMZ: placemarks with their polygons, folders and data, as Google Earth writes them.

GDAL takes every folder for a layer of its own and gives a whole file up for one broken ring, which hand-drawn files
often have. The format is OGC 12-007r2, KML 2.3; namespaces of older versions are read alike. Entities are not
expanded: a file that declares any is refused.
"""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import geopandas as gpd
import shapely
from shapely.geometry.base import BaseGeometry

from minescale.errors import UsageError
from minescale.labels.shapes.archives import MAX_BYTES, check_archive, read_member

FOLDER = "folder"
"""Column with the names of the Documents and Folders round a placemark, joined by ``/``."""

_OTHER = {"Point": "point", "LineString": "line", "LinearRing": "line", "Track": "track", "Model": "model"}


@dataclass(frozen=True, slots=True)
class Placemarks:
    """What a KML file holds."""

    frame: gpd.GeoDataFrame
    """EPSG:4326, one row per placemark with a polygon: ``name``, ``folder``, and a column per name of its data."""
    dropped: dict[str, int]
    """Placemarks without a polygon, by cause."""
    repaired: int
    """Placemarks of which a ring was left open, or which lost a ring that could not be read."""


def read_kml(path: str | Path) -> Placemarks:
    """Read the placemarks of a KML file, or of the first KML file in a KMZ archive.

    A placemark's polygons, however deeply its MultiGeometries nest, become one Polygon or MultiPolygon.

    Raises
    ------
    UsageError
        for a file that is broken, declares a document type, or unpacks to more than is reasonable.
    """
    file = Path(path)
    if file.suffix.lower() == ".kmz":
        names = [name for name in check_archive(file) if name.lower().endswith(".kml")]
        if not names:
            raise UsageError(f"{file.name} holds no KML file", expected="doc.kml in a KMZ archive")
        content = read_member(file, "doc.kml" if "doc.kml" in names else names[0])
    else:
        if file.stat().st_size > MAX_BYTES:
            raise UsageError(
                f"{file.name} is too large for KML", got=f"{file.stat().st_size} bytes", fix="a GeoPackage"
            )
        content = file.read_bytes()
    return _placemarks(_parse(content, file.name))


class _Builder(ET.TreeBuilder):
    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:  # noqa: ARG002  (expat's signature)
        raise UsageError("KML declares a document type", got=name, expected="no DOCTYPE: KML needs none")


def _parse(content: bytes, source: str) -> ET.Element:
    parser = ET.XMLParser(target=_Builder())  # noqa: S314  (see _Builder)
    try:
        parser.feed(content)
        root: ET.Element = parser.close()
    except UsageError:
        raise
    except (ET.ParseError, LookupError, ValueError) as error:
        raise UsageError(f"{source} is no whole KML file", got=error, expected="well-formed XML") from error
    if _local(root) != "kml":
        raise UsageError(f"{source} is no KML file", got=f"<{_local(root)}>", expected="<kml>")
    return root


def _placemarks(root: ET.Element) -> Placemarks:
    rows: list[dict[str, str]] = []
    shapes: list[BaseGeometry] = []
    dropped: Counter[str] = Counter()
    repaired = 0
    for element, folders in _walk(root):
        if _local(element) == "NetworkLink":
            dropped["link to another file"] += 1
            continue
        found = [_polygon(polygon) for polygon in element.iterfind(".//{*}Polygon")]
        polygons = [shape for shape, _ in found if shape is not None]
        if not polygons:
            kinds = [_OTHER[_local(e)] for e in element.iter() if _local(e) in _OTHER and not found]
            dropped["unreadable ring" if found else kinds[0] if kinds else "no geometry"] += 1
            continue
        repaired += not all(whole for _, whole in found)
        shapes.append(polygons[0] if len(polygons) == 1 else shapely.MultiPolygon(polygons))
        rows.append({"name": _text(element, "name"), FOLDER: "/".join(folders), **_data(element)})
    columns = dict.fromkeys(["name", FOLDER, *(key for row in rows for key in row)])
    table = {column: [row.get(column) for row in rows] for column in columns}
    return Placemarks(gpd.GeoDataFrame(table, geometry=shapes, crs=4326), dict(dropped), repaired)


def _walk(root: ET.Element) -> Iterator[tuple[ET.Element, tuple[str, ...]]]:
    """Placemarks and links in the order of the file, with the names of what they lie in."""
    waiting: list[tuple[ET.Element, tuple[str, ...]]] = [(root, ())]
    while waiting:
        element, folders = waiting.pop()
        kind = _local(element)
        if kind in ("Placemark", "NetworkLink"):
            yield element, folders
            continue
        if kind in ("Document", "Folder"):
            folders = (*folders, name) if (name := _text(element, "name")) else folders
        waiting.extend((child, folders) for child in reversed(element))


def _polygon(element: ET.Element) -> tuple[BaseGeometry | None, bool]:
    """The polygon, None where its outer ring cannot be read, and whether all its rings were whole."""
    shells = [_ring(ring) for ring in element.iterfind("{*}outerBoundaryIs/{*}LinearRing")]
    holes = [_ring(ring) for ring in element.iterfind("{*}innerBoundaryIs/{*}LinearRing")]
    if len(shells) != 1 or shells[0][0] is None:
        return None, False
    whole = all(closed for _, closed in [*shells, *holes])
    return shapely.Polygon(shells[0][0], [ring for ring, _ in holes if ring is not None]), whole


def _ring(element: ET.Element) -> tuple[list[tuple[float, float]] | None, bool]:
    """Longitudes and latitudes of a ring, None where they cannot be read, and whether it was closed."""
    try:
        points = [_lonlat(text) for text in _text(element, "coordinates").split()]
    except ValueError:
        return None, False
    if len(set(points)) < 3:
        return None, False
    return points, points[0] == points[-1]


def _lonlat(text: str) -> tuple[float, float]:
    """``lon,lat`` or ``lon,lat,alt``; ValueError for anything else."""
    lon, lat = (float(number) for number in text.split(",")[:2])
    if not (math.isfinite(lon) and math.isfinite(lat)):
        raise ValueError(text)
    return lon, lat


def _data(placemark: ET.Element) -> dict[str, str]:
    """ExtendedData, typed or not; a column that would hide name, folder or geometry gets ``data_`` before it."""
    values: dict[str, str] = {}
    for element in placemark.iterfind("{*}ExtendedData/{*}Data"):
        values[element.get("name", "")] = _text(element, "value")
    for element in placemark.iterfind("{*}ExtendedData/{*}SchemaData/{*}SimpleData"):
        values[element.get("name", "")] = (element.text or "").strip()
    taken = ("name", FOLDER, "geometry")
    return {f"data_{key}" if key.casefold() in taken else key: value for key, value in values.items() if key}


def _text(element: ET.Element, child: str) -> str:
    return (element.findtext(f"{{*}}{child}") or "").strip()


def _local(element: ET.Element) -> str:
    return element.tag.rpartition("}")[2]
