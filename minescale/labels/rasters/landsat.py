"""Landsat 4 to 9 as one stack: seven bands of the same names and units, and a cloud band of zeros and ones.

Numbering differs between TM/ETM+ and OLI, names do not. The seventh band is the surface temperature, which all of them
have; the coastal band, which only OLI has, is left out.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pystac
import rasterio
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from minescale.errors import NothingMatched, StoreError, UsageError
from minescale.labels.rasters.band_order import BAND_ORDERS, CLOUD
from minescale.sensors import LANDSAT_C2_L2, MASK, NODATA, OBSCURED
from minescale.sources.items import absolute_href, scene_from_item
from minescale.sources.reader import Reader
from minescale.sources.scenes import BandAsset, Layer, Scene

BANDS: tuple[str, ...] = (*BAND_ORDERS["tm"], CLOUD)
"""Order of the stack: the seven of TM and ETM+, then cloud."""

THERMAL = "lwir"
THERMAL_ASSETS = ("lwir11", "lwir", "ST_B10", "ST_B6")
"""Keys of the surface temperature: TIRS on Landsat 8-9, TM and ETM+ before."""
KELVIN_SCALE, KELVIN_OFFSET = 0.00341802, 149.0
"""Collection 2 Level 2: kelvin = DN x scale + offset (USGS LSDS-1619)."""
KELVIN_UNIT = 0.01
"""The stack stores temperature in hundredths of a kelvin."""

_CARRIER = "nir08"
"""The reader knows bands of reflectance, which it stores x 1e4: under this name it reads kelvin / 100 just as well."""


@dataclass(frozen=True, slots=True)
class Stack:
    """One look at one place."""

    pixels: NDArray[np.uint16]
    """(8, y, x) in the order of `BANDS`: reflectance x 1e4, kelvin x 100, cloud 0 or 1; 0 = no data in the first
    seven. A pixel that lacks any of the seven lacks all."""
    scene: str
    platform: str
    date: str
    """ISO date of the acquisition, UTC."""


def thermal_asset(item: pystac.Item) -> BandAsset:
    """The surface temperature of an item, scaled so that the reader stores hundredths of a kelvin.

    Raises
    ------
    UsageError
        where it has none, as products of surface reflectance only (``L2SR``), or another scale.
    """
    asset = next((item.assets[key] for key in THERMAL_ASSETS if key in item.assets), None)
    if asset is None:
        raise UsageError(
            f"item {item.id} has no surface temperature",
            got=", ".join(list(item.assets)[:12]),
            expected=" or ".join(THERMAL_ASSETS),
            fix="products of processing level L2SP",
        )
    for band in asset.extra_fields.get("raster:bands") or asset.extra_fields.get("bands") or []:
        scale, offset = band.get("raster:scale", band.get("scale")), band.get("raster:offset", band.get("offset"))
        given = (KELVIN_SCALE if scale is None else scale, KELVIN_OFFSET if offset is None else offset)
        if not all(map(math.isclose, given, (KELVIN_SCALE, KELVIN_OFFSET))):
            raise UsageError(f"item {item.id}: unknown scale of the temperature", got=given, expected="Collection 2")
    # The reader multiplies by 1e4.
    unit = 1e4 * KELVIN_UNIT
    return BandAsset(href=absolute_href(item, asset), scale=KELVIN_SCALE / unit, offset=KELVIN_OFFSET / unit, nodata=0)


def read_stack(item: pystac.Item, geobox: GeoBox, *, provider: str = "other", reader: Reader | None = None) -> Stack:
    """One Landsat Collection 2 Level 2 item on a grid, through the reader that scans use.

    Parameters
    ----------
    item : STAC item of Landsat 4, 5, 7, 8 or 9.
    provider : see `minescale.sources.items.scene_from_item`.

    Raises
    ------
    UsageError
        for another sensor, or an item that lacks a band.
    StoreError
        where a file cannot be read.
    NothingMatched
        where the item has no pixel on the grid.
    """
    if item.collection_id not in LANDSAT_C2_L2.collections:
        expected = ", ".join(LANDSAT_C2_L2.collections)
        raise UsageError(f"item {item.id} is not Landsat", got=item.collection_id, expected=expected)
    scene = scene_from_item(item, provider)
    if not scene.has_mask:
        raise UsageError(f"item {item.id} has no quality band", expected=" or ".join(LANDSAT_C2_L2.mask.assets))
    heat = replace(scene, bands={_CARRIER: thermal_asset(item)})
    reader = reader or Reader()
    bands = [
        _read(reader, heat if name == THERMAL else scene, geobox, _CARRIER if name == THERMAL else name)
        for name in BANDS[:-1]
    ]
    states = _read(reader, scene, geobox, MASK)
    pixels = np.stack([*bands, (states == OBSCURED).astype(np.uint16)])
    # Gaps of Landsat 7's scan lines and image edges differ from band to band by a pixel.
    pixels[:, (pixels[:-1] == 0).any(axis=0) | (states == NODATA)] = 0
    if not pixels[:-1].any():
        raise NothingMatched(f"item {item.id} has no pixel on the grid", fix="a place within its footprint")
    return Stack(pixels, scene.id, scene.platform, f"{scene.datetime:%Y-%m-%d}")


def write_stack(stack: Stack, geobox: GeoBox, path: Path) -> Path:
    """A GeoTIFF of eight bands, named in their descriptions; nodata 0, which in the cloud band means clear.

    Raises
    ------
    StoreError
        where it cannot be written; nothing is left behind.
    """
    rows, cols = geobox.shape.yx
    profile = {
        "driver": "GTiff", "height": rows, "width": cols, "count": len(BANDS), "dtype": "uint16", "nodata": 0,
        "crs": str(geobox.crs), "transform": geobox.affine, "compress": "deflate", "predictor": 2,
    }  # fmt: skip
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".stack-", dir=path.parent) as scratch:
            partial = Path(scratch) / path.name
            with rasterio.open(partial, "w", **profile) as image:
                image.write(stack.pixels)
                image.descriptions = BANDS
                image.update_tags(bands=",".join(BANDS), scene=stack.scene, platform=stack.platform, date=stack.date)
            partial.replace(path)
    except (OSError, rasterio.errors.RasterioError) as error:
        raise StoreError(f"cannot write {path}", got=error, fix="a writable folder with free space") from error
    return path


def write_site(
    items: Iterable[pystac.Item], geobox: GeoBox, site: str, folder: Path, *, provider: str = "other"
) -> list[Path]:
    """Every date of one site as ``<site>_<yyyymmdd>_<platform>.tif``, one item in memory at a time.

    Files that are there already stay, so that a broken run continues; items without a pixel on the grid are skipped.
    """
    reader, written = Reader(), []
    for item in items:
        scene = scene_from_item(item, provider)
        path = folder / f"{site}_{scene.datetime:%Y%m%d}_{scene.platform}.tif"
        if not path.exists():
            try:
                write_stack(read_stack(item, geobox, provider=provider, reader=reader), geobox, path)
            except NothingMatched:
                continue
        written.append(path)
    return written


def _read(reader: Reader, scene: Scene, geobox: GeoBox, band: str) -> NDArray[np.uint16]:
    read = reader.read([Layer(scene.datetime.date(), (scene,))], geobox, band)
    if read.failures:
        failure = read.failures[0]
        raise StoreError(f"cannot read {band} of {scene.id}", got=failure.message, fix="the same again")
    pixels: NDArray[np.uint16] = read.data[0]
    return pixels
