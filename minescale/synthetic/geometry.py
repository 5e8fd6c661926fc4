"""Where a region's pixels lie: the area of interest, the ground lattice, and two tiles in their own UTM zones.

The landscape lives on the *ground* lattice (10 m, the CRS and pixels of the mosaic grid over the area of interest,
with a margin). A tile is a window of a real-looking granule; where its zone differs from the ground's, its pixels
look their ground pixel up through a cubic polynomial.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pyproj
from affine import Affine
from numpy.typing import NDArray
from shapely import segmentize, transform
from shapely.geometry import Polygon, box

from minescale.grid import MosaicGrid, auto_crs
from minescale.synthetic.spec import RegionSpec
from minescale.types import BBox

RES = 10
SNAP = 60
"""Granule origins are multiples of 60 m, so that 10, 20 and 60 m pixels nest."""

OVERLAP_M = 1200.0
"""Ground seen by both tiles along their common border."""

MARGIN_M = 150.0
"""Ground beyond the area of interest on the outer sides."""

_TERMS = tuple((i, j) for i in range(4) for j in range(4 - i))


@dataclass(frozen=True, slots=True, kw_only=True)
class TileFrame:
    """One granule's lattice."""

    mgrs: str
    crs: str
    left: float
    top: float
    shape: tuple[int, int]
    """(y, x) in 10 m pixels; both even."""
    to_ground: tuple[tuple[float, ...], tuple[float, ...]]
    """Coefficients for ground row and column as cubic polynomials of row and column in units of 1000 pixels."""

    def transform(self, resolution: int) -> Affine:
        return Affine(resolution, 0, self.left, 0, -resolution, self.top)

    @property
    def outline(self) -> Polygon:
        """The tile in its own CRS."""
        outline: Polygon = box(self.left, self.top - self.shape[0] * RES, self.left + self.shape[1] * RES, self.top)
        return outline

    def ground(self, rows: NDArray[np.float64], cols: NDArray[np.float64]) -> tuple[NDArray, NDArray]:
        """Ground (row, col) of tile positions, both in pixels; whole numbers are pixel centres."""
        return _evaluate(self.to_ground[0], rows, cols), _evaluate(self.to_ground[1], rows, cols)


@dataclass(frozen=True, slots=True, kw_only=True)
class Geometry:
    bbox: BBox
    grid: MosaicGrid
    """The 10 m lattice of the area of interest: the truth rasters' lattice."""
    ground_left: float
    ground_top: float
    ground_shape: tuple[int, int]
    tiles: tuple[TileFrame, TileFrame]

    @property
    def aoi(self) -> tuple[slice, slice]:
        """The area of interest inside the ground lattice, (y, x)."""
        row = round((self.ground_top - self.grid.top) / RES)
        col = round((self.grid.left - self.ground_left) / RES)
        return slice(row, row + self.grid.shape[0]), slice(col, col + self.grid.shape[1])


def lay_out(spec: RegionSpec) -> Geometry:
    """The geometry of a region; a pure function of the spec's place and size."""
    bbox = _area(spec)
    crs = auto_crs(bbox)
    grid = MosaicGrid.around(bbox, crs=crs, resolution=RES, tile_size=512)
    border = round((bbox.center[0] + 180) / 6) * 6 - 180
    quarter = bbox.width / 4
    split = border if bbox.west + quarter < border < bbox.east - quarter else bbox.center[0]
    # Degrees of longitude that half the overlap, and the margin, measure at this latitude.
    metre = 1.0 / (111_320.0 * math.cos(math.radians(spec.lat)))
    halves = (
        BBox(bbox.west, bbox.south, split + OVERLAP_M / 2 * metre, bbox.north),
        BBox(split - OVERLAP_M / 2 * metre, bbox.south, bbox.east, bbox.north),
    )
    sides = [(bbox.west + split) / 2, (split + bbox.east) / 2]
    zones = [_zone_crs(lon, spec.lat) for lon in sides]
    frames = [_bounds(half, zone) for half, zone in zip(halves, zones, strict=True)]
    boxes = [_projected(box(*f), zone, crs).bounds for f, zone in zip(frames, zones, strict=True)]
    step = 8 * RES
    left = grid.left - math.ceil(max(grid.left - min(b[0] for b in boxes) + 2 * RES, 0) / step) * step
    top = grid.top + math.ceil(max(max(b[3] for b in boxes) + 2 * RES - grid.top, 0) / step) * step
    right = max(*(b[2] for b in boxes), grid.left + grid.shape[1] * RES) + 2 * RES
    bottom = min(*(b[1] for b in boxes), grid.top - grid.shape[0] * RES) - 2 * RES
    shape = (math.ceil((top - bottom) / step) * 8, math.ceil((right - left) / step) * 8)
    names = _mgrs_names(frames, zones, spec.lat)
    tiles = tuple(
        TileFrame(
            mgrs=name,
            crs=zone,
            left=f[0],
            top=f[3],
            shape=(round((f[3] - f[1]) / RES), round((f[2] - f[0]) / RES)),
            to_ground=_fit(f, zone, crs, left, top),
        )
        for f, zone, name in zip(frames, zones, names, strict=True)
    )
    return Geometry(
        bbox=bbox, grid=grid, ground_left=left, ground_top=top, ground_shape=shape, tiles=(tiles[0], tiles[1])
    )


