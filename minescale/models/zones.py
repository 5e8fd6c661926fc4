"""Candidate zones: connected ground of suspicious classes, smoothed in metres, whole across the tiles it lies in."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_closing, binary_opening

from minescale.errors import UsageError
from minescale.kernels.regions import label, merge_seams, region_sizes, tile_borders
from minescale.types import TileKey

BARREN = ("barren",)
"""What is suspicious unless said otherwise: the class that pits fall into in sets that know no mines."""
RADIUS_M, MIN_AREA_HA = 10.0, 0.1
_TILE = 2048


@dataclass(frozen=True, slots=True, kw_only=True)
class Zone:
    """One candidate: a connected piece of suspicious ground, and no statement about what it is."""

    id: int
    """From 1; the value of its pixels in :attr:`Zones.labels`."""
    top: int
    left: int
    bottom: int
    """First row below it."""
    right: int
    """First column right of it."""
    area_ha: float
    stage1_class: str
    """The class that most of its pixels have; smoothing may have added some of another."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Zones:
    """All candidates of an image."""

    zones: tuple[Zone, ...]
    labels: NDArray[np.int32]
    """(y, x): id of the zone, 0 outside."""
    resolution_m: float


def suspicious_mask(classes: NDArray[np.uint8], names: Sequence[str], suspicious: Sequence[str]) -> NDArray[np.bool_]:
    """Where a class map, (y, x) positions in ``names``, has one of the classes ``suspicious``; 255 is never.

    Raises
    ------
    UsageError
        for a class that the map does not know.
    """
    strange = [name for name in suspicious if name not in names]
    if strange or not suspicious:
        raise UsageError("unknown suspicious class", got=", ".join(strange) or "none", expected=", ".join(names))
    return np.isin(classes, [list(names).index(name) for name in suspicious])


def smooth(mask: NDArray[np.bool_], radius: float) -> NDArray[np.bool_]:
    """Opening, then closing, by a disc of ``radius`` pixels: specks vanish, gaps close, outlines stay.

    What comes out holds the opened mask and lies within the closed one, so that no border moves by more than the
    radius. Beyond the edge the image goes on as its border pixels do. A radius below one pixel changes nothing.
    """
    reach = math.floor(radius + 1e-9)
    if reach < 1 or not mask.any():
        return mask.copy()
    step = np.arange(-reach, reach + 1)
    disc = step[:, np.newaxis] ** 2 + step**2 <= radius**2 + 1e-9
    wide = np.pad(mask, 2 * reach, mode="edge")
    closed = binary_closing(binary_opening(wide, disc), disc)
    inner = slice(2 * reach, -2 * reach)
    return np.ascontiguousarray(closed[inner, inner])


def find_zones(
    classes: NDArray[np.uint8],
    names: Sequence[str],
    *,
    resolution_m: float,
    suspicious: Sequence[str] = BARREN,
    radius_m: float = RADIUS_M,
    min_area_ha: float = MIN_AREA_HA,
    tile: int = _TILE,
) -> Zones:
    """One candidate for every connected piece of suspicious ground of at least ``min_area_ha``, tile by tile.

    Tiles are smoothed with context, labelled on their own and joined along their seams (pixels that touch at a corner
    are connected), so that the candidates do not depend on the tiling.

    Parameters
    ----------
    classes : uint8 (y, x), positions in ``names``; 255 = not seen.
    radius_m : of the disc that smooths, in metres.
    tile : edge of a tile in pixels.

    Raises
    ------
    UsageError
        for unknown classes, or sizes that are none.
    """
    if not (resolution_m > 0 and radius_m >= 0 and min_area_ha >= 0 and tile >= 1):
        raise UsageError(
            "candidate zones",
            got=f"pixels of {resolution_m} m, radius {radius_m} m, {min_area_ha} ha, tile {tile}",
            expected="sizes of 0 or more, pixels and tiles above 0",
        )
    radius = radius_m / resolution_m
    labels, borders = np.zeros(classes.shape, np.int32), {}
    # Opening and closing look one radius far each, and twice: what lies further cannot change a pixel.
    context = 4 * math.ceil(radius)
    for key, rows, cols in _tiles(classes.shape, tile):
        above, before = max(rows.start - context, 0), max(cols.start - context, 0)
        wide = classes[above : rows.stop + context, before : cols.stop + context]
        inside = smooth(suspicious_mask(wide, names, suspicious), radius)
        top, left = rows.start - above, cols.start - before
        core = inside[top : top + rows.stop - rows.start, left : left + cols.stop - cols.start]
        labels[rows, cols], count = label(np.ascontiguousarray(core))
        borders[key] = tile_borders(labels[rows, cols], count)
    tables, count = merge_seams(borders) if borders else ({}, 0)
    for key, rows, cols in _tiles(classes.shape, tile):
        labels[rows, cols] = tables[key][labels[rows, cols]]
    large = region_sizes(labels, count) * resolution_m**2 / 1e4 >= min_area_ha - 1e-12
    # In the order of their first pixels, row by row, so that ids do not depend on the tiling either.
    present, first = np.unique(labels, return_index=True)
    kept = [number for _, number in sorted(zip(first, present, strict=True)) if number and large[number - 1]]
    renumber = np.zeros(count + 1, np.int32)
    renumber[kept] = np.arange(1, len(kept) + 1)
    labels = renumber[labels]
    found = _describe(labels, classes, names, resolution_m, len(kept))
    return Zones(zones=tuple(found), labels=labels, resolution_m=resolution_m)


def _tiles(shape: tuple[int, ...], tile: int) -> Iterator[tuple[TileKey, slice, slice]]:
    for y in range(0, shape[0], tile):
        for x in range(0, shape[1], tile):
            key = TileKey(0, y // tile, x // tile)
            yield key, slice(y, min(y + tile, shape[0])), slice(x, min(x + tile, shape[1]))


def _describe(
    labels: NDArray[np.int32], classes: NDArray[np.uint8], names: Sequence[str], resolution_m: float, count: int
) -> Iterator[Zone]:
    from scipy.ndimage import find_objects

    boxes: list[Any] = find_objects(labels, count)
    for number, (rows, cols) in enumerate(boxes, 1):
        inside = labels[rows, cols] == number
        counts = np.bincount(classes[rows, cols][inside], minlength=256)
        counts[len(names) :] = 0
        yield Zone(
            id=number,
            top=rows.start,
            left=cols.start,
            bottom=rows.stop,
            right=cols.stop,
            area_ha=float(inside.sum()) * resolution_m**2 / 1e4,
            stage1_class=names[int(counts.argmax())],
        )
