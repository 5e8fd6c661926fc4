"""Two whole Landsat 8 scenes at about 500 m: quality bits, fill, and reprojection to a UTM mosaic."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyproj
import pytest
import rasterio
import rioxarray  # noqa: F401 - registers .rio
import xarray as xr

import minescale
from minescale import api
from minescale.config import load_config
from minescale.kernels.masking import decode
from minescale.sensors import LANDSAT_C2_L2
from minescale.types import Reason

SCENES = ("005009", "017036")


def _item(folder: Path) -> tuple[dict, Path]:
    file = next((folder / "items").glob("*.json"))
    return json.loads(file.read_text()), file.parent


@pytest.mark.parametrize("name", SCENES)
def test_quality_bits_equal_an_independent_bit_test(data_dir: Path, name: str) -> None:
    with rasterio.open(next((data_dir / "landsat" / name / "cogs").glob("*QA_PIXEL.TIF"))) as source:
        qa = source.read(1)
    states = decode(qa, LANDSAT_C2_L2.mask)
    for value in np.unique(qa):
        bits = [bool(int(value) >> k & 1) for k in range(8)]
        fill, dilated, cirrus, cloud, shadow, snow = bits[:6]
        expected = 0 if fill else 2 if dilated or cirrus or cloud or shadow else 3 if snow else 1
        assert (states[qa == value] == expected).all(), f"QA_PIXEL {value:016b}"


def _scan(folder: Path, bbox: tuple[float, ...], day: str, out: Path, *, masked: bool) -> xr.Dataset:
    settings = {
        "engine.cluster": "inline",
        "grid.resolution": 480,
        "grid.tile_size": 256,
        "store.chunk": 256,
        "mask.enabled": masked,
        "mask.dilate_m": 0,
    }
    wanted = api.request(catalog=str(folder / "catalog.json"), bbox=bbox, datetime=day)
    api.scan(wanted, out, load_config(overrides=settings))
    return xr.open_zarr(out / "mosaic.zarr", group="0").load()


@pytest.mark.parametrize("name", SCENES)
def test_reprojection_to_utm_keeps_ground_and_reflectance(data_dir: Path, tmp_path: Path, name: str) -> None:
    """Clouds and snow cover both scenes, so the statistics are taken unmasked, and the masked scan must see nothing
    but what the quality bits call clear."""
    folder = data_dir / "landsat" / name
    item, base = _item(folder)
    bbox, day = tuple(item["bbox"]), item["properties"]["datetime"][:10]
    with rasterio.open(base / item["assets"]["qa_pixel"]["href"]) as source:
        states = decode(source.read(1), LANDSAT_C2_L2.mask)
        pixel_ha = abs(source.transform.a * source.transform.e) / 1e4
    with rasterio.open(base / item["assets"]["red"]["href"]) as source:
        dn = source.read(1)
    cell_ha = 480 * 480 / 1e4

    mosaic = _scan(folder, bbox, day, tmp_path / "masked", masked=True)
    assert pyproj.CRS(mosaic.rio.crs.to_wkt()).to_epsg() in range(32601, 32661)
    reason = mosaic.reason.values
    assert (reason == Reason.SEEN).sum() * cell_ha == pytest.approx((states == 1).sum() * pixel_ha, rel=0.02, abs=100)
    hidden = ((states > 1) & (dn > 0)).sum() * pixel_ha
    assert (reason == Reason.NEVER_CLEAR).sum() * cell_ha == pytest.approx(hidden, rel=0.03)

    seen = _scan(folder, bbox, day, tmp_path / "unmasked", masked=False).probability.notnull().values
    assert seen.sum() * cell_ha == pytest.approx((dn > 0).sum() * pixel_ha, rel=0.02)
    cube = minescale.open_cube(bbox, day, ["red", "nir"], str(folder / "catalog.json"), resolution=480).load()
    warped = cube.reflectance.sel(band="red").values
    warped = warped[warped > 0]
    native = np.clip(np.floor((dn[dn > 0] * 2.75e-5 - 0.2) * 1e4 + 0.5), 1, 65534)
    assert warped.mean() == pytest.approx(native.mean(), rel=0.02)
    shares = [5, 25, 50, 75, 95]
    np.testing.assert_allclose(np.percentile(warped, shares), np.percentile(native, shares), rtol=0.03, atol=30)
