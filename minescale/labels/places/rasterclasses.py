"""Classes of a raster map, such as land cover or built-up ground, asked about window by window."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import shapely
from affine import Affine
from numpy.typing import NDArray

from minescale.errors import StoreError, UsageError
from minescale.labels.cells.grid import Floats
from minescale.labels.cells.sampling import Reservoir

KNOWN_SHARE = 0.5
"""Share of a window that the map has to know for its answer to count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RasterClasses:
    """Which pixels of a raster map are meant: those of some values, or those from a number on."""

    path: Path
    values: tuple[int, ...] = ()
    at_least: float | None = None
    """For maps of amounts: built-up share, people per pixel."""
    band: int = 1

    def __post_init__(self) -> None:
        if bool(self.values) == (self.at_least is not None):
            raise UsageError(
                f"pixels of {self.path.name} are chosen by values or by a least amount",
                got=f"values {self.values}, at least {self.at_least}",
                expected="one of the two",
            )

    def hits(self, pixels: NDArray[Any]) -> NDArray[np.bool_]:
        """Which pixels are meant."""
        if self.at_least is not None:
            return np.asarray(pixels >= self.at_least)
        return np.isin(pixels, self.values)

    def shares(self, shapes: NDArray[np.object_]) -> Floats:
        """Share of each shape's known pixels that are meant; NaN where the map knows less than half of it.

        Parameters
        ----------
        shapes : polygons in EPSG:4326. A pixel belongs to one that its middle lies in.

        Raises
        ------
        StoreError
            where the raster cannot be read.
        """
        result = np.full(len(shapes), np.nan)
        with self._open() as source:
            there = pyproj.Transformer.from_crs(4326, source.crs, always_xy=True)
            placed = shapely.transform(
                shapely.segmentize(shapes, 0.01), lambda p: np.column_stack(there.transform(p[:, 0], p[:, 1]))
            )
            for i, shape in enumerate(placed):
                if np.isfinite(shape.bounds).all():
                    result[i] = self._share(source, shape)
        return result

    def _share(self, source: Any, shape: shapely.Geometry) -> float:
        """As :meth:`shares`, of one shape in the raster's CRS."""
        from rasterio.features import rasterize

        west, south, east, north = shape.bounds
        corners = [
            ~source.transform * corner for corner in ((west, south), (west, north), (east, south), (east, north))
        ]
        cols, rows = np.array(corners).T
        (left, top), (right, bottom) = np.floor([cols.min(), rows.min()]), np.ceil([cols.max(), rows.max()])
        # The whole frame is drawn, so that ground beyond the raster counts as not known.
        inside = rasterize(
            [shape],
            out_shape=(int(bottom - top), int(right - left)),
            transform=source.transform @ Affine.translation(left, top),
        ).astype(bool)
        first_row, last_row = np.clip([top, bottom], 0, source.height).astype(int)
        first_col, last_col = np.clip([left, right], 0, source.width).astype(int)
        if first_row >= last_row or first_col >= last_col:
            return float("nan")
        pixels = source.read(self.band, window=((first_row, last_row), (first_col, last_col)), masked=True)
        y, x = first_row - int(top), first_col - int(left)
        known = inside[y : y + pixels.shape[0], x : x + pixels.shape[1]] & ~np.ma.getmaskarray(pixels)
        if known.sum() < max(KNOWN_SHARE * inside.sum(), 1):
            return float("nan")
        return float(self.hits(pixels.data)[known].mean())

    def draw(self, n: int, rng: np.random.Generator) -> tuple[Floats, Floats, int]:
        """At most ``n`` random pixels that are meant, uniform among them, in one pass over the raster's blocks.

        Returns
        -------
        lon, lat : degrees, of the pixels' middles.
        meant : how many such pixels there are.
        """
        from rasterio.transform import xy

        reservoir: Reservoir[int] = Reservoir(n, rng)
        with self._open() as source:
            for _, window in source.block_windows(self.band):
                pixels = source.read(self.band, window=window, masked=True)
                meant = self.hits(pixels.data) & ~np.ma.getmaskarray(pixels)
                row, col = np.nonzero(meant)
                flat = (row + int(window.row_off)) * source.width + col + int(window.col_off)
                reservoir.offer(flat.tolist())
            rows, cols = np.divmod(np.array(reservoir.items, np.int64), source.width)
            x, y = (np.asarray(v, np.float64) for v in xy(source.transform, rows, cols))
            lon, lat = pyproj.Transformer.from_crs(source.crs, 4326, always_xy=True).transform(x, y)
        return np.atleast_1d(lon), np.atleast_1d(lat), reservoir.seen

    @contextmanager
    def _open(self) -> Iterator[Any]:
        import rasterio
        from rasterio.errors import RasterioError

        try:
            with rasterio.open(self.path) as source:
                if source.crs is None:
                    raise UsageError(f"{self.path.name} says no CRS", expected="a georeferenced raster")
                if not 1 <= self.band <= source.count:
                    raise UsageError(f"{self.path.name} has no band {self.band}", expected=f"1 to {source.count}")
                yield source
        except (OSError, RasterioError) as error:
            raise StoreError(f"cannot read {self.path}", got=error, expected="a raster that GDAL reads") from error
