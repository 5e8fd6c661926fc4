"""Places to cut imagery for: a table of coordinates or boxes in, exact pixel windows in local UTM zones out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyproj
import shapely
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from shapely.geometry.base import BaseGeometry

from minescale.errors import UsageError
from minescale.grid import auto_crs, project_bbox
from minescale.labels.sets.chips import check_id
from minescale.types import BBox

Edge = Literal["skip", "pad"]
FORMS = ("crs, left, top, side_m", "lon, lat, side_m", "west, south, east, north")
"""Columns that say where a place is; of a table with several of them, the first counts."""
_BOX = ("west", "south", "east", "north")
_MOST_PX = 8192
"""A window beyond this is a map, not a sample: scan it."""
_HILBERT_BITS = 16
_AT_ONCE = 10_000
"""Windows whose edges are turned to degrees together."""

Anchor = Callable[[str], tuple[float, float]]
"""Corner (x, y) of the scenes' pixel lattice in a CRS."""


@dataclass(frozen=True, slots=True)
class Windows:
    """One pixel window per place, north up, in the order of the table."""

    ids: tuple[str, ...]
    crs: tuple[str, ...]
    left: NDArray[np.float64]
    top: NDArray[np.float64]
    shape: NDArray[np.int64]
    """(place, 2) rows and columns."""
    pixel: float
    """Edge in metres."""

    def __len__(self) -> int:
        return len(self.ids)

    def geobox(self, i: int) -> GeoBox:
        rows, cols = (int(n) for n in self.shape[i])
        return GeoBox((rows, cols), Affine(self.pixel, 0, self.left[i], 0, -self.pixel, self.top[i]), self.crs[i])

    def bounds(self) -> NDArray[np.float64]:
        """(place, 4) west, south, east, north in degrees, a little wide; east runs on past 180 where a window does."""
        parts = [self._bounds(slice(i, i + _AT_ONCE)) for i in range(0, len(self), _AT_ONCE)]
        return np.concatenate(parts)

    def _bounds(self, part: slice) -> NDArray[np.float64]:
        steps = np.linspace(0, 1, 9)
        ring = np.array([(u, v) for u in steps for v in steps if u in {0, 1} or v in {0, 1}])
        height, width = (self.shape[part, k] * self.pixel for k in (0, 1))
        x = self.left[part, None] + ring[:, 0] * width[:, None]
        y = self.top[part, None] - ring[:, 1] * height[:, None]
        lon, lat = _lonlat(self.crs[part], x, y)
        lon = lon[:, :1] + (lon - lon[:, :1] + 180) % 360 - 180
        low, high = lat.min(axis=1), lat.max(axis=1)
        margin = (high - low) / 50
        return np.stack(
            [
                lon.min(axis=1) - margin,
                np.maximum(low - margin, -90),
                lon.max(axis=1) + margin,
                np.minimum(high + margin, 90),
            ],
            axis=1,
        )


def lay_windows(
    places: pd.DataFrame, *, pixel: float, snap: float, anchor: Anchor, side_m: float | None = None
) -> Windows:
    """The window of every place.

    A place given by its middle gets a square of ``side_m`` metres, rounded to whole pixels, in the UTM zone that it
    lies in (an equal-area system beyond 84° N and 80° S). A box of longitude and latitude gets the smallest window of
    whole pixels that holds it. Both begin on a multiple of ``snap`` from ``anchor``, so that pixels are the scenes'
    own: the middle moves by at most half of that.

    Parameters
    ----------
    places : column ``id`` and one of :data:`FORMS`; further columns do not matter.
    pixel : edge in metres.
    snap : metres; a multiple of ``pixel``.
    side_m : of places without a column of that name.

    Raises
    ------
    UsageError
        for a table that says neither, ids that repeat or cannot name files, or windows of no or too many pixels.
    """
    ids = tuple(check_id(str(name)) for name in _column(places, "id"))
    repeated = pd.Series(ids)[pd.Series(ids).duplicated()].unique()
    if len(repeated):
        raise UsageError("ids of places repeat", got=", ".join(repeated[:5]), expected="one each")
    if not ids:
        raise UsageError("no place is given", expected="a table with at least one row")
    if {"crs", "left", "top"} <= set(places):
        crs = tuple(str(code) for code in places["crs"])
        left, top = (places[name].to_numpy(np.float64) for name in ("left", "top"))
        count = _pixels(_sides(places, side_m), pixel)
        shape = np.stack([count, count], axis=1)
    elif set(_BOX) <= set(places) and not {"lon", "lat", "side_m"} <= set(places):
        crs, left, top, shape = _around_boxes(places, pixel, snap, anchor)
    elif {"lon", "lat"} <= set(places):
        crs, left, top = _round_middles(places, _sides(places, side_m), snap, anchor)
        count = _pixels(_sides(places, side_m), pixel)
        shape = np.stack([count, count], axis=1)
    else:
        raise UsageError("places do not say where they are", got=", ".join(places), expected=" or ".join(FORMS))
    if shape.max() > _MOST_PX or shape.min() < 1:
        worst = int(np.argmax(shape.max(axis=1)) if shape.max() > _MOST_PX else np.argmin(shape.min(axis=1)))
        raise UsageError(
            f"window of place {ids[worst]} is too large or empty",
            got=f"{shape[worst, 0]} x {shape[worst, 1]} pixels of {pixel:g} m",
            expected=f"1 to {_MOST_PX} along an edge",
            fix="a smaller side_m, a coarser resolution, or minescale scan for whole areas",
        )
    return Windows(ids, crs, left, top, shape, pixel)


