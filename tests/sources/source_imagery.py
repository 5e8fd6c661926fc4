"""Small real GeoTIFFs and scenes for the tests of this package."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from shapely import box

from minescale.sensors import MASK
from minescale.sources.scenes import BandAsset, Layer, Scene

UTM30 = Affine(10, 0, 500_000, 0, -10, 700_000)


def write_cog(
    path: Path,
    data: NDArray,
    *,
    crs: str = "EPSG:32630",
    transform: Affine = UTM30,
    resampling: str = "nearest",
    blocksize: int = 128,
) -> Path:
    """One band as a COG with overviews, 0 = nodata."""
    profile = {
        "driver": "COG",
        "width": data.shape[1],
        "height": data.shape[0],
        "count": 1,
        "dtype": data.dtype,
        "crs": crs,
        "transform": transform,
        "nodata": 0,
        "blocksize": blocksize,
        "compress": "deflate",
        "overview_resampling": resampling,
    }
    with rasterio.open(path, "w", **profile) as image:
        image.write(data, 1)
    return path


def smooth(shape: tuple[int, int], seed: int = 0, low: int = 1200, high: int = 4000) -> NDArray[np.uint16]:
    """A smooth field with a little noise, never 0."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]]
    wave = 0.5 + 0.25 * np.sin(y / 37.0 + seed) + 0.25 * np.cos(x / 23.0)
    return (low + (high - low) * wave + rng.integers(0, 60, shape)).astype(np.uint16)


def scene_of(
    href: str | Path,
    *,
    name: str = "scene",
    band: str = "red",
    crs: str = "EPSG:32630",
    transform: Affine | None = UTM30,
    shape: tuple[int, int] | None = None,
    scale: float = 1e-4,
    offset: float = 0.0,
    provider: str = "other",
    mask: str | Path | None = None,
    hour: int = 10,
) -> Scene:
    known = transform is not None and shape is not None
    asset = BandAsset(
        href=str(href),
        scale=scale,
        offset=offset,
        transform=tuple(transform)[:6] if known and transform is not None else None,
        shape=shape if known else None,
    )
    bands = {band: asset}
    if mask is not None:
        bands[MASK] = BandAsset(href=str(mask), nodata=None)
    return Scene(
        id=name,
        collection="sentinel-2-l2a",
        provider=provider,
        sensor="sentinel-2-l2a",
        platform="sentinel-2a",
        datetime=dt.datetime(2024, 1, 10, hour, tzinfo=dt.UTC),
        crs=crs,
        footprint=box(-3.2, 6.1, -2.7, 6.5),
        bands=bands,
    )


def layer(*scenes: Scene) -> Layer:
    return Layer(dt.date(2024, 1, 10), scenes)
