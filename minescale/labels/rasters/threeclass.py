"""Three-class labels: mining by polygons, less what is green, under clouds that win over both.

Equations 1 to 4 of the label pipeline. The outlines of mines enclose vegetation; NDVI takes it out again, at the price
of overgrown pits. What the labels show is mining, whoever may be allowed to do it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from minescale.errors import UsageError
from minescale.kernels import decode, evaluate
from minescale.kernels.indices import expression_of
from minescale.labels.rasters.masks import far_from_edges, rasterise, signed_distance
from minescale.labels.sets.classes import BINARY, IGNORE, THREE_CLASS
from minescale.labels.shapes.polygons import Polygons
from minescale.sensors import OBSCURED, SENSORS

NDVI_LIMIT = 0.5
"""Greener pixels are vegetation, not mine."""

_BACKGROUND, _CLOUD, _MINING = (THREE_CLASS.value(name) for name in ("background", "cloud", "mining"))


def base_mask(polygons: Polygons, geobox: GeoBox, *, all_touched: bool = False) -> NDArray[np.uint8]:
    """Equation 1, uint8 (y, x): 2 inside the union of the polygons, else 0.

    See `minescale.labels.rasters.masks.rasterise`.
    """
    inside = rasterise(polygons, geobox, all_touched=all_touched)
    return np.where(inside, _MINING, _BACKGROUND).astype(np.uint8)


def ndvi(nir: NDArray[Any], red: NDArray[Any]) -> NDArray[np.float32]:
    """Equation 2, float32: (nir - red) / (nir + red), any units; NaN where both are 0 or either is NaN.

    Rouse et al. 1974, NASA SP-351.
    """
    return evaluate(expression_of("NDVI"), {"N": nir, "R": red})


def without_vegetation(
    mask: NDArray[np.uint8], greenness: NDArray[np.float32], limit: float = NDVI_LIMIT
) -> NDArray[np.uint8]:
    """Equation 3: 0 where NDVI is above the limit (a pixel at the limit stays); unknown NDVI changes nothing.

    Parameters
    ----------
    mask : uint8 (y, x), equation 1.
    greenness : float32 (y, x), equation 2.
    """
    if not -1 <= limit <= 1:
        raise UsageError("NDVI limit is out of range", got=limit, expected="-1 to 1")
    return np.where(greenness > limit, _BACKGROUND, mask).astype(np.uint8)


def with_clouds(mask: NDArray[np.uint8], cloud: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Equation 4: 1 under cloud, else the mask; cloud before mining before background."""
    return np.where(cloud, _CLOUD, mask).astype(np.uint8)


def binary_label(
    mask: NDArray[np.uint8],
    cloud: NDArray[np.bool_],
    polygons: Polygons | None = None,
    geobox: GeoBox | None = None,
    edge_m: float = 0.0,
) -> NDArray[np.uint8]:
    """The same evidence in two classes: what is under cloud, or near an edge of the polygons, is ignored.

    Parameters
    ----------
    mask : uint8 (y, x), equation 3.
    polygons, geobox : needed where ``edge_m`` is not 0.

    Returns
    -------
    uint8 (y, x), values of `minescale.labels.sets.classes.BINARY`.
    """
    label = np.where(mask == _MINING, BINARY.value("mining"), BINARY.value("background")).astype(np.uint8)
    label[cloud] = IGNORE
    if edge_m and polygons is not None and geobox is not None:
        label[~far_from_edges(signed_distance(polygons, geobox), edge_m)] = IGNORE
    return label


def cloud_from_band(band: NDArray[Any], where: str) -> NDArray[np.bool_]:
    """A band of zeros and ones as a mask.

    Raises
    ------
    UsageError
        for any other value, naming those found: 255, or flags such as QA_PIXEL, have a meaning that must be stated.
    """
    values = np.unique(band)
    strange = values[~np.isin(values, (0, 1))]
    if strange.size:
        raise UsageError(
            f"cloud band of {where} is not binary",
            got=", ".join(f"{v:g}" for v in strange[:8]) + (", ..." if strange.size > 8 else ""),
            expected="0 clear, 1 cloud",
            fix="name the quality band it is (" + ", ".join(SENSORS) + "), or write a mask of 0 and 1",
        )
    return np.asarray(band == 1)


def cloud_from_quality(band: NDArray[Any], sensor: str) -> NDArray[np.bool_]:
    """Cloud and shadow in a sensor's own quality band: Landsat QA_PIXEL bits, Sentinel-2 SCL classes.

    Raises
    ------
    UsageError
        for an unknown sensor, or numbers that no quality band holds.
    """
    if sensor not in SENSORS:
        raise UsageError("unknown sensor", got=sensor, expected=", ".join(SENSORS))
    numbers = np.asarray(band)
    if not np.all((numbers >= 0) & (numbers <= 65535) & (numbers == np.floor(numbers))):
        raise UsageError("no quality band", got="negative or broken numbers", expected="whole numbers, 0 to 65535")
    return np.asarray(decode(numbers.astype(np.uint16), SENSORS[sensor].mask) == OBSCURED)
