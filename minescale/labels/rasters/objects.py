"""Objects in a tile: what box and segment formats are made of, from a mask or from shapes that reach beyond the edge.

Coordinates are pixels: x to the right, y down, (0, 0) the outer corner of the first pixel, so that a polygon round
whole pixels has whole numbers and its area is their count.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import geopandas as gpd
import numpy as np
import shapely
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from shapely.geometry import Polygon, box

from minescale.errors import UsageError
from minescale.labels.rasters.placing import extent_of, near
from minescale.labels.shapes.polygons import Polygons

MIN_VISIBLE = 0.1
"""Share of an object that has to lie in the tile: a sliver at the edge shows nothing of what it belongs to."""
MIN_AREA_PX = 1.0


@dataclass(frozen=True, slots=True)
class Object:
    """One connected piece of a class in one tile."""

    value: int
    """Class value, 1 or more."""
    shape: Polygon
    """In pixels, within the tile; may have holes."""

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Left, top, right, bottom in pixels."""
        return self.shape.bounds

    @property
    def area(self) -> float:
        """In pixels, holes taken off."""
        return float(self.shape.area)


def objects_of_mask(mask: NDArray[np.uint8], values: Sequence[int]) -> list[Object]:
    """Connected pieces (pixels that share an edge) of each class in ``values``, in the order of their first pixel.

    Parameters
    ----------
    mask : uint8 (y, x).
    """
    from rasterio.features import shapes

    found = []
    for value in values:
        chosen = mask == value
        if not chosen.any():
            continue
        for geometry, _ in shapes(chosen.astype(np.uint8), mask=chosen, connectivity=4):
            rings = geometry["coordinates"]
            found.append(Object(value, shapely.orient_polygons(Polygon(rings[0], rings[1:]))))
    return found


def objects_of_shapes(
    shapes: Mapping[int, Polygons],
    geobox: GeoBox,
    *,
    min_visible: float = MIN_VISIBLE,
    min_area_px: float = MIN_AREA_PX,
) -> tuple[list[Object], int]:
    """Objects of a tile from polygons by class value, clipped at its edge.

    A polygon counts as one object until the edge cuts it into pieces. It is left out where less than ``min_visible``
    of its area, or less than ``min_area_px`` pixels, lie in the tile.

    Returns
    -------
    The objects, and how many polygons touched the tile and were left out.
    """
    height, width = geobox.shape
    kept: list[Object] = []
    dropped = 0
    extent = extent_of(geobox)
    for value, polygons in shapes.items():
        # Whole, and not only what lies in the tile: the share that shows is a share of all of it.
        for shape in gpd.GeoSeries(near(polygons, extent), crs=4326).to_crs(str(geobox.crs)):
            pixels = shapely.transform(shape, lambda xy: _to_pixels(xy, geobox))
            inside, left_out = clip(pixels, width, height, min_visible=min_visible, min_area_px=min_area_px)
            kept += [Object(value, piece) for piece in inside]
            dropped += left_out
    return kept, dropped


def clip(
    shape: shapely.Geometry, width: float, height: float, *, min_visible: float, min_area_px: float
) -> tuple[list[Polygon], bool]:
    """Pieces of a shape within a tile of ``width`` x ``height`` pixels, and whether a visible one was left out.

    Raises
    ------
    UsageError
        for a share that is none.
    """
    if not 0 <= min_visible <= 1:
        raise UsageError("min_visible is no share", got=min_visible, expected="0 to 1")
    inside = shapely.intersection(shapely.make_valid(shape), box(0, 0, width, height))
    pieces = [p for p in shapely.get_parts(inside) if isinstance(p, Polygon) and p.area > 0]
    visible = sum(piece.area for piece in pieces)
    if not pieces:
        return [], False
    if visible < min_visible * shape.area or visible < min_area_px:
        return [], True
    return [shapely.orient_polygons(piece) for piece in pieces], False


def ring_of(shape: Polygon) -> NDArray[np.float64]:
    """(vertex, 2) x and y of one closed line round a polygon, the first vertex not repeated.

    Box and segment formats have no holes. Each hole is joined to the outside by a cut of no width, there and back:
    what the cut adds cancels, in the even-odd rule as in the sum of signed areas, so holes stay holes.
    """
    ring = np.asarray(shape.exterior.coords)[:-1]
    for hole in shape.interiors:
        inner = np.asarray(hole.coords)[:-1]
        apart = np.hypot(*(ring[:, None] - inner).transpose(2, 0, 1))
        at, start = np.unravel_index(int(apart.argmin()), apart.shape)
        around = np.roll(inner, -start, axis=0)
        ring = np.concatenate([ring[: at + 1], around, around[:1], ring[at:]])
    return ring


def fill(rings: Sequence[NDArray[np.float64]], values: Sequence[int], shape: tuple[int, int]) -> NDArray[np.uint8]:
    """uint8 (y, x): the value of the last line that has the pixel's centre inside (even-odd rule), 0 where none has."""
    from rasterio.features import rasterize

    closed = [
        ({"type": "Polygon", "coordinates": [[*ring.tolist(), ring[0].tolist()]]}, value)
        for ring, value in zip(rings, values, strict=True)
    ]
    return np.asarray(rasterize(closed, out_shape=shape, dtype="uint8")) if closed else np.zeros(shape, np.uint8)


def _to_pixels(xy: NDArray[np.float64], geobox: GeoBox) -> NDArray[np.float64]:
    x, y = ~geobox.affine * (xy[:, 0], xy[:, 1])
    return np.column_stack([x, y])
