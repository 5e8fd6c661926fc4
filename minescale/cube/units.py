"""What a composite has in memory at a time: a piece of one band, or of all bands where its method joins them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from odc.geo.geobox import GeoBox

from minescale.config import CompositeConfig
from minescale.cube import rooms
from minescale.cube.nesting import native_factor, zoom_out
from minescale.cube.pieces import Piece, cut
from minescale.kernels.composite import METHODS
from minescale.sources.scenes import Layer, Scene, source_anchor

_SHARE = 0.31
"""Of the budget for rooms and kept blocks, what one unit may take: two leave more than a third to kept blocks."""
PIECEWISE = ("nearest",)
"""Resamplings that give a piece the pixels of its tile: GDAL's warps approximate positions anew for every target."""


@dataclass(frozen=True, slots=True)
class Unit:
    """What is read and composited at a time."""

    bands: tuple[int, ...]
    """Positions."""
    factor: int
    """Pixels of the geobox along one pixel of the bands."""
    piece: Piece
    """In pixels of the quality band."""
    ahead: tuple[Piece, ...]
    """Pieces of the same bands that come later."""
    shape: tuple[int, int, int, int]
    """(layer, band, y, x) of its stack."""


def most_pixels(layers: int, bands: int) -> int:
    """Pixels of a piece of which all layers and bands fit into their share of the budget."""
    return int(_SHARE * rooms.BUDGET) // (2 * layers * bands)


def lay_out(
    layers: Sequence[Layer], geobox: GeoBox, bands: Sequence[str], mask_factor: int, composite: CompositeConfig
) -> list[Unit]:
    """The units of a tile, in the order in which they are worked on.

    Parameters
    ----------
    mask_factor : pixels of the geobox along one pixel of the quality band.
    """
    scenes = [scene for layer in layers for scene in layer.scenes]
    if not scenes:
        return []
    joint = METHODS[composite.method] == "bands"
    groups = [tuple(range(len(bands)))] if joint else [(i,) for i in range(len(bands))]
    origin = _origin(scenes, geobox, mask_factor)
    units = []
    for group in groups:
        factor = 1 if joint else math.gcd(native_factor(scenes, geobox, bands[group[0]]), mask_factor)
        fine = mask_factor // factor
        shape, most = zoom_out(geobox, mask_factor).shape.yx, most_pixels(len(layers), len(group)) // fine**2
        pieces = cut(shape, most if composite.resampling in PIECEWISE else math.prod(shape), origin)
        units += [
            Unit(
                bands=group,
                factor=factor,
                piece=piece,
                ahead=tuple(pieces[i + 1 :]),
                shape=(len(layers), len(group), *piece.shape(fine)),
            )
            for i, piece in enumerate(pieces)
        ]
    return units


def _origin(scenes: Sequence[Scene], geobox: GeoBox, mask_factor: int) -> tuple[int, int]:
    """(y, x) of the geobox's first pixel on the lattice that is cut along, in pixels of the quality band."""
    crs = str(geobox.crs)
    if any(scene.crs != crs for scene in scenes):
        return (0, 0)  # the reader's nets of positions count from the geobox's corner
    left, top = source_anchor(scenes, crs)
    pixel, corner = geobox.resolution.x * mask_factor, geobox.transform
    return round((top - corner.f) / pixel), round((corner.c - left) / pixel)