def _area(spec: RegionSpec) -> BBox:
    """The lon/lat box of the wished size round the centre."""
    geod = pyproj.Geod(ellps="WGS84")
    east, _, _ = geod.fwd(spec.lon, spec.lat, 90, spec.width_px * RES / 2)
    _, north, _ = geod.fwd(spec.lon, spec.lat, 0, spec.height_px * RES / 2)
    half_x, half_y = (east - spec.lon) % 360, north - spec.lat
    west = (spec.lon - half_x + 180) % 360 - 180
    return BBox(round(west, 6), round(spec.lat - half_y, 6), round(west + 2 * half_x, 6), round(spec.lat + half_y, 6))


def _zone_crs(lon: float, lat: float) -> str:
    zone = min(int((lon + 180) // 6) + 1, 60)
    return f"EPSG:{(32600 if lat >= 0 else 32700) + zone}"


def _projected(shape: Polygon, source: str, target: str) -> Polygon:
    transformer = pyproj.Transformer.from_crs(source, target, always_xy=True)
    step = max(shape.bounds[2] - shape.bounds[0], shape.bounds[3] - shape.bounds[1]) / 32
    projected: Polygon = transform(segmentize(shape, step), transformer.transform, interleaved=False)
    return projected


def lonlat(shape: Polygon, crs: str) -> Polygon:
    """A polygon in degrees, its edges densified."""
    return _projected(shape, crs, "EPSG:4326")


def _bounds(half: BBox, crs: str) -> tuple[float, float, float, float]:
    """(left, bottom, right, top) of the tile over ``half`` in whole granule steps."""
    xmin, ymin, xmax, ymax = _projected(box(*half.as_tuple()), "EPSG:4326", crs).bounds
    down = [math.floor((v - MARGIN_M) / SNAP) * SNAP for v in (xmin, ymin)]
    up = [math.ceil((v + MARGIN_M) / SNAP) * SNAP for v in (xmax, ymax)]
    return (float(down[0]), float(down[1]), float(up[0]), float(up[1]))


def _evaluate(coefficients: tuple[float, ...], rows: NDArray, cols: NDArray) -> NDArray[np.float64]:
    r, c = np.asarray(rows) / 1000.0, np.asarray(cols) / 1000.0
    # Powers by multiplication: numpy's general power is ten times slower.
    powers = [(np.ones_like(v), v, v * v, v * v * v) for v in (r, c)]
    total = np.zeros(np.broadcast_shapes(r.shape, c.shape))
    for (i, j), k in zip(_TERMS, coefficients, strict=True):
        total += (k * powers[0][i]) * powers[1][j]
    return total


def _fit(
    frame: tuple[float, ...], zone: str, crs: str, left: float, top: float
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Least squares on a 24 x 24 lattice; good to a thousandth of a pixel over 60 km."""
    rows, cols = np.meshgrid(
        np.linspace(0, (frame[3] - frame[1]) / RES - 1, 24),
        np.linspace(0, (frame[2] - frame[0]) / RES - 1, 24),
        indexing="ij",
    )
    x, y = frame[0] + (cols.ravel() + 0.5) * RES, frame[3] - (rows.ravel() + 0.5) * RES
    gx, gy = pyproj.Transformer.from_crs(zone, crs, always_xy=True).transform(x, y)
    design = np.column_stack([(rows.ravel() / 1000) ** i * (cols.ravel() / 1000) ** j for i, j in _TERMS])
    targets = ((top - np.asarray(gy)) / RES - 0.5, (np.asarray(gx) - left) / RES - 0.5)
    fits = [tuple(float(round(v, 9)) for v in np.linalg.lstsq(design, t, rcond=None)[0]) for t in targets]
    return fits[0], fits[1]


def _mgrs_names(frames: list[tuple[float, float, float, float]], zones: list[str], lat: float) -> list[str]:
    """Names of the 100 km squares the tile centres lie in; a shared square's second tile takes the next column."""
    names: list[str] = []
    for (left, bottom, right, top), crs in zip(frames, zones, strict=True):
        zone = int(crs[-2:])
        latitude_band = "CDEFGHJKLMNPQRSTUVWX"[min(int((lat + 80) // 8), 19)]
        columns = ("STUVWXYZ", "ABCDEFGH", "JKLMNPQR")[zone % 3]
        letters = "ABCDEFGHJKLMNPQRSTUV"
        column = min(max(int((left + right) / 2 // 100_000) - 1, 0), 7)
        row = letters[(int((bottom + top) / 2 // 100_000) + (0 if zone % 2 else 5)) % 20]
        name = f"{zone:02d}{latitude_band}{columns[column]}{row}"
        if name in names:
            name = f"{zone:02d}{latitude_band}{columns[(column + 1) % 8]}{row}"
        names.append(name)
    return names
