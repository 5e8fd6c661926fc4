"""How pixels of different sizes nest on one piece of ground."""

from __future__ import annotations

import math
from collections.abc import Sequence

from affine import Affine
from odc.geo.geobox import GeoBox

from minescale.sources.scenes import Scene

METRES_PER_DEGREE = 111_320.0


def native_factor(scenes: Sequence[Scene], geobox: GeoBox, band: str) -> int:
    """How many times coarser than the geobox a band can be read without changing a single pixel.

    A 20 m band on a 10 m mosaic is read and composited at 20 m, and each pixel repeated 2 x 2 afterwards: the
    same values for a quarter of the work. It holds only where every scene lies on the coarser lattice; a scene
    that must be warped is warped straight to the geobox.
    """
    factor = 0
    target = geobox.resolution.x
    for scene in scenes:
        asset = scene.bands.get(band)
        if asset is None or asset.transform is None or geobox.crs is None or str(geobox.crs) != scene.crs:
            return 1
        size, _, left, _, negative, top = asset.transform
        ratio = round(size / target)
        aligned = (
            ratio >= 1
            and _whole(size / (ratio * target), 1.0)
            and _whole(-negative / (ratio * target), 1.0)
            and _whole_number((geobox.transform.c - left) / size)
            and _whole_number((top - geobox.transform.f) / size)
        )
        if not aligned:
            return 1
        factor = math.gcd(factor, ratio)
    rows, cols = geobox.shape.yx
    return math.gcd(factor, rows, cols) or 1


def zoom_out(geobox: GeoBox, factor: int) -> GeoBox:
    """The same ground with pixels ``factor`` times as large; the shape must divide."""
    if factor == 1:
        return geobox
    rows, cols = geobox.shape.yx
    return GeoBox((rows // factor, cols // factor), geobox.affine * Affine.scale(factor), geobox.crs)


def pixel_metres(geobox: GeoBox) -> float:
    """Pixel size in metres; degrees are counted at the equator's length."""
    size = abs(geobox.resolution.y)
    if geobox.crs is not None and geobox.crs.geographic:
        return float(size * METRES_PER_DEGREE)
    return float(size)


def _whole(value: float, wanted: float) -> bool:
    return abs(value - wanted) < 1e-6


def _whole_number(value: float) -> bool:
    return abs(value - round(value)) < 0.01