def middles(places: pd.DataFrame, windows: Windows) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Longitude and latitude of each place: its own where the table says, else the middle of its window."""
    if {"lon", "lat"} <= set(places):
        return places["lon"].to_numpy(np.float64), places["lat"].to_numpy(np.float64)
    x = windows.left + windows.shape[:, 1] * windows.pixel / 2
    y = windows.top - windows.shape[:, 0] * windows.pixel / 2
    return _lonlat(windows.crs, x, y)


def along_curve(lon: NDArray[np.float64], lat: NDArray[np.float64]) -> NDArray[np.intp]:
    """Places in an order in which neighbours follow each other: along a Hilbert curve over the globe.

    The curve visits cells of about 600 m (Skilling, "Programming the Hilbert curve", 2004, in two dimensions).
    """
    cells = 1 << _HILBERT_BITS
    x = np.clip((lon + 180) / 360 * cells, 0, cells - 1).astype(np.int64)
    y = np.clip((lat + 90) / 180 * cells, 0, cells - 1).astype(np.int64)
    position = np.zeros(len(x), np.int64)
    step = cells >> 1
    while step:
        right, upper = (x & step) > 0, (y & step) > 0
        position += step * step * ((3 * right) ^ upper)
        # Turn the quarter so that the curve leaves it where the next one begins.
        flip = ~upper & right
        x, y = np.where(flip, step - 1 - (x & (step - 1)), x), np.where(flip, step - 1 - (y & (step - 1)), y)
        x, y = np.where(~upper, y, x), np.where(~upper, x, y)
        step >>= 1
    return np.argsort(position, kind="stable")


def search_boxes(windows: Windows, *, most_square_degrees: float = 400.0) -> list[BBox]:
    """Boxes to search a catalogue in: one round all places, or one per 6° x 6° where they are strewn over the globe."""
    bounds = windows.bounds()
    whole = _union(bounds)
    if whole.width * (whole.north - whole.south) <= most_square_degrees:
        return [whole]
    cells = np.floor((bounds[:, :2] + bounds[:, 2:]) / 2 / 6).astype(np.int64)
    return [_union(bounds[(cells == cell).all(axis=1)]) for cell in np.unique(cells, axis=0)]


def tile_area(
    area: BBox,
    *,
    side_m: float = 7680.0,
    pixel: float = 10.0,
    edge: Edge = "skip",
    within: BaseGeometry | None = None,
    anchor: Anchor = lambda crs: (0.0, 0.0),  # noqa: ARG005
) -> pd.DataFrame:
    """Places that tile an area without gap or overlap, in one CRS: ``id``, ``crs``, ``left``, ``top``, ``side_m``.

    The default side holds 768 pixels of 10 m, 384 of 20 m and 128 of 60 m.

    Parameters
    ----------
    edge : what becomes of tiles that stick out of the area in the south and east: left out, or kept whole.
    within : longitude/latitude polygon; tiles that do not touch its interior are left out.

    Raises
    ------
    UsageError
        where no tile is left.
    """
    crs = auto_crs(area)
    xmin, ymin, xmax, ymax = project_bbox(area, crs).bounds
    ax, ay = anchor(crs)
    left, top = _snapped(xmin, ax, pixel, np.floor), _snapped(ymax, ay, pixel, np.ceil)
    rows, cols = (int(np.ceil(length / side_m)) for length in (top - ymin, xmax - left))
    shape = None
    if within is not None:
        transformer = pyproj.Transformer.from_crs(4326, crs, always_xy=True)
        dense = shapely.segmentize(within, 0.05)
        shape = shapely.transform(dense, lambda xy: np.column_stack(transformer.transform(xy[:, 0], xy[:, 1])))
    kept = []
    for row in range(rows):
        for col in range(cols):
            west, north = left + col * side_m, top - row * side_m
            cut = west + side_m > xmax + pixel or north - side_m < ymin - pixel
            if edge == "skip" and cut:
                continue
            tile = shapely.box(west, north - side_m, west + side_m, north)
            if shape is not None and (not shape.intersects(tile) or shape.touches(tile)):
                continue
            kept.append({"id": f"r{row:03d}_c{col:03d}", "crs": crs, "left": west, "top": north, "side_m": side_m})
    if not kept:
        raise UsageError(
            "no whole tile fits into the area",
            got=f"{(xmax - xmin) / 1000:.2f} x {(ymax - ymin) / 1000:.2f} km, tiles of {side_m / 1000:g} km",
            fix="a larger area, a smaller side, or edge='pad'",
        )
    return pd.DataFrame(kept)


def batches(order: NDArray[np.intp], size: int) -> Iterator[NDArray[np.intp]]:
    """Runs of neighbours, at most ``size`` each."""
    for first in range(0, len(order), size):
        yield order[first : first + size]


def _column(places: pd.DataFrame, name: str) -> Any:
    if name not in places:
        raise UsageError(f"places lack the column {name}", got=", ".join(places), expected=f"{name}, and {FORMS[1]}")
    return places[name]


def _sides(places: pd.DataFrame, side_m: float | None) -> NDArray[np.float64]:
    if "side_m" in places:
        sides = places["side_m"].to_numpy(np.float64)
    elif side_m is not None:
        sides = np.full(len(places), float(side_m))
    else:
        raise UsageError("places do not say how large they are", got=", ".join(places), expected="side_m")
    if not (sides > 0).all():
        raise UsageError("a place has no size", got=float(np.nanmin(sides)), expected="side_m above 0")
    return sides


def _pixels(sides: NDArray[np.float64], pixel: float) -> NDArray[np.int64]:
    return np.floor(sides / pixel + 0.5).astype(np.int64)


def _round_middles(
    places: pd.DataFrame, sides: NDArray[np.float64], snap: float, anchor: Anchor
) -> tuple[tuple[str, ...], NDArray[np.float64], NDArray[np.float64]]:
    lon, lat = (places[name].to_numpy(np.float64) for name in ("lon", "lat"))
    wrong = ~((np.abs(lon) <= 180) & (np.abs(lat) <= 90))
    if wrong.any():
        bad: Mapping[Any, Any] = places.iloc[int(np.argmax(wrong))].to_dict()
        raise UsageError(
            f"place {bad['id']} lies nowhere on Earth",
            got=f"lon {bad['lon']}, lat {bad['lat']}",
            expected="degrees, longitude within ±180, latitude within ±90",
            fix="swap lon and lat" if abs(float(bad["lat"])) <= 180 and abs(float(bad["lon"])) <= 90 else None,
        )
    tiny = 1e-6
    crs = tuple(
        auto_crs(BBox(max(x - tiny, -180), max(y - tiny, -90), min(x + tiny, 180), min(y + tiny, 90)))
        for x, y in zip(lon, lat, strict=True)
    )
    left, top = np.empty(len(lon)), np.empty(len(lon))
    codes = np.array(crs)
    for code in sorted(set(crs)):
        here = codes == code
        x, y = pyproj.Transformer.from_crs(4326, code, always_xy=True).transform(lon[here], lat[here])
        ax, ay = anchor(code)
        left[here] = _snapped(x - sides[here] / 2, ax, snap, np.round)
        top[here] = _snapped(y + sides[here] / 2, ay, snap, np.round)
    return crs, left, top


def _around_boxes(
    places: pd.DataFrame, pixel: float, snap: float, anchor: Anchor
) -> tuple[tuple[str, ...], NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    crs, left, top, shape = [], [], [], []
    for west, south, east, north in places[list(_BOX)].to_numpy(np.float64):
        box = BBox(west, south, east, north)
        code = auto_crs(box)
        xmin, ymin, xmax, ymax = project_bbox(box, code).bounds
        ax, ay = anchor(code)
        x, y = _snapped(xmin, ax, snap, np.floor), _snapped(ymax, ay, snap, np.ceil)
        crs.append(code)
        left.append(x)
        top.append(y)
        shape.append([np.ceil((y - ymin) / pixel - 1e-6), np.ceil((xmax - x) / pixel - 1e-6)])
    return tuple(crs), np.array(left), np.array(top), np.array(shape).astype(np.int64)


def _snapped(values: Any, anchor: float, step: float, rounding: Callable[[Any], Any]) -> Any:
    return anchor + rounding(np.round((values - anchor) / step, 6)) * step


def _lonlat(crs: tuple[str, ...], x: Any, y: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Degrees of coordinates (place, ...) in each place's CRS."""
    lon, lat = np.empty(np.shape(x)), np.empty(np.shape(x))
    codes = np.array(crs)
    for code in sorted(set(crs)):
        here = codes == code
        lon[here], lat[here] = pyproj.Transformer.from_crs(code, 4326, always_xy=True).transform(x[here], y[here])
    return lon, lat


def _union(bounds: NDArray[np.float64]) -> BBox:
    """The smallest box round all, across the antimeridian where one of them is."""
    west, south, east, north = bounds[:, 0], bounds[:, 1], bounds[:, 2], bounds[:, 3]
    if (east > 180).any() or (west < -180).any():
        start = west % 360
        west, east = start, start + (east - west)
    if east.max() - west.min() >= 360:
        return BBox(-180, south.min(), 180, north.max())
    wrapped = [(float(lon) + 180) % 360 - 180 for lon in (west.min(), east.max())]
    return BBox(wrapped[0], float(south.min()), wrapped[1], float(north.max()))
