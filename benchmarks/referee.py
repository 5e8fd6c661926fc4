"""The exact answer at single pixels, worked out without minescale's reader, kernels or Dask: who of two is right?

For each pixel: its centre is projected by pyproj into each scene, the source pixel around it is looked up in the whole
band read by rasterio, scenes of a day are fused in their order, looks of unclear SCL classes dropped, the radiometric
offset taken off, and NumPy takes the median of float64. Pixels of which a position lies within ``MARGIN`` source
pixels of the next one are left out: there rounding decides.
"""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

MARGIN = 0.006
"""Source pixels; the reader's positions are right to 0.005."""


def exact_medians(
    items: Sequence[Any],
    assets: Sequence[str],
    mask: str,
    clear: Sequence[int],
    offset: Callable[[Any], int],
    x: np.ndarray,
    y: np.ndarray,
    crs: str,
) -> tuple[np.ndarray, np.ndarray]:
    """(band, pixel) medians at ``x``, ``y`` in ``crs``, NaN where never clear, and (pixel,) True where certain."""
    days: dict[str, list[Any]] = defaultdict(list)
    for item in sorted(items, key=lambda item: (item.datetime, item.id)):
        days[str(item.datetime.date())].append(item)
    n = len(x)
    certain = np.ones(n, bool)
    looks = np.full((len(assets), len(days), n), np.nan)
    places: dict[tuple[Any, ...], tuple[np.ndarray, np.ndarray, np.ndarray]] = {}
    for day, scenes in enumerate(days.values()):
        numbers = np.zeros((len(assets) + 1, n))
        for item in scenes:
            for i, asset in enumerate((*assets, mask)):
                found, sure = sample(item.assets[asset].href, x, y, crs, places)
                certain &= sure
                if i < len(assets):
                    found = np.where(found > 0, np.maximum(found - offset(item), 1), 0)
                numbers[i] = np.where(numbers[i] == 0, found, numbers[i])
        seen = np.isin(numbers[-1], clear) & (numbers[:-1] > 0)
        looks[:, day] = np.where(seen, numbers[:-1], np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # all NaN: never clear
        return np.nanmedian(looks, axis=1), certain


def sample(
    href: str,
    x: np.ndarray,
    y: np.ndarray,
    crs: str,
    places: dict[tuple[Any, ...], tuple[np.ndarray, np.ndarray, np.ndarray]],
) -> tuple[np.ndarray, np.ndarray]:
    """The source pixel around each centre, 0 outside of the image, and whether the position is certain."""
    import pyproj
    import rasterio

    with rasterio.open(href) as source:
        key = (str(source.crs), tuple(source.transform), source.shape)
        if key not in places:
            to_source = pyproj.Transformer.from_crs(crs, source.crs, always_xy=True)
            cols, rows = ~source.transform * to_source.transform(x, y)
            near = [np.abs(position - np.round(position)) < MARGIN for position in (rows, cols)]
            # On the image's own lattice centres lie in the middle, so nothing is near.
            places[key] = (np.floor(rows).astype(int), np.floor(cols).astype(int), ~(near[0] | near[1]))
        rows, cols, sure = places[key]
        inside = (rows >= 0) & (rows < source.height) & (cols >= 0) & (cols < source.width)
        found = np.zeros(len(rows))
        found[inside] = source.read(1)[rows[inside], cols[inside]]
    return found, sure
