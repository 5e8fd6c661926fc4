"""A coarser band on a finer grid by a declared kernel, without letting nodata bleed."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from minescale.config import Resampling
from minescale.sources.windows import crs_text

MARGIN = 4
"""Pixels of the coarse grid that a kernel may look at beyond the fine one."""


def coarse_grid(geobox: GeoBox, pixel: float, anchor: tuple[float, float], margin: int = MARGIN) -> GeoBox:
    """The grid of ``pixel`` metres on the lattice through ``anchor`` (x, y) that holds ``geobox`` and some more."""
    box = geobox.boundingbox
    first_col = math.floor((box.left - anchor[0]) / pixel + 1e-6) - margin
    first_row = math.floor((anchor[1] - box.top) / pixel + 1e-6) - margin
    last_col = math.ceil((box.right - anchor[0]) / pixel - 1e-6) + margin
    last_row = math.ceil((anchor[1] - box.bottom) / pixel - 1e-6) + margin
    corner = Affine(pixel, 0, anchor[0] + first_col * pixel, 0, -pixel, anchor[1] - first_row * pixel)
    return GeoBox((last_row - first_row, last_col - first_col), corner, geobox.crs)


def onto(image: NDArray[np.uint16], source: GeoBox, target: GeoBox, kernel: Resampling) -> NDArray[np.uint16]:
    """Resample uint16 (y, x), 0 = nodata, from ``source`` to the finer ``target`` of the same CRS.

    A target pixel has a value exactly where the source pixel under its centre has one: neighbours without a value
    carry no weight, so they neither darken an edge nor eat into it, and values do not grow into unseen ground. What
    a kernel would shoot below the smallest or above the largest value of the image is cut off there.
    """
    from rasterio.enums import Resampling as Kernel
    from rasterio.warp import reproject

    def warp(how: Any) -> NDArray[np.uint16]:
        out = np.zeros(target.shape.yx, np.uint16)
        reproject(
            image, out, src_transform=source.affine, src_crs=crs_text(source), dst_transform=target.affine,
            dst_crs=crs_text(target), resampling=how, src_nodata=0, dst_nodata=0, num_threads=1,
        )  # fmt: skip
        return out

    own = warp(Kernel.nearest)
    if kernel == "nearest" or not own.any():
        return own
    smooth = warp(Kernel[kernel])
    seen = image[image > 0]
    smooth = np.where(smooth == 0, own, np.clip(smooth, seen.min(), seen.max()))
    return np.where(own == 0, 0, smooth).astype(np.uint16)
