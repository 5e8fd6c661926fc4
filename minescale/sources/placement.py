"""How a window of an image lands on a GeoBox: as it is, by look-up, or by a warp.

A placement depends on geometry alone. Scenes of one granule share theirs, so it is worked out once per tile and
resolution and used for every date and band.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from minescale.kernels.filling import Decoding, clear_nowhere, fill, fill_gathered
from minescale.kernels.lookup import Positions, nearest_positions, needed_pixels
from minescale.kernels.masking import fuse
from minescale.sources import windows
from minescale.sources.demand import Demand

_KEPT = 16
"""Placements kept: a tile has one per granule and pixel size, and two tiles are worked on at a time."""
Piece = tuple[windows.Window, NDArray[Any]]
"""Pixels as stored, (y, x), and the window of their image that they fill."""
_NET_STEP = 64
_MAX_ERROR_PX = 0.005
"""Largest error of a look-up position, in image pixels, before the net is made finer."""

_lock = threading.Lock()


@dataclass(frozen=True, slots=True, eq=False)
class Placement:
    """Which window to read, and how to put it on the target."""

    window: windows.Window
    target: tuple[slice, slice] | None = None
    """Where the window's pixels go unchanged."""
    positions: Positions | None = None
    """Where within the window the target's pixels come from."""
    block: tuple[int, int] = (1, 1)
    """(y, x) of the image's blocks."""
    warp: dict[str, Any] | None = None
    """Arguments of a warp by GDAL."""
    needed: windows.Window | None = None
    """The part of the window that holds all pixels in use, where it is not all of it."""

    def idle(self, demand: Demand | None) -> frozenset[tuple[int, int]]:
        """Blocks under the window of which no pixel is used, or none on a part of the target that is in demand."""
        if demand is not None and demand.everywhere:
            demand = None
        if self.positions is not None:
            reaches = self.positions.reach
        elif self.target is not None and demand is not None:
            reaches = self._reaches(self.target)
        else:
            return frozenset()
        height, width = self.block
        first = (self.window.row0 // height, self.window.col0 // width)
        found = set()
        for row, col in windows.blocks(self.window, self.block):
            reach = reaches.get((row - first[0], col - first[1]))
            if reach is None or not (demand is None or demand.anywhere(*reach)):
                found.add((row, col))
        return frozenset(found)

    def _reaches(self, target: tuple[slice, slice]) -> dict[tuple[int, int], tuple[int, int, int, int]]:
        """As :attr:`Positions.reach`, where pixels go unchanged."""
        (height, width), window = self.block, self.window
        row0, col0 = window.row0 // height, window.col0 // width
        down, right = target[0].start - window.row0, target[1].start - window.col0
        found = {}
        for row, col in windows.blocks(window, self.block):
            part = windows.Window(row * height, (row + 1) * height, col * width, (col + 1) * width).clip_to(window)
            found[row - row0, col - col0] = (part.row0 + down, part.row1 + down, part.col0 + right, part.col1 + right)
        return found

    def put(
        self,
        pieces: Iterable[Piece],
        decode: Decoding,
        out: NDArray[Any],
        *,
        fresh: bool = False,
    ) -> None:
        """Decode the window's pixels and put them on ``out`` where that is still 0.

        With ``fresh``, ``out`` holds nothing of worth yet and is written as a whole, but for what lies under
        :meth:`idle` blocks. Pieces cover the rest of the window: one does, or each lies within a block.
        """
        if self.target is not None:
            target = out[self.target]
            if fresh and target.shape != out.shape:
                out[:] = 0
            for part, stored in pieces:
                fill(stored, decode, target[part.within(self.window)], fresh=fresh)
        elif self.positions is not None:
            if fresh:
                clear_nowhere(self.positions, out)
            for part, stored in pieces:
                corner = (part.row0 - self.window.row0, part.col0 - self.window.col0)
                block = (corner[0] // self.block[0], corner[1] // self.block[1])
                runs = self.positions.runs if part == self.window else self.positions.of_block(block)
                fill_gathered(stored, corner, decode, runs, out, fresh=fresh)
        else:
            self._warp(pieces, decode, out, fresh)

    def _warp(
        self,
        pieces: Iterable[Piece],
        decode: Decoding,
        out: NDArray[Any],
        fresh: bool,
    ) -> None:
        from rasterio.warp import reproject

        source = np.empty(self.window.shape, decode.table.dtype)
        for part, stored in pieces:
            source[part.within(self.window)] = decode.table[stored]
        target = np.zeros_like(out)
        # 0 is nodata on both sides: invalid neighbours carry no weight, and GDAL never makes a valid 0.
        reproject(source, target, src_nodata=0, dst_nodata=0, num_threads=1, **(self.warp or {}))
        if fresh:
            out[:] = target
        else:
            fuse(out, target)


class _Target:
    """A geobox that is cheap to look up: its own hash writes the CRS out as WKT every time."""

    __slots__ = ("_hash", "_key", "geobox")

    def __init__(self, geobox: GeoBox) -> None:
        self.geobox = geobox
        self._key = (str(geobox.crs), tuple(geobox.affine), geobox.shape.yx)
        self._hash = hash(self._key)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Target) and self._key == other._key


class Geometry:
    """One geobox against the lattices of the images that are read onto it.

    Made for one read. Scenes of one granule share their lattice, so everything is worked out once for all of them.
    ``ahead`` are the geoboxes that the process reads next.
    """

    def __init__(self, geobox: GeoBox, resampling: str, ahead: Sequence[GeoBox] = ()) -> None:
        self.geobox, self.resampling = geobox, resampling
        self._target, self._ahead = _Target(geobox), [_Target(other) for other in ahead]
        self._known: dict[tuple[object, ...], Any] = {}
        self._lock = threading.RLock()

    def ratio(self, transform: Affine, crs: str) -> float:
        """See :func:`minescale.sources.windows.pixels_per_target`."""
        return float(self._once(("ratio", transform, crs), lambda: _pixels_per_target(transform, crs, self._target)))

    def touches(self, transform: Affine, shape: tuple[int, int], crs: str) -> bool:
        """Whether an image can have pixels on the geobox."""
        key = ("touches", transform, shape, crs)
        return bool(self._once(key, lambda: not _needed_window(transform, shape, crs, self._target, "nearest").empty))

    def place(self, transform: Affine, shape: tuple[int, int], crs: str, block: tuple[int, int]) -> Placement:
        """The placement of an image, stored in blocks of shape ``block``, on the geobox."""
        key = ("place", transform, shape, crs, block)
        placement: Placement = self._once(
            key, lambda: _locked_place(transform, shape, crs, self._target, self.resampling, block)
        )
        return placement

    def windows_ahead(self, transform: Affine, shape: tuple[int, int], crs: str) -> tuple[windows.Window, ...]:
        """Windows of an image that the geoboxes ahead need."""

        def compute() -> tuple[windows.Window, ...]:
            found = (_exact_window(transform, shape, crs, target.geobox) for target in self._ahead)
            near = (
                _needed_window(transform, shape, crs, target, self.resampling) if window is None else window
                for target, window in zip(self._ahead, found, strict=True)
            )
            return tuple(window for window in near if not window.empty)

        ahead: tuple[windows.Window, ...] = self._once(("ahead", transform, shape, crs), compute)
        return ahead

    def _once(self, key: tuple[object, ...], compute: Callable[[], Any]) -> Any:
        with self._lock:  # the threads of one read ask for the same few at once
            if key not in self._known:
                self._known[key] = compute()
            return self._known[key]


def place(
    transform: Affine,
    shape: tuple[int, int],
    crs: str,
    geobox: GeoBox,
    resampling: str,
    block: tuple[int, int] = (1, 1),
) -> Placement:
    """The placement of an image on a geobox; the latest ``_KEPT`` are remembered for the other bands."""
    return _locked_place(transform, shape, crs, _Target(geobox), resampling, block)


def _locked_place(
    transform: Affine, shape: tuple[int, int], crs: str, target: _Target, resampling: str, block: tuple[int, int]
) -> Placement:
    with _lock:
        return _place(transform, shape, crs, target, resampling, block)


@lru_cache(maxsize=512)
def _pixels_per_target(transform: Affine, crs: str, target: _Target) -> float:
    return windows.pixels_per_target(target.geobox, crs, transform)


@lru_cache(maxsize=512)
def _needed_window(
    transform: Affine, shape: tuple[int, int], crs: str, target: _Target, resampling: str
) -> windows.Window:
    return windows.source_window(target.geobox, crs, transform, shape, resampling)


def _exact_window(transform: Affine, shape: tuple[int, int], crs: str, geobox: GeoBox) -> windows.Window | None:
    """The window under a geobox of the image's own lattice; None for another lattice."""
    if not windows.same_crs(crs, windows.crs_text(geobox)):
        return None
    corner = windows.same_grid(transform, geobox)
    if corner is None:
        return None
    (row0, col0), (rows, cols) = corner, geobox.shape.yx
    return windows.Window(row0, row0 + rows, col0, col0 + cols).clip(shape)


@lru_cache(maxsize=_KEPT)
def _place(
    transform: Affine, shape: tuple[int, int], crs: str, target: _Target, resampling: str, block: tuple[int, int]
) -> Placement:
    geobox = target.geobox
    exact = _exact_window(transform, shape, crs, geobox)
    if exact is not None:
        row0, col0 = windows.same_grid(transform, geobox) or (0, 0)
        height, width = exact.shape
        where = (
            slice(exact.row0 - row0, exact.row0 - row0 + height),
            slice(exact.col0 - col0, exact.col0 - col0 + width),
        )
        return Placement(exact, target=where, block=block)
    window = _needed_window(transform, shape, crs, target, resampling)
    if window.empty:
        return Placement(window)
    if resampling == "nearest":
        return look_up(transform, shape, crs, geobox, block)
    from rasterio.enums import Resampling

    own = transform * Affine.translation(window.col0, window.row0)
    warp = {
        "src_transform": own,
        "src_crs": crs,
        "dst_transform": geobox.affine,
        "dst_crs": windows.crs_text(geobox),
        "resampling": Resampling[resampling],
    }
    return Placement(window, warp=warp)


def look_up(
    transform: Affine, shape: tuple[int, int], crs: str, geobox: GeoBox, block: tuple[int, int] = (1, 1)
) -> Placement:
    """The placement that gives each target pixel the image pixel under its centre.

    Its window is just the blocks that are used: the margin of a window easily costs a row of them. Positions are
    exact on a net and interpolated between; the net is refined until the middle of its cells is right to 0.005 image
    pixels, or every pixel is a net point.
    """
    size = geobox.shape.yx
    step = _NET_STEP
    while True:
        net_cols, net_rows = windows.centres_in_image(geobox, crs, transform, step)
        if step == 1 or _error(net_cols, net_rows, geobox, crs, transform, step) <= _MAX_ERROR_PX:
            break
        step //= 4
    row0, row1, col0, col1 = needed_pixels(net_cols, net_rows, step, size, shape)
    if row1 == 0:
        return Placement(windows.Window(0, 0, 0, 0))
    height, width = block
    window = windows.Window(
        row0 // height * height, -(-row1 // height) * height, col0 // width * width, -(-col1 // width) * width
    ).clip(shape)
    positions = nearest_positions(net_cols - window.col0, net_rows - window.row0, step, size, window.shape, block)
    return Placement(window, positions=positions, block=block, needed=windows.Window(row0, row1, col0, col1))


def _error(
    net_cols: NDArray[np.float64],
    net_rows: NDArray[np.float64],
    geobox: GeoBox,
    crs: str,
    transform: Affine,
    step: int,
) -> float:
    """Largest distance, in image pixels, between interpolated and exact positions at the cells' middles."""
    cols, rows = windows.centres_in_image(geobox, crs, transform, step, middles=True)
    worst = 0.0
    for net, exact in ((net_cols, cols), (net_rows, rows)):
        middle = (net[:-1, :-1] + net[1:, :-1] + net[:-1, 1:] + net[1:, 1:]) / 4
        # A net point without a position makes its cells unusable: treat it as a large error.
        difference = np.abs(middle - exact)
        worst = max(worst, float(np.max(np.where(np.isfinite(difference), difference, np.inf), initial=0.0)))
    return worst
