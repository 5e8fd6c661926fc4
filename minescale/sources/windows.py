"""Which overview, which window: plain geometry, no I/O."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pyproj
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

RESOLUTION_TOLERANCE = 0.01
"""An overview up to 1 % coarser than asked for still serves: ceil-rounded overview sizes bend pixel sizes a little."""
PIXEL_TOLERANCE = 0.01
"""Two grids are one where their pixels part by less than this share of a pixel, anywhere in the window."""
_EDGE_POINTS = 17
_KERNEL_RADIUS = {"nearest": 1, "bilinear": 1, "cubic": 2}


@dataclass(frozen=True, slots=True)
class Window:
    """Rows and columns [start, stop) of an image."""

    row0: int
    row1: int
    col0: int
    col1: int

    @property
    def shape(self) -> tuple[int, int]:
        return (self.row1 - self.row0, self.col1 - self.col0)

    @property
    def empty(self) -> bool:
        return self.row1 <= self.row0 or self.col1 <= self.col0

    def clip(self, shape: tuple[int, int]) -> Window:
        """The part inside an image of ``shape`` (y, x)."""
        return Window(max(self.row0, 0), min(self.row1, shape[0]), max(self.col0, 0), min(self.col1, shape[1]))

    def clip_to(self, other: Window) -> Window:
        """The part inside another window."""
        return Window(
            max(self.row0, other.row0),
            min(self.row1, other.row1),
            max(self.col0, other.col0),
            min(self.col1, other.col1),
        )

    def covers(self, other: Window) -> bool:
        return other.clip_to(self) == other

    def within(self, outer: Window) -> tuple[slice, slice]:
        """Slices of this window in an array of ``outer``, which holds it."""
        return (
            slice(self.row0 - outer.row0, self.row1 - outer.row0),
            slice(self.col0 - outer.col0, self.col1 - outer.col0),
        )


@lru_cache(maxsize=256)
def same_crs(a: str, b: str) -> bool:
    """Whether two CRS texts mean one CRS."""
    return a == b or bool(pyproj.CRS.from_user_input(a) == pyproj.CRS.from_user_input(b))


@lru_cache(maxsize=256)
def _transformer(source: str, target: str) -> pyproj.Transformer:
    return pyproj.Transformer.from_crs(source, target, always_xy=True)


def crs_text(geobox: GeoBox) -> str:
    """The geobox's CRS as an authority code where it has one, else WKT."""
    crs = geobox.crs
    if crs is None:
        raise ValueError("geobox without a CRS")  # minescale's own grids always have one
    return f"EPSG:{crs.epsg}" if crs.epsg else str(crs.to_wkt())


def centre_longitude(geobox: GeoBox) -> float:
    """Longitude of the geobox's centre, in degrees."""
    rows, cols = geobox.shape.yx
    x, y = geobox.affine * (cols / 2, rows / 2)
    return float(_transformer(crs_text(geobox), "EPSG:4326").transform(x, y)[0])


def same_grid(transform: Affine, geobox: GeoBox) -> tuple[int, int] | None:
    """(row, column) of the image pixel under the geobox's first pixel, where both share one lattice; else None.

    The CRS is taken to be the same.
    """
    to_image = ~transform * geobox.affine
    rows, cols = geobox.shape.yx
    corners = [to_image * (x, y) for x, y in ((0, 0), (cols, 0), (0, rows), (cols, rows))]
    col0, row0 = (round(v) for v in corners[0])
    wanted = [(col0 + x, row0 + y) for x, y in ((0, 0), (cols, 0), (0, rows), (cols, rows))]
    for (x, y), (wx, wy) in zip(corners, wanted, strict=True):
        if abs(x - wx) > PIXEL_TOLERANCE or abs(y - wy) > PIXEL_TOLERANCE:
            return None
    return row0, col0


def to_image_pixels(geobox: GeoBox, crs: str, transform: Affine) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Image columns and rows of a net of points over the geobox; points without a position are NaN."""
    rows, cols = geobox.shape.yx
    along_x, along_y = (np.linspace(0, n, _EDGE_POINTS, dtype=np.float64) for n in (cols, rows))
    return _image_positions(geobox, crs, transform, along_x, along_y)


def centres_in_image(
    geobox: GeoBox, crs: str, transform: Affine, step: int, *, middles: bool = False
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Image columns and rows of the centres of every ``step``-th target pixel, past the last one; or of the middles
    of the cells between those."""
    ny, nx = geobox.shape.yx
    counts = [max(-(-(n - 1) // step), 1) + 1 for n in (ny, nx)]
    along_y, along_x = (np.arange(n, dtype=np.float64) * step + 0.5 for n in counts)
    if middles:
        along_y, along_x = along_y[:-1] + step / 2, along_x[:-1] + step / 2
    # A centre that falls on an edge between two pixels must fall to the same side whatever the rounding noise.
    cols, rows = _image_positions(geobox, crs, transform, along_x, along_y)
    return cols + 1e-6, rows + 1e-6


def _image_positions(
    geobox: GeoBox, crs: str, transform: Affine, along_x: NDArray[np.float64], along_y: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Image columns and rows of the net of target positions (pixel edges whole) ``along_x`` x ``along_y``."""
    xs, ys = np.meshgrid(along_x, along_y)
    affine = geobox.affine
    x, y = affine.a * xs + affine.b * ys + affine.c, affine.d * xs + affine.e * ys + affine.f
    target = crs_text(geobox)
    if not same_crs(target, crs):
        x, y = _transformer(target, crs).transform(x.ravel(), y.ravel())
        x, y = np.asarray(x).reshape(xs.shape), np.asarray(y).reshape(xs.shape)
    good = np.isfinite(x) & np.isfinite(y)
    x, y = np.where(good, x, np.nan), np.where(good, y, np.nan)
    inverse = ~transform
    return inverse.a * x + inverse.b * y + inverse.c, inverse.d * x + inverse.e * y + inverse.f


def source_window(geobox: GeoBox, crs: str, transform: Affine, shape: tuple[int, int], resampling: str) -> Window:
    """The image window that a warp onto ``geobox`` needs, with the kernel's margin; empty where they do not meet."""
    cols, rows = to_image_pixels(geobox, crs, transform)
    if not np.isfinite(cols).any():
        return Window(0, 0, 0, 0)
    scale = max(1.0, *_scales(cols, rows, geobox))
    margin = math.ceil(_KERNEL_RADIUS[resampling] * scale) + 1
    exact = Window(
        math.floor(np.nanmin(rows)),
        math.ceil(np.nanmax(rows)),
        math.floor(np.nanmin(cols)),
        math.ceil(np.nanmax(cols)),
    )
    if exact.clip(shape).empty:
        return Window(0, 0, 0, 0)
    return Window(exact.row0 - margin, exact.row1 + margin, exact.col0 - margin, exact.col1 + margin).clip(shape)


def _scales(cols: NDArray[np.float64], rows: NDArray[np.float64], geobox: GeoBox) -> tuple[float, float]:
    """Image pixels per target pixel, along the target's columns and rows (medians over the net)."""
    ny, nx = (max(n, 1) for n in geobox.shape.yx)
    along_x = np.hypot(np.diff(cols, axis=1), np.diff(rows, axis=1)) * (_EDGE_POINTS - 1) / nx
    along_y = np.hypot(np.diff(cols, axis=0), np.diff(rows, axis=0)) * (_EDGE_POINTS - 1) / ny
    return (_median(along_x), _median(along_y))


def _median(values: NDArray[np.float64]) -> float:
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if finite.size else 1.0


def pixels_per_target(geobox: GeoBox, crs: str, transform: Affine) -> float:
    """How many full-resolution image pixels go along one target pixel (the smaller of both directions)."""
    cols, rows = to_image_pixels(geobox, crs, transform)
    return min(_scales(cols, rows, geobox))


def pick_overview(factors: Sequence[int], ratio: float) -> int | None:
    """Index of the coarsest overview whose pixels are no larger than the target's; None = full resolution.

    ``factors`` are the overviews' decimation factors, rising; ``ratio`` is the target's pixel size in
    full-resolution pixels.
    """
    best = None
    for index, factor in enumerate(factors):
        if factor <= ratio * (1 + RESOLUTION_TOLERANCE):
            best = index
    return best


def blocks(window: Window, block_shape: tuple[int, int]) -> list[tuple[int, int]]:
    """(row, column) of every block a window touches."""
    if window.empty:
        return []
    height, width = block_shape
    return [
        (row, col)
        for row in range(window.row0 // height, (window.row1 - 1) // height + 1)
        for col in range(window.col0 // width, (window.col1 - 1) // width + 1)
    ]
